use crate::support::*;
use boca_core::{Ask, ErrorCode, FinishReason};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn a_full_queue_refuses_at_once_and_the_rest_is_served() {
    with_options(
        |options| options.queue_limit = 2,
        |actors, script| async move {
            script.loads();
            let mut streams = Vec::new();
            for id in ["a", "b", "c"] {
                streams.push(ask(&actors, id).await.unwrap());
                // The first one must have left the queue before the third comes.
                until(&actors, "an engine at work", |_| actors.model.queue().running == 1).await;
            }
            let failure = ask(&actors, "d").await.unwrap_err();
            assert_eq!(failure.code, ErrorCode::Overloaded);
            assert_eq!(failure.message, "2 requests are waiting for the model already");
            assert!(failure.retry_after.is_some());
            for stream in streams {
                script.finishes();
                read(stream).await.1.unwrap();
            }
            assert!(actors.model.queue().mean_service_time.is_some());
        },
    );
}

#[test]
fn a_request_in_the_queue_ends_at_its_deadline() {
    with_actors(|actors, script| async move {
        script.loads();
        let running = ask(&actors, "running").await.unwrap();
        until(&actors, "an engine at work", |_| actors.model.queue().running == 1).await;
        let deadline = Instant::now() + Duration::from_millis(20);
        let queued = actors.synthesizer.ask(question("queued"), deadline).await.unwrap();
        let failure = read(queued).await.1.unwrap_err();
        assert_eq!(failure.code, ErrorCode::DeadlineExceeded);
        assert_eq!(failure.message, "the deadline passed while the request waited for the model");
        assert_eq!(actors.model.queue().queued, 0);
        script.says("untouched");
        script.finishes();
        assert_eq!(read(running).await.1.unwrap().text, "untouched");
    });
}

#[test]
fn an_engine_that_ignores_the_deadline_does_not_hold_the_caller() {
    with_options(
        |options| options.deadline_grace = Duration::from_millis(5),
        |actors, mut script| async move {
            script.loads();
            let (release, until_released) = mpsc::channel();
            script.step.send(Step::Hold(until_released)).unwrap();
            // Loaded first, so that the deadline meets a generation and not a load.
            until_state(&actors, boca_core::ActorState::Ready).await;
            let deadline = Instant::now() + Duration::from_secs(1);
            let stream = actors.synthesizer.ask(question("a"), deadline).await.unwrap();
            while script.seen().await != Seen::Holds {}
            let failure = read(stream).await.1.unwrap_err();
            assert_eq!(failure.code, ErrorCode::DeadlineExceeded);
            assert_eq!(actors.model.queue().running, 1, "the engine is still at it");
            drop(release);
            while script.seen().await != Seen::Ended("a".into(), FinishReason::Cancelled) {}
            script.finishes();
            answer(&actors, "b").await.unwrap();
        },
    );
}

#[test]
fn an_engine_that_never_ends_is_given_up() {
    with_options(
        |options| {
            options.deadline_grace = Duration::from_millis(5);
            options.stuck_after = Duration::from_millis(50);
        },
        |actors, mut script| async move {
            script.loads();
            let (_release, until_released) = mpsc::channel();
            script.step.send(Step::Hold(until_released)).unwrap();
            let stream = ask(&actors, "a").await.unwrap();
            while script.seen().await != Seen::Holds {}
            drop(stream);
            let escalation = actors.escalated().await;
            assert_eq!(escalation.actor, "model");
            assert!(escalation.reason.contains("did not end a generation"), "{escalation}");
        },
    );
}

#[test]
fn a_passed_deadline_is_refused_without_touching_the_engine() {
    with_actors(|actors, mut script| async move {
        script.loads();
        until_state(&actors, boca_core::ActorState::Ready).await;
        let failure = actors.synthesizer.ask(question("a"), Instant::now()).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::DeadlineExceeded);
        assert_eq!(script.seen().await, Seen::LoadBegan);
        script.has_seen_nothing();
    });
}

#[test]
fn an_id_in_use_is_a_conflict() {
    with_actors(|actors, script| async move {
        script.loads();
        let first = ask(&actors, "same").await.unwrap();
        let failure = ask(&actors, "same").await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Conflict);
        script.finishes();
        read(first).await.1.unwrap();
        script.finishes();
        let again: Ask = question("same");
        let stream = actors.synthesizer.ask(again, in_time()).await.unwrap();
        read(stream).await.1.unwrap();
    });
}
