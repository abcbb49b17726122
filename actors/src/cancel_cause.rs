//! Why work was ended before it was done.

use crate::measurements::Outcome;
use boca_core::{Answer, ErrorCode, FinishReason, SourceState};

/// The causes that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelCause {
    /// Whoever asked went away.
    ClientGone,
    /// The time was over.
    Deadline,
    /// Somebody asked for its end.
    Requested,
    /// The answer was made without this part of it.
    NotNeeded,
    /// The daemon stops.
    Shutdown,
}

impl CancelCause {
    /// The name on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Deadline => "deadline",
            Self::Requested => "requested",
            Self::NotNeeded => "not_needed",
            Self::Shutdown => "shutdown",
        }
    }

    /// Why a question that somebody had taken on ended early, if it did.
    pub(crate) fn of(outcome: Outcome, was_requested: bool) -> Option<Self> {
        match outcome {
            Outcome::Abandoned => Some(Self::ClientGone),
            Outcome::Finished(FinishReason::Deadline) | Outcome::Failed(ErrorCode::DeadlineExceeded) => {
                Some(Self::Deadline)
            }
            Outcome::Finished(FinishReason::Cancelled) | Outcome::Failed(ErrorCode::Cancelled) => {
                Some(if was_requested { Self::Requested } else { Self::Shutdown })
            }
            Outcome::Failed(ErrorCode::ShuttingDown) => Some(Self::Shutdown),
            Outcome::Finished(_) | Outcome::Failed(_) => None,
        }
    }
}

/// How many of those who worked on an answer were cut off because it did not need them.
pub(crate) fn n_not_needed(answer: &Answer) -> u64 {
    if matches!(answer.finish_reason, FinishReason::Cancelled | FinishReason::Deadline) {
        return 0;
    }
    answer.sources.iter().filter(|source| source.state == SourceState::Cancelled).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_early_end_has_its_cause() {
        use CancelCause as Cause;
        for (outcome, was_requested, cause) in [
            (Outcome::Abandoned, false, Some(Cause::ClientGone)),
            (Outcome::Finished(FinishReason::Deadline), false, Some(Cause::Deadline)),
            (Outcome::Failed(ErrorCode::DeadlineExceeded), false, Some(Cause::Deadline)),
            (Outcome::Finished(FinishReason::Cancelled), true, Some(Cause::Requested)),
            (Outcome::Failed(ErrorCode::Cancelled), true, Some(Cause::Requested)),
            (Outcome::Finished(FinishReason::Cancelled), false, Some(Cause::Shutdown)),
            (Outcome::Failed(ErrorCode::ShuttingDown), false, Some(Cause::Shutdown)),
            (Outcome::Finished(FinishReason::Stop), true, None),
            (Outcome::Failed(ErrorCode::EngineFailed), false, None),
        ] {
            assert_eq!(CancelCause::of(outcome, was_requested), cause, "{outcome:?}");
        }
    }
}
