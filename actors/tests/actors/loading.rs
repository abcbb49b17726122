use crate::support::*;
use boca_core::{ActorState, ErrorCode};
use std::time::{Duration, Instant};

#[test]
fn a_question_waits_for_the_load() {
    with_actors(|actors, mut script| async move {
        let early = ask(&actors, "early").await.unwrap();
        script.load.send(Load::Progress(10, 40)).unwrap();
        let status = until(&actors, "progress", |status| {
            status.progress.is_some_and(|progress| progress.done_bytes == 10)
        })
        .await;
        assert_eq!((status.state, status.info), (ActorState::Loading, None));
        assert_eq!(script.seen().await, Seen::LoadBegan);
        script.has_seen_nothing();
        script.loads();
        assert_eq!(script.seen().await, Seen::Began("early".into()));
        script.says("now");
        script.finishes();
        assert_eq!(read(early).await.1.unwrap().text, "now");
        let status = until_state(&actors, ActorState::Ready).await;
        assert_eq!((status.progress, status.failure), (None, None));
        assert_eq!(status.info.unwrap().name, MODEL_NAME);
    });
}

#[test]
fn a_question_that_waited_for_the_load_in_vain_learns_when_to_come_back() {
    with_actors(|actors, script| async move {
        script.load.send(Load::Progress(10, 40)).unwrap();
        until(&actors, "progress", |status| status.progress.is_some_and(|p| p.total_bytes == 40)).await;
        let deadline = Instant::now() + Duration::from_millis(20);
        let stream = actors.synthesizer.ask(question("a"), deadline).await.unwrap();
        let failure = read(stream).await.1.unwrap_err();
        assert_eq!(failure.code, ErrorCode::ModelLoading);
        assert_eq!(failure.message, "the model is still being loaded (10 of 40 bytes)");
        assert!(failure.retry_after.is_some());
        assert_eq!(actors.model.queue().queued, 0);
    });
}

#[test]
fn a_load_ends_when_the_daemon_stops() {
    with_actors(|actors, mut script| async move {
        assert_eq!(script.seen().await, Seen::LoadBegan);
        let waiting = ask(&actors, "a").await.unwrap();
        let report = actors.drain(Duration::from_millis(5)).await;
        assert_eq!(report.cancelled, 1);
        assert_eq!(read(waiting).await.1.unwrap_err().code, ErrorCode::ShuttingDown);
        assert!(actors.states().values().all(|report| report.state == ActorState::Down));
    });
}
