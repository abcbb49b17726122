//! The records as they lie on disk: JSON, apart from the types of the rest of boca, so that those can change freely.
//!
//! A field may be added with a default. Anything else is a new schema number, and a migration.

use crate::disk_answers::TraceRecord;
use crate::disk_context::SummaryRecord;
use crate::names::{error_code, finish_reason, known, request_id};
use crate::types::{AnswerTrace, Message, Session, SessionSettings, StoredSummary};
use boca_core::{Preset, RequestId, Role, SamplingOverrides, SessionId, Timings, Usage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Schema of [`MetaRecord`].
pub(crate) const META_SCHEMA: u16 = 1;
/// Schema of [`SessionRecord`].
pub(crate) const SESSION_SCHEMA: u16 = 1;
/// Schema of [`MessageRecord`].
pub(crate) const MESSAGE_SCHEMA: u16 = 1;

/// What the store says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MetaRecord {
    pub(crate) format: u32,
    pub(crate) app_version: String,
    pub(crate) created_unix_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    title: Option<String>,
    created_unix_ms: u64,
    updated_unix_ms: u64,
    settings: SettingsRecord,
    n_messages: u32,
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<StoredSummaryRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredSummaryRecord {
    #[serde(flatten)]
    summary: SummaryRecord,
    created_unix_ms: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct SettingsRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preset: Option<String>,
    #[serde(default)]
    sampling: SamplingRecord,
    #[serde(default)]
    private: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct SamplingRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logit_bias: Option<BTreeMap<u32, f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thinking: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thinking_budget_tokens: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MessageRecord {
    role: String,
    content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    created_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_used: Option<String>,
    #[serde(default)]
    is_demo: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usage: Option<UsageRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timings: Option<TimingsRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(default)]
    private: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<TraceRecord>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct UsageRecord {
    prompt_tokens: u32,
    cached_tokens: u32,
    completion_tokens: u32,
    reasoning_tokens: u32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct TimingsRecord {
    queue_us: u64,
    prefill_us: u64,
    decode_us: u64,
    time_to_first_token_us: u64,
    total_us: u64,
}

impl From<&Session> for SessionRecord {
    fn from(session: &Session) -> Self {
        Self {
            title: session.title.clone(),
            created_unix_ms: session.created_unix_ms,
            updated_unix_ms: session.updated_unix_ms,
            settings: (&session.settings).into(),
            n_messages: session.n_messages,
            prompt_tokens: session.prompt_tokens,
            completion_tokens: session.completion_tokens,
            summary: session.summary.as_ref().map(|stored| StoredSummaryRecord {
                summary: (&stored.summary).into(),
                created_unix_ms: stored.created_unix_ms,
            }),
        }
    }
}

impl SessionRecord {
    /// The session of this record; its id is the record's key.
    ///
    /// # Errors
    /// A word that this version does not know.
    pub(crate) fn into_session(self, id: SessionId) -> Result<Session, String> {
        Ok(Session {
            id,
            title: self.title,
            created_unix_ms: self.created_unix_ms,
            updated_unix_ms: self.updated_unix_ms,
            settings: self.settings.try_into()?,
            n_messages: self.n_messages,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            summary: self.summary.map(|stored| StoredSummary {
                summary: stored.summary.into(),
                created_unix_ms: stored.created_unix_ms,
            }),
        })
    }
}

impl From<&SessionSettings> for SettingsRecord {
    fn from(settings: &SessionSettings) -> Self {
        Self {
            system: settings.system.clone(),
            preset: settings.preset.map(|preset| preset.as_str().to_owned()),
            sampling: (&settings.sampling).into(),
            private: settings.private,
        }
    }
}

impl TryFrom<SettingsRecord> for SessionSettings {
    type Error = String;

    fn try_from(record: SettingsRecord) -> Result<Self, String> {
        let preset = record.preset.map(|name| known("preset", &Preset::ALL, Preset::as_str, &name));
        Ok(Self {
            system: record.system,
            preset: preset.transpose()?,
            sampling: SamplingOverrides::from(record.sampling),
            private: record.private,
        })
    }
}

macro_rules! copy_sampling {
    ($from:ty => $to:ty, $value:ident => $copy:expr) => {
        impl From<$from> for $to {
            fn from($value: $from) -> Self {
                Self {
                    temperature: $value.temperature,
                    top_p: $value.top_p,
                    top_k: $value.top_k,
                    min_p: $value.min_p,
                    repetition_penalty: $value.repetition_penalty,
                    presence_penalty: $value.presence_penalty,
                    frequency_penalty: $value.frequency_penalty,
                    seed: $value.seed,
                    logit_bias: $copy,
                    max_tokens: $value.max_tokens,
                    thinking: $value.thinking,
                    thinking_budget_tokens: $value.thinking_budget_tokens,
                }
            }
        }
    };
}

copy_sampling!(&SamplingOverrides => SamplingRecord, value => value.logit_bias.clone());
copy_sampling!(SamplingRecord => SamplingOverrides, value => value.logit_bias);

impl From<&Message> for MessageRecord {
    fn from(message: &Message) -> Self {
        Self {
            role: message.role.as_str().to_owned(),
            content: message.content.clone(),
            reasoning: message.reasoning.clone(),
            created_unix_ms: message.created_unix_ms,
            model_used: message.model_used.clone(),
            is_demo: message.is_demo,
            finish_reason: message.finish_reason.map(|reason| reason.as_str().to_owned()),
            usage: message.usage.map(UsageRecord::from),
            timings: message.timings.map(TimingsRecord::from),
            request_id: message.request_id.as_ref().map(RequestId::to_string),
            failure: message.failure.map(|code| code.as_str().to_owned()),
            private: message.private,
            trace: message.trace.as_deref().map(TraceRecord::from),
        }
    }
}

impl TryFrom<MessageRecord> for Message {
    type Error = String;

    fn try_from(record: MessageRecord) -> Result<Self, String> {
        const ROLES: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];
        Ok(Self {
            role: known("role", &ROLES, Role::as_str, &record.role)?,
            content: record.content,
            reasoning: record.reasoning,
            created_unix_ms: record.created_unix_ms,
            model_used: record.model_used,
            is_demo: record.is_demo,
            finish_reason: record.finish_reason.as_deref().map(finish_reason).transpose()?,
            usage: record.usage.map(Usage::from),
            timings: record.timings.map(Timings::from),
            request_id: record.request_id.as_deref().map(request_id).transpose()?,
            failure: record.failure.as_deref().map(error_code).transpose()?,
            private: record.private,
            trace: record.trace.map(AnswerTrace::try_from).transpose()?.map(Box::new),
        })
    }
}

impl From<Usage> for UsageRecord {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            completion_tokens: usage.completion_tokens,
            reasoning_tokens: usage.reasoning_tokens,
        }
    }
}

impl From<UsageRecord> for Usage {
    fn from(record: UsageRecord) -> Self {
        Self {
            prompt_tokens: record.prompt_tokens,
            cached_tokens: record.cached_tokens,
            completion_tokens: record.completion_tokens,
            reasoning_tokens: record.reasoning_tokens,
        }
    }
}

impl From<Timings> for TimingsRecord {
    fn from(timings: Timings) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            queue_us: micros(timings.queue),
            prefill_us: micros(timings.prefill),
            decode_us: micros(timings.decode),
            time_to_first_token_us: micros(timings.time_to_first_token),
            total_us: micros(timings.total),
        }
    }
}

impl From<TimingsRecord> for Timings {
    fn from(record: TimingsRecord) -> Self {
        Self {
            queue: Duration::from_micros(record.queue_us),
            prefill: Duration::from_micros(record.prefill_us),
            decode: Duration::from_micros(record.decode_us),
            time_to_first_token: Duration::from_micros(record.time_to_first_token_us),
            total: Duration::from_micros(record.total_us),
        }
    }
}
