//! The records of answers and of providers as they lie on disk. The same rules as for [`crate::disk`].

use crate::answers::{AnswerRecord, SourceRecord, Verdict};
use crate::disk::UsageRecord;
use crate::disk_context::ContextCutRecord;
use crate::names::{error_code, finish_reason, known, request_id};
use crate::types::AnswerTrace;
use boca_core::{
    Failure, FusionTrace, MicroUsd, ProviderUsage, Seam, SourceAnswer, SourceRole, SourceState, SourceTrace,
    Strategy, Usage,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Schema of [`DayUsageRecord`].
pub(crate) const DAY_USAGE_SCHEMA: u16 = 1;
/// Schema of [`AnswerDiskRecord`].
pub(crate) const ANSWER_SCHEMA: u16 = 1;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DayUsageRecord {
    requests: u64,
    failures: u64,
    retries: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    estimated: u64,
    cost_micro_usd: u64,
}

impl From<&ProviderUsage> for DayUsageRecord {
    fn from(usage: &ProviderUsage) -> Self {
        Self {
            requests: usage.requests,
            failures: usage.failures,
            retries: usage.retries,
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            completion_tokens: usage.completion_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            estimated: usage.estimated,
            cost_micro_usd: usage.cost.0,
        }
    }
}

impl From<DayUsageRecord> for ProviderUsage {
    fn from(record: DayUsageRecord) -> Self {
        Self {
            requests: record.requests,
            failures: record.failures,
            retries: record.retries,
            prompt_tokens: record.prompt_tokens,
            cached_tokens: record.cached_tokens,
            completion_tokens: record.completion_tokens,
            reasoning_tokens: record.reasoning_tokens,
            estimated: record.estimated,
            cost: MicroUsd(record.cost_micro_usd),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AnswerDiskRecord {
    request_id: String,
    created_unix_ms: u64,
    mode: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<String>,
    sources: Vec<SourceDiskRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourceDiskRecord {
    provider: String,
    role: String,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_token_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_us: Option<u64>,
    usage: UsageRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_micro_usd: Option<u64>,
}

impl From<&AnswerRecord> for AnswerDiskRecord {
    fn from(answer: &AnswerRecord) -> Self {
        let source = |source: &SourceRecord| SourceDiskRecord {
            provider: source.provider.clone(),
            role: source.role.as_str().to_owned(),
            state: source.state.as_str().to_owned(),
            failure: source.failure.map(|code| code.as_str().to_owned()),
            first_token_us: source.first_token.map(micros),
            total_us: source.total.map(micros),
            usage: source.usage.into(),
            cost_micro_usd: source.cost.map(|cost| cost.0),
        };
        Self {
            request_id: answer.request_id.to_string(),
            created_unix_ms: answer.created_unix_ms,
            mode: answer.mode.clone(),
            strategy: answer.strategy.map(|strategy| strategy.as_str().to_owned()),
            chosen: answer.chosen.clone(),
            sources: answer.sources.iter().map(source).collect(),
            verdict: answer.verdict.map(|verdict| verdict.as_str().to_owned()),
        }
    }
}

impl TryFrom<AnswerDiskRecord> for AnswerRecord {
    type Error = String;

    fn try_from(record: AnswerDiskRecord) -> Result<Self, String> {
        let source = |source: SourceDiskRecord| {
            Ok::<_, String>(SourceRecord {
                provider: source.provider,
                role: role(&source.role)?,
                state: state(&source.state)?,
                failure: source.failure.as_deref().map(error_code).transpose()?,
                first_token: source.first_token_us.map(Duration::from_micros),
                total: source.total_us.map(Duration::from_micros),
                usage: source.usage.into(),
                cost: source.cost_micro_usd.map(MicroUsd),
            })
        };
        Ok(Self {
            request_id: request_id(&record.request_id)?,
            created_unix_ms: record.created_unix_ms,
            mode: record.mode,
            strategy: record.strategy.as_deref().map(strategy).transpose()?,
            chosen: record.chosen,
            sources: record.sources.into_iter().map(source).collect::<Result<_, _>>()?,
            verdict: record.verdict.as_deref().map(verdict).transpose()?,
        })
    }
}

fn strategy(name: &str) -> Result<Strategy, String> {
    known("strategy", &Strategy::ALL, Strategy::as_str, name)
}

fn verdict(name: &str) -> Result<Verdict, String> {
    known("verdict", &Verdict::ALL, Verdict::as_str, name)
}

fn role(name: &str) -> Result<SourceRole, String> {
    known("role", &SourceRole::ALL, SourceRole::as_str, name)
}

fn state(name: &str) -> Result<SourceState, String> {
    known("state", &SourceState::ALL, SourceState::as_str, name)
}

/// How an answer came about, as it lies beside its message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TraceRecord {
    mode: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agreement: Option<f32>,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seam: Option<SeamRecord>,
    sources: Vec<SourceTraceRecord>,
    #[serde(default)]
    answers: Vec<SourceAnswerRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SeamRecord {
    at_byte: u64,
    from: String,
    to: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourceTraceRecord {
    provider: String,
    role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    state: String,
    began_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_token_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_us: Option<u64>,
    usage: UsageRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_micro_usd: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<FailureRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context_cut: Option<ContextCutRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FailureRecord {
    code: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    param: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourceAnswerRecord {
    provider: String,
    text: String,
    finish_reason: String,
    usage: UsageRecord,
}

impl From<&AnswerTrace> for TraceRecord {
    fn from(trace: &AnswerTrace) -> Self {
        let fusion = &trace.fusion;
        Self {
            mode: fusion.mode.clone(),
            strategy: fusion.strategy.map(|strategy| strategy.as_str().to_owned()),
            chosen: fusion.chosen.clone(),
            judged_by: fusion.judged_by.clone(),
            agreement: fusion.agreement,
            reasons: fusion.reasons.clone(),
            seam: fusion.seam.as_ref().map(|seam| SeamRecord {
                at_byte: seam.at_byte,
                from: seam.from.clone(),
                to: seam.to.clone(),
            }),
            sources: trace.sources.iter().map(SourceTraceRecord::from).collect(),
            answers: trace.answers.iter().map(SourceAnswerRecord::from).collect(),
        }
    }
}

impl TryFrom<TraceRecord> for AnswerTrace {
    type Error = String;

    fn try_from(record: TraceRecord) -> Result<Self, String> {
        let fusion = FusionTrace {
            mode: record.mode,
            strategy: record.strategy.as_deref().map(strategy).transpose()?,
            chosen: record.chosen,
            judged_by: record.judged_by,
            agreement: record.agreement,
            reasons: record.reasons,
            seam: record.seam.map(|seam| Seam { at_byte: seam.at_byte, from: seam.from, to: seam.to }),
        };
        Ok(Self {
            fusion,
            sources: record.sources.into_iter().map(SourceTrace::try_from).collect::<Result<_, _>>()?,
            answers: record.answers.into_iter().map(SourceAnswer::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&SourceTrace> for SourceTraceRecord {
    fn from(source: &SourceTrace) -> Self {
        Self {
            provider: source.provider.clone(),
            role: source.role.as_str().to_owned(),
            model: source.model.clone(),
            state: source.state.as_str().to_owned(),
            began_us: micros(source.began),
            first_token_us: source.first_token.map(micros),
            ended_us: source.ended.map(micros),
            usage: source.usage.into(),
            cost_micro_usd: source.cost.map(|cost| cost.0),
            failure: source.failure.as_ref().map(|failure| FailureRecord {
                code: failure.code.as_str().to_owned(),
                message: failure.message.clone(),
                param: failure.param.clone(),
            }),
            context_cut: source.context_cut.as_deref().map(ContextCutRecord::from),
        }
    }
}

impl TryFrom<SourceTraceRecord> for SourceTrace {
    type Error = String;

    fn try_from(record: SourceTraceRecord) -> Result<Self, String> {
        let failure = |failure: FailureRecord| {
            let code = error_code(&failure.code)?;
            Ok::<_, String>(Failure { param: failure.param, ..Failure::new(code, failure.message) })
        };
        Ok(Self {
            provider: record.provider,
            model: record.model,
            role: role(&record.role)?,
            state: state(&record.state)?,
            began: Duration::from_micros(record.began_us),
            first_token: record.first_token_us.map(Duration::from_micros),
            ended: record.ended_us.map(Duration::from_micros),
            usage: record.usage.into(),
            cost: record.cost_micro_usd.map(MicroUsd),
            failure: record.failure.map(failure).transpose()?,
            context_cut: record.context_cut.map(|cut| Box::new(cut.into())),
        })
    }
}

impl From<&SourceAnswer> for SourceAnswerRecord {
    fn from(answer: &SourceAnswer) -> Self {
        Self {
            provider: answer.provider.clone(),
            text: answer.text.clone(),
            finish_reason: answer.finish_reason.as_str().to_owned(),
            usage: answer.usage.into(),
        }
    }
}

impl TryFrom<SourceAnswerRecord> for SourceAnswer {
    type Error = String;

    fn try_from(record: SourceAnswerRecord) -> Result<Self, String> {
        Ok(Self {
            provider: record.provider,
            text: record.text,
            finish_reason: finish_reason(&record.finish_reason)?,
            usage: Usage::from(record.usage),
        })
    }
}
