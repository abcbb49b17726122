use crate::support::*;
use boca_actors::ReloadOutcome;
use boca_core::{ActorState, ErrorCode, Retry};

#[test]
fn a_panic_fails_its_request_and_the_waiting_one_is_served_by_the_next_engine() {
    for _ in 0..50 {
        with_actors(|actors, mut script| async move {
            script.loads();
            let hit = ask(&actors, "hit").await.unwrap();
            let waiting = ask(&actors, "waiting").await.unwrap();
            script.says("some");
            script.step.send(Step::Panic).unwrap();
            let failure = read(hit).await.1.unwrap_err();
            assert_eq!(failure.code, ErrorCode::EngineFailed);
            assert_eq!(failure.code.retry(), Retry::Safe);
            assert!(failure.message.contains("the script says panic ("), "{failure}");
            script.loads();
            script.says("rebuilt");
            script.finishes();
            assert_eq!(read(waiting).await.1.unwrap().text, "rebuilt");
            for expected in [
                Seen::LoadBegan,
                Seen::Began("hit".into()),
                // The broken engine is freed before the next one is built.
                Seen::Freed,
                Seen::LoadBegan,
                Seen::Began("waiting".into()),
            ] {
                assert_eq!(script.seen().await, expected);
            }
            let states = actors.states();
            assert_eq!(states["model"].restarts, 1);
            assert!(states["model"].last_error.is_none(), "all is well again");
            assert_eq!(states["synthesizer"].restarts + states["metrics"].restarts, 0);
        });
    }
}

#[test]
fn a_panic_or_a_device_fault_while_loading_is_tried_again() {
    with_actors(|actors, script| async move {
        script.load.send(Load::Panic).unwrap();
        script.load.send(Load::DeviceFault).unwrap();
        script.loads();
        script.finishes();
        answer(&actors, "a").await.unwrap();
        assert_eq!(actors.model.status().engine_restarts, 2);
    });
}

#[test]
fn a_bad_checkpoint_stays_down_with_its_reason_until_a_reload() {
    with_actors(|actors, mut script| async move {
        let waiting = ask(&actors, "early").await.unwrap();
        script.load.send(Load::BadCheckpoint).unwrap();
        let failure = read(waiting).await.1.unwrap_err();
        assert_eq!(failure.code, ErrorCode::ModelUnavailable);
        assert_eq!(failure.message, "/models/none: expected a model directory, found nothing");
        let status = until_state(&actors, ActorState::Down).await;
        assert_eq!(status.failure, Some(failure.clone()));
        assert_eq!(ask(&actors, "late").await.unwrap_err(), failure, "at once, without waiting");
        let states = actors.states();
        assert_eq!(states["model"].state, ActorState::Down);
        assert_eq!(states["model"].last_error.as_ref(), Some(&failure.message));
        assert_eq!(states["synthesizer"].state, ActorState::Ready);
        assert_eq!(script.seen().await, Seen::LoadBegan);
        script.has_seen_nothing();

        assert_eq!(actors.model.reload(in_time()).await, Ok(ReloadOutcome::Started));
        assert_eq!(actors.model.reload(in_time()).await, Ok(ReloadOutcome::AlreadyLoading));
        script.loads();
        script.finishes();
        answer(&actors, "after").await.unwrap();
        until_state(&actors, ActorState::Ready).await;
        assert_eq!(actors.model.reload(in_time()).await, Ok(ReloadOutcome::AlreadyLoaded));
    });
}

#[test]
fn an_engine_that_keeps_breaking_escalates() {
    with_actors(|actors, script| async move {
        let waiting = ask(&actors, "a").await.unwrap();
        for _ in 0..6 {
            script.load.send(Load::Panic).unwrap();
        }
        let escalation = actors.escalated().await;
        assert_eq!(escalation.actor, "model");
        assert!(escalation.reason.contains("the script says panic at load"), "{escalation}");
        assert_eq!(read(waiting).await.1.unwrap_err().code, ErrorCode::EngineFailed);
        let states = actors.states();
        assert_eq!(states["model"].state, ActorState::Down);
        assert_eq!(states["model"].restarts, 5);
        assert_eq!(states["metrics"].state, ActorState::Ready, "the others live");
        assert!(actors.metrics.snapshot(in_time()).await.is_ok());
    });
}
