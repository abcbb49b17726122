//! Who goes before whom: parties, and people before work that has time.

use super::tests::*;
use super::*;
use boca_core::GenerationUpdate;
use futures_util::StreamExt;
use futures_util::future::FutureExt;

const PERSON: Priority = Priority::Interactive;
const HAS_TIME: Priority = Priority::Background;

fn end(queue: &GenerationQueue, name: &str) {
    queue.generation_ended(FIRST, &id(name), Ok(summary()));
}

/// What the engine says of a generation that it was told to end.
fn obey(queue: &GenerationQueue, name: &str) {
    let summary = boca_core::GenerationSummary { finish_reason: FinishReason::Cancelled, ..summary() };
    queue.generation_ended(FIRST, &id(name), Ok(summary));
}

fn says(queue: &GenerationQueue, name: &str, text: &str) {
    queue.generation_event(FIRST, &id(name), GenerationEvent::Text(text.into()));
}

#[tokio::test]
async fn sessions_take_turns() {
    let queue = queue(8);
    let host = with_engine(&queue, FIRST);
    let asked = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("a4", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b")];
    let _streams: Vec<_> =
        asked.iter().map(|(name, party)| admit_for(&queue, name, PERSON, party).unwrap()).collect();
    for name in ["a1", "a2", "b1", "c1", "a3", "b2"] {
        end(&queue, name);
    }
    assert_eq!(host.told(), ["+a1", "+a2", "+b1", "+c1", "+a3", "+b2", "+a4"]);
}

#[tokio::test]
async fn people_go_first_and_find_a_free_place() {
    let queue = queue_of_several(8, 3);
    let host = with_engine(&queue, FIRST);
    let mut streams: Vec<_> = ["w1", "w2", "w3", "w4"]
        .iter()
        .map(|name| admit_for(&queue, name, HAS_TIME, "batch").unwrap())
        .collect();
    assert_eq!(host.told(), ["+w1", "+w2"], "one place is kept for people");
    streams.push(admit_for(&queue, "p1", PERSON, "p").unwrap());
    assert_eq!(host.told().last().unwrap(), "+p1", "who find it free");
    streams.push(admit_for(&queue, "p2", PERSON, "p").unwrap());
    streams.push(admit_for(&queue, "w5", HAS_TIME, "other").unwrap());
    let waiting: Vec<_> = queue.requests().into_iter().filter(|r| !r.is_running).map(|r| r.id).collect();
    assert_eq!(waiting, ["p2", "w3", "w5", "w4"].map(id));
    end(&queue, "w1");
    assert_eq!(host.told().last().unwrap(), "+p2");
    end(&queue, "w2");
    assert_eq!(host.told().len(), 4, "p1 and p2 run, and the last place is free");
    end(&queue, "p1");
    assert_eq!(host.told().last().unwrap(), "+w3");
    end(&queue, "p2");
    assert_eq!(host.told().last().unwrap(), "+w5", "nobody else waits, so the work goes on, by turns");
}

#[tokio::test]
async fn a_batch_never_takes_the_places_of_people() {
    let queue = queue_of_several(2, 2);
    let host = with_engine(&queue, FIRST);
    let mut streams: Vec<_> =
        ["w1", "w2", "w3"].iter().map(|name| admit_for(&queue, name, HAS_TIME, "b").unwrap()).collect();
    let refused = admit_for(&queue, "w4", HAS_TIME, "b").unwrap_err();
    assert_eq!(refused.code, ErrorCode::Overloaded);
    for name in ["p1", "p2", "p3"] {
        streams.push(admit_for(&queue, name, PERSON, name).unwrap());
    }
    assert_eq!(host.told(), ["+w1", "+p1"]);
    let of_person = admit_for(&queue, "p4", PERSON, "p4").unwrap_err().retry_after.unwrap();
    let of_work = admit_for(&queue, "w4", HAS_TIME, "b").unwrap_err().retry_after.unwrap();
    // At the guess of 2.5 s each: two run and two people wait before the one, and two more before the other.
    assert!(of_person > Duration::from_secs(9) && of_person <= Duration::from_secs(10), "{of_person:?}");
    assert!(of_work > Duration::from_secs(14) && of_work <= Duration::from_secs(15), "{of_work:?}");
}

#[tokio::test]
async fn with_one_place_the_work_makes_room_and_begins_anew() {
    let queue = queue(4);
    let host = with_engine(&queue, FIRST);
    let mut work = admit_for(&queue, "w1", HAS_TIME, "b").unwrap();
    let _next = admit_for(&queue, "w2", HAS_TIME, "b").unwrap();
    says(&queue, "w1", "first try");
    assert!(work.next().now_or_never().is_none(), "it may have to begin anew");
    let _person = admit_for(&queue, "p1", PERSON, "p").unwrap();
    assert_eq!(queue.expected_wait(Instant::now()), Duration::ZERO);
    let _second = admit_for(&queue, "p2", PERSON, "q").unwrap();
    assert_eq!(host.told(), ["+w1", "-w1"], "told once");
    says(&queue, "w1", " of many");
    obey(&queue, "w1");
    assert_eq!(host.told()[2..], ["+p1"]);
    assert!(work.next().now_or_never().is_none(), "it still waits");
    end(&queue, "p1");
    end(&queue, "p2");
    assert_eq!(host.told()[3..], ["+p2", "+w1"], "before the others of its kind");
    says(&queue, "w1", "second try");
    end(&queue, "w1");
    let text = GenerationUpdate::Event(GenerationEvent::Text("second try".into()));
    assert_eq!(work.next().now_or_never(), Some(Some(Ok(text))));
    assert_eq!(work.next().now_or_never(), Some(Some(Ok(GenerationUpdate::Finished(summary())))));
}

#[tokio::test]
async fn work_that_ends_or_is_not_wanted_any_more_is_not_begun_anew() {
    let queue = queue(4);
    let host = with_engine(&queue, FIRST);
    let mut done = admit_for(&queue, "done", HAS_TIME, "b").unwrap();
    let _person = admit_for(&queue, "p1", PERSON, "p").unwrap();
    end(&queue, "done");
    assert_eq!(done.next().now_or_never(), Some(Some(Ok(GenerationUpdate::Finished(summary())))));
    end(&queue, "p1");

    let dropped = admit_for(&queue, "dropped", HAS_TIME, "b").unwrap();
    let _person = admit_for(&queue, "p2", PERSON, "p").unwrap();
    drop(dropped);
    obey(&queue, "dropped");
    end(&queue, "p2");

    let mut stopped = admit_for(&queue, "stopped", HAS_TIME, "b").unwrap();
    says(&queue, "stopped", "half");
    let _person = admit_for(&queue, "p3", PERSON, "p").unwrap();
    assert!(queue.cancel(&id("stopped")));
    obey(&queue, "stopped");
    let text = GenerationUpdate::Event(GenerationEvent::Text("half".into()));
    assert_eq!(stopped.next().now_or_never(), Some(Some(Ok(text))));
    end(&queue, "p3");

    let lost = admit_for(&queue, "lost", HAS_TIME, "b").unwrap();
    let _person = admit_for(&queue, "p4", PERSON, "p").unwrap();
    queue.engine_gone(FIRST, &Failure::new(ErrorCode::EngineFailed, "boom"));
    assert_eq!(queue.report().queued, 2, "it was to wait again anyway");
    drop(lost);
    let told = host.told();
    let begun: Vec<_> = told.iter().filter(|told| told.starts_with('+')).collect();
    assert_eq!(begun, ["+done", "+p1", "+dropped", "+p2", "+stopped", "+p3", "+lost"]);
}
