use super::*;
use crate::engine_host::{EngineGone, Pulse};
use boca_core::{ChatMessage, FinishReason, GenerationSummary, GenerationUpdate, Timings, Usage};
use futures_util::StreamExt;
use futures_util::future::FutureExt;
use proptest::prelude::*;

#[path = "generation_queue_again_tests.rs"]
mod again;

/// Writes down what it is told.
#[derive(Debug, Default)]
pub(super) struct FakeHost {
    commands: Mutex<Vec<EngineCommand>>,
}

impl EngineHost for FakeHost {
    fn send(&self, command: EngineCommand) -> Result<(), EngineGone> {
        self.commands.lock().unwrap().push(command);
        Ok(())
    }

    fn pulse(&self) -> Pulse {
        Pulse::default()
    }

    fn end_by_force(&self, _: &str) -> bool {
        false
    }
}

impl FakeHost {
    /// `+` and `-` for what was told to begin and to end.
    pub(super) fn told(&self) -> Vec<String> {
        let commands = self.commands.lock().unwrap();
        let tell = |command: &EngineCommand| match command {
            EngineCommand::Generate { request, .. } => format!("+{}", request.id),
            EngineCommand::Cancel { id } => format!("-{id}"),
            EngineCommand::GiveUpCache => "cache".into(),
            EngineCommand::Stop => "stop".into(),
        };
        commands.iter().map(tell).collect()
    }
}

pub(super) fn id(name: &str) -> RequestId {
    name.parse().unwrap()
}

fn request(name: &str) -> Box<GenerateRequest> {
    Box::new(GenerateRequest::new(id(name), vec![ChatMessage::user("hi")], 8, Duration::from_secs(3600)))
}

pub(super) fn summary() -> GenerationSummary {
    GenerationSummary {
        finish_reason: FinishReason::Stop,
        stop_sequence: None,
        usage: Usage::default(),
        timings: Timings::default(),
    }
}

pub(super) fn queue(limit: usize) -> GenerationQueue {
    queue_of_several(limit, 1)
}

pub(super) fn queue_of_several(limit: usize, max_running: usize) -> GenerationQueue {
    let settings = QueueSettings { limit, max_running, deadline_grace: Duration::from_secs(2) };
    GenerationQueue::new(settings, Arc::default())
}

/// From now on this is the mean.
fn measured(queue: &GenerationQueue, share: Duration) {
    queue.0.state.lock().unwrap().service_time.add(Priority::Interactive, share);
}

pub(super) const FIRST: Epoch = Epoch(1);
const SECOND: Epoch = Epoch(2);

pub(super) fn with_engine(queue: &GenerationQueue, epoch: Epoch) -> Arc<FakeHost> {
    let host = Arc::new(FakeHost::default());
    queue.engine_starts(epoch, host.clone());
    queue.engine_ready(epoch);
    host
}

fn admit(queue: &GenerationQueue, name: &str) -> Result<GenerationStream, Failure> {
    let now = Instant::now();
    queue.admit(request(name), now, now + Duration::from_secs(60))
}

pub(super) fn admit_for(
    queue: &GenerationQueue,
    name: &str,
    priority: Priority,
    party: &str,
) -> Result<GenerationStream, Failure> {
    let now = Instant::now();
    let request = GenerateRequest { priority, fairness_key: party.into(), ..*request(name) };
    queue.admit(Box::new(request), now, now + Duration::from_secs(60))
}

fn n_waiting(queue: &GenerationQueue, priority: Priority) -> usize {
    queue.0.state.lock().unwrap().waiting.n_of(priority)
}

/// The end of a stream that must be there already.
fn end_of(stream: &mut GenerationStream) -> Option<Result<GenerationUpdate, Failure>> {
    stream.next().now_or_never().flatten()
}

fn code_of(stream: &mut GenerationStream) -> ErrorCode {
    end_of(stream).expect("has ended").expect_err("is a failure").code
}

