//! What an engine's host is told and what it reports.
//!
//! Plain serialisable messages, because a host may be a thread ([`crate::engine_thread`]) or a child process
//! ([`crate::engine_process`]): a device fault can abort the process that it hits. A host runs as
//! many generations at once as its engine takes, and begins them in the order in which they were sent; waiting is done in
//! [`crate::generation_queue`], where a request can still be taken back.

use boca_core::{
    ErrorCode, Failure, GenerateRequest, GenerationEvent, GenerationSummary, GeneratorLoad, LoadProgress,
    ModelInfo, RequestId,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What an engine's host is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum EngineCommand {
    /// Generate. Answered by events of this id, the last of which is `Finished` or `Failed`.
    Generate {
        /// The request; its `time_left` counts from when it was accepted.
        request: Box<GenerateRequest>,
        /// How long ago it was accepted.
        waited: Duration,
    },
    /// End a generation at its next step. Unknown ids are ignored: it may just have ended.
    Cancel {
        /// The generation's request.
        id: RequestId,
    },
    /// Give up what is kept for later requests, because memory is short.
    GiveUpCache,
    /// End the running generations at their next step, then the engine.
    Stop,
}

/// What an engine's host reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum EngineEvent {
    /// The weights are being read.
    Loading(LoadProgress),
    /// Loaded and warm; takes generations now.
    Ready(Box<ModelInfo>),
    /// Something happened in a generation.
    Generation {
        /// The generation's request.
        id: RequestId,
        /// What happened.
        event: GenerationEvent,
    },
    /// A generation ended well.
    Finished {
        /// The generation's request.
        id: RequestId,
        /// Its end.
        summary: GenerationSummary,
    },
    /// A generation failed.
    Failed {
        /// The generation's request.
        id: RequestId,
        /// Why.
        failure: Failure,
    },
    /// The engine is gone, its memory is freed; the last event.
    Ended(EngineEnd),
}

/// Why an engine is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EngineEnd {
    /// It was told to stop.
    Stopped,
    /// It could not be built.
    LoadFailed(Failure),
    /// It broke while it was built or while it computed.
    Crashed(Failure),
}

impl EngineEnd {
    /// The reason, if the end is a failure, and whether a new engine might do better.
    pub(crate) fn failure(&self) -> Option<(&Failure, bool)> {
        match self {
            Self::Stopped => None,
            // A device or its memory may recover; a checkpoint that is wrong stays wrong until someone mends it.
            Self::LoadFailed(failure) => Some((failure, failure.code == ErrorCode::EngineFailed)),
            Self::Crashed(failure) => Some((failure, true)),
        }
    }
}

/// The host does not take commands any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine is gone")]
pub(crate) struct EngineGone;

/// Signs of life of an engine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pulse {
    /// Steps taken so far.
    pub(crate) n_steps: u64,
    /// Whether a step is being taken.
    pub(crate) is_working: bool,
    /// What it was busy with after its last step.
    pub(crate) load: GeneratorLoad,
}

/// Takes the events of one engine. Called on its thread, or where answers are read, so it must be quick.
pub(crate) type EventSink = Arc<dyn Fn(EngineEvent) + Send + Sync>;

/// Where commands for one engine go. Events come back through the function that the host was started with.
pub(crate) trait EngineHost: fmt::Debug + Send + Sync {
    /// Hands over a command without waiting. Never reports an event from within.
    ///
    /// # Errors
    /// [`EngineGone`] when the engine has ended or was told to stop.
    fn send(&self, command: EngineCommand) -> Result<(), EngineGone>;

    /// The engine's last sign of life. Never waits for the engine.
    fn pulse(&self) -> Pulse;

    /// The process that the engine lives in, when that is one of its own.
    fn process_id(&self) -> Option<u32> {
        None
    }

    /// Ends an engine that does not obey, without waiting for that; its end is reported as a crash for this reason. False
    /// when nothing but the end of the whole process would help.
    fn end_by_force(&self, reason: &str) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::{
        ChatMessage, FinishReason, LoadPhase, PreparedPrompt, SamplingOverrides, ThinkingState, Timings,
        TokenLogprob, TopLogprob, Usage,
    };
    use std::fmt::Debug;

    fn crosses_a_pipe<T: Serialize + for<'a> Deserialize<'a> + PartialEq + Debug>(message: &T) {
        let bytes = serde_json::to_vec(message).unwrap();
        assert_eq!(&serde_json::from_slice::<T>(&bytes).unwrap(), message);
    }

    #[test]
    fn every_message_can_leave_the_process() {
        let id: RequestId = "r1".parse().unwrap();
        let request = Box::new(GenerateRequest {
            id: id.clone(),
            messages: vec![ChatMessage::user("hi")],
            tools_json: vec!["{}".into()],
            sampling: SamplingOverrides::default(),
            max_tokens: Some(4),
            default_max_tokens: 8,
            answer_so_far: String::new(),
            stop: vec!["\n".into()],
            top_logprobs: Some(2),
            time_left: Duration::from_millis(1500),
            priority: boca_core::Priority::Background,
            is_read_whole: true,
            fairness_key: "s1".into(),
            context: Default::default(),
            prepared: Some(PreparedPrompt {
                ids: vec![7],
                n_answer: 0,
                state: ThinkingState::Undecided,
                text_files: u64::MAX,
            }),
        });
        for command in [
            EngineCommand::Generate { request, waited: Duration::from_micros(7) },
            EngineCommand::Cancel { id: id.clone() },
            EngineCommand::GiveUpCache,
            EngineCommand::Stop,
        ] {
            crosses_a_pipe(&command);
        }
        let failure = Failure::invalid("logit_bias", "no such token").retry_after(Duration::from_secs(1));
        let summary = GenerationSummary {
            finish_reason: FinishReason::Deadline,
            stop_sequence: Some("x".into()),
            usage: Usage { prompt_tokens: 1, ..Usage::default() },
            timings: Timings { total: Duration::from_nanos(3), ..Timings::default() },
        };
        let progress = LoadProgress {
            phase: LoadPhase::WarmingUp,
            done_bytes: 1,
            total_bytes: 2,
            elapsed: Duration::from_millis(3),
        };
        let chosen = TopLogprob { token: "t".into(), bytes: vec![0xff], logprob: -1.25 };
        let logprobs = vec![TokenLogprob { chosen: chosen.clone(), top: vec![chosen] }];
        for event in [
            EngineEvent::Loading(progress),
            EngineEvent::Generation { id: id.clone(), event: GenerationEvent::Logprobs(logprobs) },
            EngineEvent::Finished { id: id.clone(), summary },
            EngineEvent::Failed { id, failure: failure.clone() },
            EngineEvent::Ended(EngineEnd::Stopped),
            EngineEvent::Ended(EngineEnd::LoadFailed(failure.clone())),
            EngineEvent::Ended(EngineEnd::Crashed(failure)),
        ] {
            crosses_a_pipe(&event);
        }
    }
}
