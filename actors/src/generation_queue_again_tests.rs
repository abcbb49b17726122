//! What becomes of requests whose engine is gone.

use super::*;

fn gone() -> Failure {
    Failure::new(ErrorCode::EngineFailed, "the engine process was killed").retry_after(Duration::from_secs(1))
}

fn started() -> GenerationEvent {
    GenerationEvent::Started { prompt_tokens: 3, max_tokens: 9 }
}

fn said(text: &str) -> GenerationEvent {
    GenerationEvent::Text(text.into())
}

#[tokio::test]
async fn what_had_shown_nothing_comes_again_before_those_that_wait() {
    let queue = queue_of_several(4, 2);
    let first = with_engine(&queue, FIRST);
    let mut streams: Vec<_> = ["a", "b", "c"].iter().map(|name| admit(&queue, name).unwrap()).collect();
    queue.generation_event(FIRST, &id("b"), started());
    queue.engine_gone(FIRST, &gone());
    assert_eq!(first.told(), ["+a", "+b"]);
    assert_eq!(queue.report().queued, 3);
    let second = with_engine(&queue, SECOND);
    assert_eq!(second.told(), ["+a", "+b"], "in their order");
    for name in ["a", "b"] {
        queue.generation_event(SECOND, &id(name), started());
        queue.generation_event(SECOND, &id(name), said(name));
        queue.generation_ended(SECOND, &id(name), Ok(summary()));
    }
    for (stream, name) in streams.iter_mut().zip(["a", "b"]) {
        let expected = [
            GenerationUpdate::Event(started()),
            GenerationUpdate::Event(said(name)),
            GenerationUpdate::Finished(summary()),
        ];
        for update in expected {
            assert_eq!(end_of(stream), Some(Ok(update)), "`{name}` has begun once");
        }
    }
}

#[tokio::test]
async fn what_was_shown_in_part_fails_at_once_and_may_be_asked_again() {
    let queue = queue(4);
    let _first = with_engine(&queue, FIRST);
    let mut stream = admit(&queue, "a").unwrap();
    queue.generation_event(FIRST, &id("a"), started());
    queue.generation_event(FIRST, &id("a"), said("half an"));
    queue.engine_gone(FIRST, &gone());
    assert_eq!(end_of(&mut stream), Some(Ok(GenerationUpdate::Event(started()))));
    assert_eq!(end_of(&mut stream), Some(Ok(GenerationUpdate::Event(said("half an")))));
    let failure = end_of(&mut stream).unwrap().unwrap_err();
    assert_eq!((failure.code.retry(), failure.retry_after), (Retry::Safe, Some(Duration::from_secs(1))));
    assert!(queue.report().queued == 0);
}

#[tokio::test]
async fn nothing_is_sent_a_third_time() {
    let queue = queue(4);
    let mut stream = admit(&queue, "a").unwrap();
    for epoch in [FIRST, SECOND] {
        assert!(end_of(&mut stream).is_none());
        assert_eq!(with_engine(&queue, epoch).told(), ["+a"]);
        queue.engine_gone(epoch, &gone());
    }
    assert_eq!(code_of(&mut stream), ErrorCode::EngineFailed);
}

#[tokio::test]
async fn what_was_cancelled_or_is_refused_does_not_come_again() {
    let queue = queue_of_several(4, 2);
    let _first = with_engine(&queue, FIRST);
    let mut cancelled = admit(&queue, "cancelled").unwrap();
    queue.cancel(&id("cancelled"));
    queue.engine_gone(FIRST, &gone());
    assert_eq!(code_of(&mut cancelled), ErrorCode::Cancelled);
    let _second = with_engine(&queue, SECOND);
    let mut refused = admit(&queue, "refused").unwrap();
    queue.refuse(Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping"));
    queue.engine_gone(SECOND, &gone());
    assert_eq!(code_of(&mut refused), ErrorCode::EngineFailed);
}

#[tokio::test]
async fn a_probe_is_let_in_alone() {
    let queue = queue(4);
    queue.refuse(gone());
    assert_eq!(admit(&queue, "a").unwrap_err(), gone());
    queue.welcome_one();
    queue.refuse(gone());
    assert_eq!(admit(&queue, "a").unwrap_err(), gone(), "the probe failed before it came");
    queue.welcome_one();
    let _probe = admit(&queue, "b").unwrap();
    assert_eq!(admit(&queue, "c").unwrap_err(), gone());
    queue.welcome();
    let _after = admit(&queue, "c").unwrap();
}
