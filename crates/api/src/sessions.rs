//! `/api/sessions`: stored conversations and their settings.

use crate::TurnSummary;
use crate::chat::{SourceAnswer, Timings, Trace, Usage, optional_logit_bias};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The query of `GET /api/sessions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSessionsQuery {
    /// The most sessions to list, 1 to 1000; 50 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Go on after an earlier list: its `next_before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// Answers `GET /api/sessions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionListResponse {
    /// The sessions, the one used last first.
    pub sessions: Vec<SessionSummary>,
    /// When there are more: the `before` that lists them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<String>,
}

/// A session without its messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// The session's id.
    pub id: String,
    /// A name for people: the one that was given, or the beginning of the first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When it was created.
    pub created_unix_ms: u64,
    /// When its last message or setting was stored.
    pub updated_unix_ms: u64,
    /// Stored messages.
    #[serde(default)]
    pub n_messages: u64,
}

/// Answers `GET /api/sessions/{id}`, and `POST` and `PATCH` with the session as it is now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionResponse {
    /// The session's id.
    pub id: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When it was created.
    pub created_unix_ms: u64,
    /// When its last message or setting was stored.
    pub updated_unix_ms: u64,
    /// Instructions of this conversation, instead of the configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// `accurate`, `balanced` or `creative`, when one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Sampling values of this conversation.
    #[serde(default)]
    pub sampling: SamplingFields,
    /// Whether its questions are shown to no provider outside this machine.
    #[serde(default)]
    pub private: bool,
    /// Its oldest messages in few words, once they did not fit the context any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<TurnSummary>,
    /// Its messages, oldest first.
    #[serde(default)]
    pub messages: Vec<SessionMessage>,
}

/// One stored message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionMessage {
    /// Its place, from 0. A gap is a message that was damaged and set aside.
    #[serde(default)]
    pub index: u32,
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// The thinking that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// When it was stored.
    #[serde(default)]
    pub created_unix_ms: u64,
    /// The request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// For an answer: the model or provider that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_used: Option<String>,
    /// For an answer: why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// For an answer: tokens counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// For an answer: where the time went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// Whether it was kept on this machine.
    #[serde(default)]
    pub private: bool,
    /// For an answer: how it came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// For an answer: the whole answers of everyone who was asked, where there were several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<SourceAnswer>,
}

/// Sampling values of which each may be left open; the fields mean what they mean in [`crate::ChatRequest`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingFields {
    /// See [`crate::ChatRequest::temperature`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// See [`crate::ChatRequest::top_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// See [`crate::ChatRequest::top_k`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// See [`crate::ChatRequest::min_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// See [`crate::ChatRequest::repetition_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// See [`crate::ChatRequest::presence_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// See [`crate::ChatRequest::frequency_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// See [`crate::ChatRequest::seed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// See [`crate::ChatRequest::logit_bias`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "optional_logit_bias")]
    pub logit_bias: Option<BTreeMap<u32, f32>>,
    /// See [`crate::ChatRequest::max_tokens`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// See [`crate::ChatRequest::thinking`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<bool>,
    /// See [`crate::ChatRequest::thinking_budget_tokens`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_budget_tokens: Option<u32>,
}

/// The body of `POST /api/sessions`; every field may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreateSessionRequest {
    /// The id: letters, digits, `-` and `_`, at most 64. Left out: a new one is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Instructions of this conversation, instead of the configuration's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// `accurate`, `balanced` or `creative`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Sampling values; a field that is not one of [`SamplingFields`] is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<StrictSampling>,
    /// `true`: its questions are shown to no provider outside this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
}

/// The body of `PATCH /api/sessions/{id}`: a field that is left out stays, `null` clears it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateSessionRequest {
    /// A name for people.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub title: Change<String>,
    /// Instructions of this conversation.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub system: Change<String>,
    /// `accurate`, `balanced` or `creative`.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub preset: Change<String>,
    /// Sampling values, replaced as a whole.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub sampling: Change<StrictSampling>,
    /// Whether its questions are shown to no provider outside this machine. It cannot be taken back once a private
    /// question was asked: the next question would take it along.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub private: Change<bool>,
}