#[tokio::test]
async fn one_after_another_in_order() {
    let queue = queue(4);
    let host = with_engine(&queue, FIRST);
    let mut streams: Vec<_> = ["a", "b", "c"].iter().map(|name| admit(&queue, name).unwrap()).collect();
    assert_eq!(host.told(), ["+a"]);
    assert_eq!((queue.report().running, queue.report().queued), (1, 2));
    for name in ["a", "b", "c"] {
        queue.generation_event(FIRST, &id(name), GenerationEvent::Text(name.into()));
        queue.generation_ended(FIRST, &id(name), Ok(summary()));
    }
    assert_eq!(host.told(), ["+a", "+b", "+c"]);
    for (stream, name) in streams.iter_mut().zip(["a", "b", "c"]) {
        let text = GenerationUpdate::Event(GenerationEvent::Text(name.into()));
        assert_eq!(end_of(stream), Some(Ok(text)));
        assert_eq!(end_of(stream), Some(Ok(GenerationUpdate::Finished(summary()))));
        assert_eq!(stream.next().now_or_never(), Some(None));
    }
    assert!(!queue.is_busy());
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let queue = queue(2);
    let _host = with_engine(&queue, FIRST);
    let _streams: Vec<_> = ["a", "b", "c"].iter().map(|name| admit(&queue, name).unwrap()).collect();
    let failure = admit(&queue, "d").unwrap_err();
    assert_eq!(failure.code, ErrorCode::Overloaded);
    assert_eq!(failure.message, "2 requests are waiting for the model already");
    // Three requests at the guess of 5 s each, less what the first has had: nothing has been measured.
    let retry_after = failure.retry_after.unwrap();
    assert!(
        retry_after > Duration::from_secs(14) && retry_after <= Duration::from_secs(15),
        "{retry_after:?}"
    );
    measured(&queue, Duration::from_secs(2));
    let retry_after = admit(&queue, "d").unwrap_err().retry_after.unwrap();
    assert!(retry_after > Duration::from_secs(5) && retry_after <= Duration::from_secs(6), "{retry_after:?}");
}

#[tokio::test]
async fn the_expected_wait_is_the_mean_of_those_before() {
    let queue = queue(4);
    let _host = with_engine(&queue, FIRST);
    let _streams: Vec<_> = ["a", "b", "c"].iter().map(|name| admit(&queue, name).unwrap()).collect();
    assert_eq!(queue.n_accepted(), 3);
    assert_eq!(queue.expected_wait(Instant::now()), Duration::ZERO, "nothing has been measured");
    measured(&queue, Duration::from_secs(100));
    let wait = queue.expected_wait(Instant::now());
    assert!(wait > Duration::from_secs(200) && wait <= Duration::from_secs(300), "{wait:?}");
    let later = Instant::now() + Duration::from_secs(1000);
    assert_eq!(
        queue.expected_wait(later),
        Duration::from_secs(200),
        "what runs is overdue, and about to end"
    );
}

#[tokio::test]
async fn a_queued_request_that_is_dropped_never_runs() {
    let queue = queue(4);
    let host = with_engine(&queue, FIRST);
    let _a = admit(&queue, "a").unwrap();
    let b = admit(&queue, "b").unwrap();
    let _c = admit(&queue, "c").unwrap();
    drop(b);
    assert_eq!(queue.report().queued, 1);
    queue.generation_ended(FIRST, &id("a"), Ok(summary()));
    assert_eq!(host.told(), ["+a", "+c"]);
}

#[tokio::test]
async fn a_running_request_that_is_dropped_is_told_to_end() {
    let queue = queue(4);
    let host = with_engine(&queue, FIRST);
    let a = admit(&queue, "a").unwrap();
    let _b = admit(&queue, "b").unwrap();
    drop(a);
    assert_eq!(host.told(), ["+a", "-a"], "the next one waits until the engine is free");
    queue.generation_ended(FIRST, &id("a"), Ok(summary()));
    assert_eq!(host.told(), ["+a", "-a", "+b"]);
}

#[tokio::test]
async fn a_cancelled_request_learns_it() {
    let queue = queue(4);
    let host = with_engine(&queue, FIRST);
    let mut a = admit(&queue, "a").unwrap();
    let mut b = admit(&queue, "b").unwrap();
    assert!(queue.cancel(&id("b")));
    assert_eq!(code_of(&mut b), ErrorCode::Cancelled);
    assert!(queue.cancel(&id("a")));
    assert_eq!(host.told(), ["+a", "-a"]);
    assert_eq!(end_of(&mut a), None, "it may end with the text that it has");
    assert!(!queue.cancel(&id("b")));
    assert!(!queue.cancel(&id("nobody")));
}

