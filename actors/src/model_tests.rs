//! The actor itself panics. What engines do wrong is tested from outside.

use super::*;
use crate::handle::ActorRequest;
use crate::{ActorsOptions, MODEL};
use boca_core::{
    AnswerEvent, Ask, ChatMessage, FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, Mode,
    ModelInfo, Timings, Usage,
};
use boca_engine::{CancelToken, EngineError, OneByOne, SoloModel};
use futures_util::StreamExt;
use std::sync::atomic::AtomicU32;

struct Explode;

impl ActorRequest for Explode {
    type Reply = ();
}

impl Handler<Call<Explode>> for ModelActor {
    type Result = ();

    fn handle(&mut self, _: Call<Explode>, _: &mut Self::Context) {
        panic!("exploded");
    }
}

/// Generates until it is cancelled.
struct Endless {
    info: ModelInfo,
    /// Whether it says something first.
    speaks: bool,
    alive: Arc<AtomicU32>,
}

impl SoloModel for Endless {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn answer(
        &mut self,
        _: &GenerateRequest,
        _: Instant,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError> {
        if self.speaks {
            emit(GenerationEvent::Text("said".into()));
        }
        while !cancel.is_cancelled() {
            std::thread::yield_now();
        }
        Ok(GenerationSummary {
            finish_reason: FinishReason::Cancelled,
            stop_sequence: None,
            usage: Usage::default(),
            timings: Timings::default(),
        })
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

fn info() -> ModelInfo {
    ModelInfo::unknown("endless")
}

fn question(id: &str) -> Ask {
    Ask {
        session_id: "session".parse().unwrap(),
        mode: Mode::Auto,
        effort: None,
        strategy: None,
        private: true,
        generate: GenerateRequest::new(
            id.parse().unwrap(),
            vec![ChatMessage::user("hi")],
            8,
            Duration::from_secs(60),
        ),
    }
}

/// Actors over such an engine, how often it was built, and how many of it there are.
fn actors(speaks: bool) -> (ActorsOptions, [Arc<AtomicU32>; 2]) {
    let counters = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
    let of_engine = counters.clone();
    let mut options = ActorsOptions::new(EngineHosting::Thread(Arc::new(move |_| {
        let [built, alive] = &of_engine;
        built.fetch_add(1, Ordering::SeqCst);
        assert_eq!(alive.fetch_add(1, Ordering::SeqCst), 0, "the last engine is gone");
        let alive = Arc::clone(alive);
        Ok(Box::new(OneByOne::new(Endless { info: info(), speaks, alive })))
    })));
    options.supervision.actors.backoff.first = Duration::from_millis(1);
    (options, counters)
}

#[test]
fn a_panic_of_the_actor_loses_what_was_shown_in_part_and_keeps_the_rest() {
    for round in 0..50 {
        let speaks = round % 2 == 0;
        let (options, [built, alive]) = actors(speaks);
        actix::System::new().block_on(async move {
            let actors = crate::start(options);
            let deadline = Instant::now() + Duration::from_secs(60);
            let mut hit = actors.synthesizer.ask(question("hit"), deadline).await.unwrap();
            let waiting = actors.synthesizer.ask(question("waiting"), deadline).await.unwrap();
            let is_running = async |id: &str, n_built| {
                loop {
                    let running = actors.model.requests().into_iter().find(|request| request.is_running);
                    if running.is_some_and(|request| request.id.as_str() == id)
                        && built.load(Ordering::SeqCst) == n_built
                    {
                        return;
                    }
                    assert!(Instant::now() < deadline, "`{id}` does not run");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            is_running("hit", 1).await;
            if speaks {
                while !matches!(hit.next().await.unwrap(), Ok(AnswerEvent::Text(_))) {}
            }
            let lost = actors.model.actor().call(Explode, deadline).await.unwrap_err();
            assert_eq!(lost.code, ErrorCode::Restarting);
            if speaks {
                let end = loop {
                    match hit.next().await.unwrap() {
                        Ok(_) => {}
                        Err(failure) => break failure,
                    }
                };
                assert_eq!(end.code, ErrorCode::Restarting);
                is_running("waiting", 2).await;
            } else {
                is_running("hit", 2).await;
            }
            assert_eq!(actors.states()[MODEL].restarts, 1);
            drop((hit, waiting));
            actors.drain(Duration::from_secs(60)).await;
            assert_eq!(alive.load(Ordering::SeqCst), 0);
        });
    }
}
