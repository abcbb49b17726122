//! An engine that does what the question's text tells it to.

use boca_core::{
    FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, LoadPhase, LoadProgress, ModelInfo,
    Role, Timings, Usage,
};
use boca_engine::backend::BackendError;
use boca_engine::checkpoint::CheckpointError;
use boca_engine::{CancelToken, EngineError, Generator, GeneratorFactory, OneByOne, SoloModel};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Says a little, then goes on until it is cancelled or its deadline comes.
pub(super) const ENDLESS: &str = "talk without end";
/// Says nothing until it is cancelled or its deadline comes.
pub(super) const SILENT: &str = "say nothing";
/// The device fails after some text.
pub(super) const FAIL: &str = "fail in the middle";
/// The engine panics before any text.
pub(super) const PANIC: &str = "panic";
/// Does not fit the context.
pub(super) const TOO_LONG: &str = "too long";
/// What the endless answer begins with.
pub(super) const BEGINNING: &str = "once upon a time";

const PROMPT_TOKENS: u32 = 7;

/// Lets loading go on.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<AtomicBool>);

/// An engine whose model is not there.
pub(super) fn missing() -> GeneratorFactory {
    Arc::new(|_| {
        let path = "/models/none".to_owned();
        Err(CheckpointError::NotADirectory { path, found: "nothing" }.into())
    })
}

impl Gate {
    pub(super) fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// An engine that is loaded once the gate is open.
pub(super) fn factory(gate: Gate) -> GeneratorFactory {
    let total_bytes = 1 << 20;
    Arc::new(move |progress| {
        let began = Instant::now();
        while !gate.is_open() {
            let elapsed = began.elapsed();
            progress(LoadProgress { phase: LoadPhase::Reading, done_bytes: 1 << 19, total_bytes, elapsed });
            std::thread::park_timeout(Duration::from_millis(2));
        }
        Ok(Box::new(OneByOne::new(Scripted { info: info() })) as Box<dyn Generator>)
    })
}

fn info() -> ModelInfo {
    ModelInfo {
        is_demo: true,
        source: "embedded".into(),
        weights_bytes: 1 << 20,
        context_tokens: 100,
        ..ModelInfo::unknown("scripted")
    }
}

struct Scripted {
    info: ModelInfo,
}

impl SoloModel for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn answer(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError> {
        let question = request.messages.last().map(|turn| turn.content.as_str()).unwrap_or_default();
        let deadline = accepted_at + request.time_left;
        if question == TOO_LONG {
            return Err(EngineError::ContextExceeded {
                prompt_tokens: 90,
                max_tokens: 20,
                context_tokens: self.info.context_tokens,
            });
        }
        emit(GenerationEvent::Started { prompt_tokens: PROMPT_TOKENS, max_tokens: 64 });
        match question {
            PANIC => panic!("as it was told"),
            FAIL => {
                emit(GenerationEvent::Text(BEGINNING.into()));
                let reason = "as it was told".into();
                Err(BackendError::Device { after: Duration::ZERO, reason }.into())
            }
            SILENT | ENDLESS => {
                if question == ENDLESS {
                    emit(GenerationEvent::Text(BEGINNING.into()));
                }
                let finish_reason = loop {
                    if cancel.is_cancelled() {
                        break FinishReason::Cancelled;
                    }
                    if Instant::now() >= deadline {
                        break FinishReason::Deadline;
                    }
                    std::thread::park_timeout(Duration::from_millis(1));
                };
                if finish_reason == FinishReason::Deadline && question == SILENT {
                    return Err(EngineError::DeadlineBeforeFirstToken);
                }
                Ok(summary(finish_reason, 1))
            }
            _ => {
                emit(GenerationEvent::Reasoning("hm".into()));
                let said = script(request);
                let words: Vec<&str> = said.split_inclusive(' ').collect();
                for word in &words {
                    emit(GenerationEvent::Text((*word).to_owned()));
                }
                Ok(summary(FinishReason::Stop, words.len() as u32))
            }
        }
    }
}

/// The context as the engine was given it, so that a test can look at it.
fn script(request: &GenerateRequest) -> String {
    let turns = request.messages.iter().map(|turn| {
        let who = match turn.role {
            Role::System => "S",
            Role::User => "U",
            Role::Assistant => "A",
            Role::Tool => "T",
        };
        format!("{who}:{}", turn.content)
    });
    let temperature = request.sampling.temperature.map_or("none".to_owned(), |t| t.to_string());
    let context = turns.collect::<Vec<_>>().join(" | ");
    // Bounded, so that a long conversation in a test does not grow without end.
    let context: String = context.chars().take(200).collect();
    format!("[{context}] temperature {temperature}")
}

fn summary(finish_reason: FinishReason, completion_tokens: u32) -> GenerationSummary {
    GenerationSummary {
        finish_reason,
        stop_sequence: None,
        usage: Usage { prompt_tokens: PROMPT_TOKENS, completion_tokens, ..Usage::default() },
        timings: Timings { total: Duration::from_millis(5), ..Timings::default() },
    }
}