#[tokio::test]
async fn deadlines_end_what_waits_and_later_what_runs() {
    let queue = queue(4);
    let host = with_engine(&queue, FIRST);
    let mut a = admit(&queue, "a").unwrap();
    let mut b = admit(&queue, "b").unwrap();
    let deadline = Instant::now() + Duration::from_secs(61);
    assert_eq!(queue.expire(b.ticket(), deadline), Expiry::Ended);
    assert_eq!(code_of(&mut b), ErrorCode::DeadlineExceeded);
    let Expiry::WindsUpUntil(last_moment) = queue.expire(a.ticket(), deadline) else { panic!("ended") };
    assert_eq!(queue.expire(a.ticket(), last_moment), Expiry::Ended);
    assert_eq!(code_of(&mut a), ErrorCode::DeadlineExceeded);
    assert_eq!(host.told(), ["+a", "-a"]);
    assert!(queue.is_busy(), "until the engine says so");
    queue.generation_ended(FIRST, &id("a"), Ok(summary()));
    assert!(!queue.is_busy());

    let now = Instant::now();
    let late = queue.admit(request("late"), now, now).unwrap_err();
    assert_eq!(late.code, ErrorCode::DeadlineExceeded);
}

#[tokio::test]
async fn expired_requests_leave_their_places_to_others() {
    let queue = queue(1);
    let now = Instant::now();
    let mut short = queue.admit(request("short"), now, now + Duration::from_nanos(1_000_000)).unwrap();
    while Instant::now() <= now + Duration::from_millis(1) {
        tokio::task::yield_now().await;
    }
    let _next = admit(&queue, "next").expect("the place is free");
    assert_eq!(code_of(&mut short), ErrorCode::ModelLoading);
}

#[tokio::test]
async fn what_waits_survives_the_engine() {
    let queue = queue(4);
    let mut a = admit(&queue, "a").unwrap();
    let _b = admit(&queue, "b").unwrap();
    let first = with_engine(&queue, FIRST);
    assert_eq!(first.told(), ["+a"]);
    queue.generation_event(FIRST, &id("a"), GenerationEvent::Text("half".into()));
    queue.engine_gone(FIRST, &Failure::new(ErrorCode::EngineFailed, "boom"));
    assert!(end_of(&mut a).unwrap().is_ok());
    assert_eq!(code_of(&mut a), ErrorCode::EngineFailed);
    let second = with_engine(&queue, SECOND);
    assert_eq!(second.told(), ["+b"]);
    // The dead engine's last words concern nobody.
    queue.generation_ended(FIRST, &id("b"), Err(Failure::new(ErrorCode::EngineFailed, "late")));
    queue.engine_gone(FIRST, &Failure::new(ErrorCode::EngineFailed, "late"));
    queue.engine_ready(FIRST);
    assert!(queue.is_busy());
    assert_eq!(queue.requests().iter().map(|r| r.is_running).collect::<Vec<_>>(), [true]);
}

#[tokio::test]
async fn an_id_in_use_is_refused_and_free_afterwards() {
    let queue = queue(4);
    let _host = with_engine(&queue, FIRST);
    let _a = admit(&queue, "a").unwrap();
    let _b = admit(&queue, "b").unwrap();
    for name in ["a", "b"] {
        assert_eq!(admit(&queue, name).unwrap_err().code, ErrorCode::Conflict);
    }
    queue.generation_ended(FIRST, &id("a"), Ok(summary()));
    assert!(admit(&queue, "a").is_ok());
}

#[tokio::test]
async fn refusal_and_welcome() {
    let queue = queue(4);
    queue.refuse(Failure::new(ErrorCode::ModelUnavailable, "no such directory"));
    assert_eq!(admit(&queue, "a").unwrap_err().code, ErrorCode::ModelUnavailable);
    queue.welcome();
    let mut b = admit(&queue, "b").unwrap();
    let stopping = Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping");
    queue.refuse(stopping.clone());
    assert_eq!(queue.end_all(&stopping), 1);
    assert_eq!(code_of(&mut b), ErrorCode::ShuttingDown);
    queue.welcome();
    assert_eq!(admit(&queue, "c").unwrap_err().code, ErrorCode::ShuttingDown, "stopping is for good");
}

