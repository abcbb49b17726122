//! What a conversation was answered without, as it lies on disk. The same rules as for [`crate::disk`].

use boca_core::{ContextCut, TurnSummary};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SummaryRecord {
    before_turn: u32,
    text: String,
    model: String,
}

impl From<&TurnSummary> for SummaryRecord {
    fn from(summary: &TurnSummary) -> Self {
        let TurnSummary { before_turn, text, model } = summary.clone();
        Self { before_turn, text, model }
    }
}

impl From<SummaryRecord> for TurnSummary {
    fn from(record: SummaryRecord) -> Self {
        let SummaryRecord { before_turn, text, model } = record;
        Self { before_turn, text, model }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ContextCutRecord {
    first_turn: u32,
    last_turn: u32,
    n_turns: u32,
    whole_tokens: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<SummaryRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    no_summary: Option<String>,
}

impl From<&ContextCut> for ContextCutRecord {
    fn from(cut: &ContextCut) -> Self {
        Self {
            first_turn: cut.first_turn,
            last_turn: cut.last_turn,
            n_turns: cut.n_turns,
            whole_tokens: cut.whole_tokens,
            summary: cut.summary.as_ref().map(SummaryRecord::from),
            no_summary: cut.no_summary.clone(),
        }
    }
}

impl From<ContextCutRecord> for ContextCut {
    fn from(record: ContextCutRecord) -> Self {
        Self {
            first_turn: record.first_turn,
            last_turn: record.last_turn,
            n_turns: record.n_turns,
            whole_tokens: record.whole_tokens,
            summary: record.summary.map(TurnSummary::from),
            no_summary: record.no_summary,
        }
    }
}