/// [`SamplingFields`] in a request: a name that is not one of its fields is refused instead of ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct StrictSampling(pub SamplingFields);

/// Every field of [`SamplingFields`].
const SAMPLING_FIELDS: [&str; 12] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
    "max_tokens",
    "thinking",
    "thinking_budget_tokens",
];

impl<'de> Deserialize<'de> for StrictSampling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        if let Some(unknown) = fields.keys().find(|name| !SAMPLING_FIELDS.contains(&name.as_str())) {
            let known = SAMPLING_FIELDS.map(|name| format!("`{name}`")).join(", ");
            return Err(serde::de::Error::custom(format!(
                "unknown field `{unknown}`, expected one of {known}"
            )));
        }
        SamplingFields::deserialize(serde_json::Value::Object(fields))
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// What a [`UpdateSessionRequest`] does to one field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Left out: the field stays as it is.
    #[default]
    Keep,
    /// `null`: the field is cleared.
    Clear,
    /// A value: the field is set.
    Set(T),
}

impl<T> Change<T> {
    /// Whether the field stays as it is.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Applies the change to the field's present value.
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }
}

impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => serializer.serialize_none(),
            Self::Set(value) => serializer.serialize_some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(deserializer).map(|value| value.map_or(Self::Clear, Self::Set))
    }
}

/// Answers `DELETE /api/sessions/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteSessionResponse {
    /// The session that is gone.
    pub id: String,
    /// Messages that went with it.
    #[serde(default)]
    pub n_messages: u64,
    /// Time from the arrival of the request to this answer.
    #[serde(default)]
    pub response_time_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_absent_from_null() {
        let read = |json: &str| serde_json::from_str::<UpdateSessionRequest>(json).unwrap();
        assert_eq!(read("{}").system, Change::Keep);
        assert_eq!(read(r#"{"system":null}"#).system, Change::Clear);
        assert_eq!(read(r#"{"system":"x"}"#).system, Change::Set("x".into()));
        for json in ["{}", r#"{"system":null}"#, r#"{"title":"x"}"#] {
            assert_eq!(serde_json::to_string(&read(json)).unwrap(), json);
        }
        let mut field = Some(1);
        Change::Keep.apply(&mut field);
        assert_eq!(field, Some(1));
        Change::Set(2).apply(&mut field);
        assert_eq!(field, Some(2));
        Change::Clear.apply(&mut field);
        assert_eq!(field, None);
    }

    #[test]
    fn the_list_of_sampling_fields_is_complete() {
        let all = SamplingFields {
            temperature: Some(0.0),
            top_p: Some(0.0),
            top_k: Some(0),
            min_p: Some(0.0),
            repetition_penalty: Some(0.0),
            presence_penalty: Some(0.0),
            frequency_penalty: Some(0.0),
            seed: Some(0),
            logit_bias: Some(BTreeMap::from([(7, 1.0)])),
            max_tokens: Some(0),
            thinking: Some(false),
            thinking_budget_tokens: Some(0),
        };
        let json = serde_json::to_value(&all).unwrap();
        let names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, SAMPLING_FIELDS);
        assert_eq!(serde_json::from_value::<StrictSampling>(json).unwrap().0, all);
    }

    #[test]
    fn a_request_refuses_what_a_response_ignores() {
        let json = r#"{"temperature":0.5,"warmth":1}"#;
        let error = serde_json::from_str::<StrictSampling>(json).unwrap_err().to_string();
        assert!(error.contains("unknown field `warmth`"), "{error}");
        assert_eq!(serde_json::from_str::<SamplingFields>(json).unwrap().temperature, Some(0.5));
    }
}