#[tokio::test]
async fn a_request_that_a_stop_meets_before_its_first_step_learns_of_the_stop() {
    let queue = queue(4);
    let _host = with_engine(&queue, FIRST);
    let mut a = admit(&queue, "a").unwrap();
    queue.end_all(&Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping"));
    queue.generation_ended(FIRST, &id("a"), Err(cancelled_before_it_began()));
    assert_eq!(code_of(&mut a), ErrorCode::ShuttingDown);
}

#[test]
fn an_engine_that_owes_an_end_is_noticed() {
    let queue = queue(4);
    let _host = with_engine(&queue, FIRST);
    let now = Instant::now();
    assert_eq!(queue.disobeyed_for(now), None);
    let a = queue.admit(request("a"), now, now + Duration::from_secs(60)).unwrap();
    assert_eq!(queue.disobeyed_for(now), None);
    let late = now + Duration::from_secs(70);
    assert_eq!(queue.disobeyed_for(late), Some(Duration::from_secs(10)));
    drop(a);
    let since_drop = queue.disobeyed_for(late).expect("was told to end");
    assert!(since_drop > Duration::from_secs(60), "{since_drop:?}");
    queue.generation_ended(FIRST, &id("a"), Ok(summary()));
    assert_eq!(queue.disobeyed_for(late), None);
}

#[derive(Debug, Clone)]
enum Move {
    Admit { has_time: bool, party: u8 },
    Drop(prop::sample::Index),
    Cancel(prop::sample::Index),
    Expire(prop::sample::Index),
    RunningEnds,
    EngineDies,
    EngineComes,
}

fn any_move() -> impl Strategy<Value = Move> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (any::<bool>(), 0_u8..3).prop_map(|(has_time, party)| Move::Admit { has_time, party }),
        1 => index().prop_map(Move::Drop),
        1 => index().prop_map(Move::Cancel),
        1 => index().prop_map(Move::Expire),
        3 => Just(Move::RunningEnds),
        1 => Just(Move::EngineDies),
        2 => Just(Move::EngineComes),
    ]
}

proptest! {
    /// Whatever happens in whatever order: the bounds hold, no more than so many generations are in the engine, and
    /// everyone who was accepted gets exactly one end.
    #[test]
    fn every_accepted_request_ends_once(
        moves in prop::collection::vec(any_move(), 1..120),
        max_running in 1_usize..4,
        which in any::<prop::sample::Index>(),
    ) {
        let limit = 3;
        let queue = queue_of_several(limit, max_running);
        let mut host: Option<(Epoch, Arc<FakeHost>)> = None;
        let mut streams: Vec<(RequestId, GenerationStream)> = Vec::new();
        let mut n_admitted = 0;
        let mut epoch = 0;
        let died = Failure::new(ErrorCode::EngineFailed, "boom");
        let running = |queue: &GenerationQueue| {
            let running: Vec<_> = queue.requests().into_iter().filter(|request| request.is_running).collect();
            (!running.is_empty()).then(|| running[which.index(running.len())].id.clone())
        };
        for step in moves {
            let far = Instant::now() + Duration::from_secs(3600);
            match step {
                Move::Admit { has_time, party } => {
                    let priority = if has_time { Priority::Background } else { Priority::Interactive };
                    let was_full = n_waiting(&queue, priority) >= limit;
                    let name = format!("r{n_admitted}");
                    match admit_for(&queue, &name, priority, &party.to_string()) {
                        Ok(stream) => streams.push((id(&name), stream)),
                        Err(failure) => {
                            prop_assert_eq!(failure.code, ErrorCode::Overloaded);
                            prop_assert!(was_full);
                        }
                    }
                    n_admitted += 1;
                }
                Move::Drop(at) if !streams.is_empty() => drop(streams.swap_remove(at.index(streams.len()))),
                Move::Cancel(at) if !streams.is_empty() => {
                    queue.cancel(&streams[at.index(streams.len())].0);
                }
                Move::Expire(at) if !streams.is_empty() => {
                    queue.expire(streams[at.index(streams.len())].1.ticket(), far);
                }
                Move::RunningEnds => {
                    if let (Some(id), Some((epoch, _))) = (running(&queue), &host) {
                        queue.generation_ended(*epoch, &id, Ok(summary()));
                    }
                }
                Move::EngineDies => {
                    if let Some((epoch, _)) = host.take() {
                        queue.engine_gone(epoch, &died);
                    }
                }
                Move::EngineComes if host.is_none() => {
                    epoch += 1;
                    host = Some((Epoch(epoch), with_engine(&queue, Epoch(epoch))));
                }
                _ => {}
            }
            let report = queue.report();
            for priority in Priority::ALL {
                // Those that were put back had a place before.
                prop_assert!(n_waiting(&queue, priority) <= limit + max_running);
            }
            prop_assert!(report.running <= max_running);
            prop_assert_eq!(report.running > 0, queue.is_busy());
            let n_people = n_waiting(&queue, Priority::Interactive);
            let is_full = report.running == max_running;
            let is_nearly_full = report.running + 1 >= max_running;
            prop_assert!(n_people == 0 || host.is_none() || is_full, "nobody waits in vain");
            prop_assert!(report.queued == 0 || host.is_none() || is_nearly_full, "nobody waits in vain");
        }
        let (last, _) = host.unwrap_or_else(|| (Epoch(epoch + 1), with_engine(&queue, Epoch(epoch + 1))));
        while let Some(id) = running(&queue) {
            queue.generation_ended(last, &id, Ok(summary()));
        }
        prop_assert_eq!(queue.report().queued, 0);
        for (id, mut stream) in streams {
            prop_assert!(end_of(&mut stream).is_some(), "{} got no end", id);
            prop_assert_eq!(stream.next().now_or_never(), Some(None));
        }
    }
}

