use crate::support::*;
use boca_core::{ActorState, ErrorCode, FinishReason};
use futures_util::future::join_all;
use std::time::Duration;

#[test]
fn accepted_requests_finish_within_the_grace_and_new_ones_are_refused() {
    with_actors(|actors, mut script| async move {
        script.loads();
        let running = ask(&actors, "running").await.unwrap();
        let queued = ask(&actors, "queued").await.unwrap();
        while script.seen().await != Seen::Began("running".into()) {}
        let draining = actors.drain(PATIENCE);
        let meanwhile = async {
            loop {
                match ask(&actors, "new").await {
                    Ok(early) => drop(early),
                    Err(failure) => break assert_eq!(failure.code, ErrorCode::ShuttingDown),
                }
            }
            script.finishes();
            script.finishes();
            assert_eq!(read(running).await.1.unwrap().finish_reason, FinishReason::Stop);
            assert_eq!(read(queued).await.1.unwrap().finish_reason, FinishReason::Stop);
        };
        let (report, ()) = tokio::join!(draining, meanwhile);
        assert_eq!(report.cancelled, 0);
        while script.seen().await != Seen::Freed {}
        assert!(actors.states().values().all(|report| report.state == ActorState::Down));
        assert_eq!(ask(&actors, "late").await.unwrap_err().code, ErrorCode::ShuttingDown);
    });
}

#[test]
fn what_outlasts_the_grace_is_cancelled_and_keeps_its_text() {
    with_actors(|actors, mut script| async move {
        script.loads();
        let running = ask(&actors, "running").await.unwrap();
        let queued = ask(&actors, "queued").await.unwrap();
        while script.seen().await != Seen::Began("running".into()) {}
        script.says("half");
        let report = actors.drain(Duration::from_millis(5)).await;
        assert_eq!(report.cancelled, 2);
        let answer = read(running).await.1.unwrap();
        assert_eq!(answer.finish_reason, FinishReason::Cancelled);
        assert_eq!(read(queued).await.1.unwrap_err().code, ErrorCode::ShuttingDown);
    });
}

#[test]
fn a_drain_races_with_questions_and_everyone_gets_an_end() {
    for nth in 0..50 {
        with_actors(|actors, script| async move {
            script.loads();
            for _ in 0..8 {
                script.finishes();
            }
            let questions = join_all((0..8).map(|n| {
                let actors = actors.clone();
                async move {
                    match answer(&actors, &format!("q{n}")).await {
                        Ok(answer) => assert!(
                            matches!(answer.finish_reason, FinishReason::Stop | FinishReason::Cancelled),
                            "{answer:?}"
                        ),
                        Err(failure) => assert!(
                            matches!(failure.code, ErrorCode::ShuttingDown | ErrorCode::Restarting),
                            "{failure:?}"
                        ),
                    }
                }
            }));
            let drain = actors.drain(Duration::from_millis(nth % 3));
            tokio::join!(questions, drain);
        });
    }
}
