//! When the weights go and come back, with a machine whose memory is what a test says.

use crate::support::*;
use boca_actors::{ActorsOptions, MemoryOptions, MemoryPatience, ReloadOutcome, UnloadOutcome};
use boca_core::{ActorState, ErrorCode};
use boca_engine::memory::MemoryFacts;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const GIB: u64 = 1 << 30;
const PLENTY: u64 = 20 * GIB;

fn with_memory(
    free: &Arc<AtomicU64>,
    keep_alive: Option<Duration>,
) -> impl FnOnce(&mut ActorsOptions) + use<> {
    let free = Arc::clone(free);
    move |options| {
        options.memory = MemoryOptions {
            read: Arc::new(move || MemoryFacts {
                total_bytes: Some(2 * PLENTY),
                available_bytes: Some(free.load(Ordering::SeqCst)),
                ..MemoryFacts::default()
            }),
            look_every: Duration::from_millis(2),
            patience: MemoryPatience {
                hard_after: Duration::from_millis(20),
                better_after: Duration::from_millis(20),
            },
            keep_alive,
        };
    }
}

#[test]
fn short_memory_refuses_then_unloads_when_all_has_ended_and_plenty_brings_the_model_back() {
    let free = Arc::new(AtomicU64::new(PLENTY));
    with_options(with_memory(&free, None), |actors, mut script| async move {
        script.loads();
        let running = ask(&actors, "running").await.unwrap();
        assert_eq!(script.seen().await, Seen::LoadBegan);
        assert_eq!(script.seen().await, Seen::Began("running".into()));
        // Between the two limits: no new requests, and nothing else.
        free.store(GIB, Ordering::SeqCst);
        let refused = until_refused(&actors, ErrorCode::Overloaded).await;
        assert!(refused.retry_after.is_some() && refused.message.contains("memory is short"), "{refused}");
        free.store(0, Ordering::SeqCst);
        let refused = until_refused(&actors, ErrorCode::ModelLoading).await;
        assert!(refused.retry_after.is_some(), "{refused}");
        assert_eq!(actors.model.status().state, ActorState::Busy, "what runs goes on");
        script.says("whole");
        script.finishes();
        assert_eq!(read(running).await.1.unwrap().text, "whole");
        let status = until_state(&actors, ActorState::Unloaded).await;
        assert!(status.failure.is_some_and(|failure| failure.message.contains("memory is short")));
        assert!(status.info.is_some(), "it is known what would be loaded");
        script.seen().await; // its end
        assert_eq!(script.seen().await, Seen::Freed);
        script.has_seen_nothing();

        free.store(PLENTY, Ordering::SeqCst);
        script.loads();
        until_state(&actors, ActorState::Ready).await;
        script.finishes();
        answer(&actors, "after").await.unwrap();
        assert_eq!(actors.model.status().engine_restarts, 0);
    });
}

#[test]
fn an_idle_model_goes_looking_does_not_wake_it_and_a_request_does() {
    let free = Arc::new(AtomicU64::new(PLENTY));
    let keep_alive = Duration::from_millis(50);
    with_options(with_memory(&free, Some(keep_alive)), |actors, mut script| async move {
        script.loads();
        script.finishes();
        answer(&actors, "first").await.unwrap();
        until_state(&actors, ActorState::Unloaded).await;
        for _ in 0..50 {
            actors.model.observe(in_time()).await.unwrap();
            actors.metrics.snapshot(in_time()).await.unwrap();
            actors.states();
            actors.model.queue();
        }
        assert_eq!(actors.model.status().state, ActorState::Unloaded);
        let until_freed = async |script: &mut Script| while script.seen().await != Seen::Freed {};
        until_freed(&mut script).await;
        script.has_seen_nothing();
        script.loads();
        script.says("again");
        script.finishes();
        assert_eq!(answer(&actors, "second").await.unwrap().text, "again");
        until_state(&actors, ActorState::Unloaded).await;
    });
}

#[test]
fn a_request_races_with_the_unloading_and_is_answered() {
    for nth in 0..50 {
        let free = Arc::new(AtomicU64::new(PLENTY));
        let keep_alive = Duration::from_millis(10);
        with_options(with_memory(&free, Some(keep_alive)), |actors, script| async move {
            // As many as there may be loads.
            for _ in 0..3 {
                script.loads();
            }
            script.finishes();
            answer(&actors, "first").await.unwrap();
            tokio::time::sleep(keep_alive + Duration::from_micros(nth * 100)).await;
            script.says("here");
            script.finishes();
            assert_eq!(answer(&actors, "second").await.unwrap().text, "here");
        });
    }
}

#[test]
fn by_hand_it_goes_and_comes() {
    let free = Arc::new(AtomicU64::new(PLENTY));
    with_options(with_memory(&free, None), |actors, script| async move {
        script.loads();
        until_state(&actors, ActorState::Ready).await;
        assert_eq!(actors.model.unload(in_time()).await, Ok(UnloadOutcome::Started));
        until_state(&actors, ActorState::Unloaded).await;
        assert_eq!(actors.model.unload(in_time()).await, Ok(UnloadOutcome::AlreadyUnloaded));
        let refused = ask(&actors, "a").await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::ModelUnavailable);
        assert!(refused.message.contains("boca model load"), "{refused}");
        script.loads();
        assert_eq!(actors.model.load(in_time()).await, Ok(ReloadOutcome::Started));
        until_state(&actors, ActorState::Ready).await;
        assert_eq!(actors.model.load(in_time()).await, Ok(ReloadOutcome::AlreadyLoaded));
        script.finishes();
        answer(&actors, "b").await.unwrap();
    });
}

/// Asks until it is refused for this reason.
async fn until_refused(actors: &boca_actors::Actors, code: ErrorCode) -> boca_core::Failure {
    for nth in 0..10_000 {
        match ask(actors, &format!("q{nth}")).await {
            Err(failure) if failure.code == code => return failure,
            // Dropping it takes it back.
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    panic!("it is not refused");
}