#[tokio::test]
async fn several_run_at_once_and_each_has_its_own_end() {
    let queue = queue_of_several(1, 3);
    let host = with_engine(&queue, FIRST);
    let mut streams: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| admit(&queue, name).unwrap()).collect();
    assert_eq!(host.told(), ["+a", "+b", "+c"]);
    assert_eq!((queue.report().running, queue.report().queued), (3, 1));
    assert_eq!(admit(&queue, "e").unwrap_err().code, ErrorCode::Overloaded);
    assert_eq!(admit(&queue, "b").unwrap_err().code, ErrorCode::Conflict);

    queue.generation_event(FIRST, &id("c"), GenerationEvent::Text("of c".into()));
    queue.generation_ended(FIRST, &id("b"), Ok(summary()));
    assert_eq!(host.told(), ["+a", "+b", "+c", "+d"], "the place of one that ended is given away at once");
    assert_eq!(end_of(&mut streams[1]), Some(Ok(GenerationUpdate::Finished(summary()))));
    let text = GenerationUpdate::Event(GenerationEvent::Text("of c".into()));
    assert_eq!(end_of(&mut streams[2]), Some(Ok(text)));
    assert!(end_of(&mut streams[0]).is_none() && end_of(&mut streams[3]).is_none());

    assert!(queue.cancel(&id("c")));
    drop(streams.remove(0));
    assert_eq!(host.told()[4..], ["-c", "-a"], "each is told by itself");
    queue.generation_event(FIRST, &id("d"), GenerationEvent::Reasoning("half".into()));
    assert!(end_of(&mut streams[2]).unwrap().is_ok());
    let failure = Failure::new(ErrorCode::EngineFailed, "gone");
    queue.engine_gone(FIRST, &failure);
    assert_eq!((queue.report().running, queue.is_busy()), (0, false));
    assert_eq!(code_of(&mut streams[1]), ErrorCode::Cancelled);
    assert_eq!(code_of(&mut streams[2]), ErrorCode::EngineFailed);
}

#[tokio::test]
async fn with_room_nobody_waits_and_without_it_as_long_as_the_next_end_takes() {
    let queue = queue_of_several(8, 2);
    with_engine(&queue, FIRST);
    let mut streams = vec![admit(&queue, "a").unwrap()];
    queue.generation_ended(FIRST, &id("a"), Ok(summary()));
    let now = Instant::now();
    streams.push(admit(&queue, "b").unwrap());
    assert_eq!(queue.expected_wait(now), Duration::ZERO, "one place is free");
    streams.push(admit(&queue, "c").unwrap());
    measured(&queue, Duration::from_secs(200));
    let mean = queue.report().mean_service_time.unwrap();
    let now = Instant::now();
    let before = queue.expected_wait(now);
    assert!(before > mean && before <= mean * 2, "two share the time: {before:?}");
    streams.push(admit(&queue, "d").unwrap());
    streams.push(admit(&queue, "e").unwrap());
    assert_eq!(queue.expected_wait(now), before + mean * 2, "two of a share each");
}
