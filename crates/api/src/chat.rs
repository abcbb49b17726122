//! `POST /api/chat`: one question, one answer, whole or streamed.

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

use crate::{ContextCut, ErrorDetail};

/// A question. Every field but `message` may be left out; sampling fields then come from the preset, the session,
/// the configuration and the checkpoint, in this order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// What the person says: not blank, no NUL characters.
    pub message: String,
    /// The conversation it belongs to; it is created when it does not exist. Left out: a new one with a new id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Who answers: `auto`, `collaborative`, `local`, `cloud`, `fallback`, `race`, `compare` or the name of a
    /// provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `fast`, `balanced` or `best`: sets mode, thinking and strategy in one word. What the request names itself
    /// stands above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// How one answer comes out of several: `select` (one of them as it is) or `merge` (one is written from all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// `true`: the question is shown to no provider outside this machine, and its conversation stays private from
    /// then on. `false` stands above the configuration's default, never above the conversation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// `true`: answer with [`crate::StreamEvent`]s instead of one JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// The instructions for this question, instead of the session's and the configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// `accurate`, `balanced` or `creative`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// 0 picks the most likely token; up to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Keep the most likely tokens that together have this probability; 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Keep this many of the most likely tokens; 0 keeps all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Keep tokens at least this likely, relative to the most likely one; 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Divides the logit of tokens that occurred before; 1 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Subtracted from the logit of every token that was generated before; -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// Subtracted from the logit of a token once for each time it was generated; -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Same seed, same request, same text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Token id (as text, because JSON keys are text) to a number from -100 to 100 that is added to its logit.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_logit_bias")]
    pub logit_bias: Option<BTreeMap<u32, f32>>,
    /// The most tokens to generate, thinking included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Texts that end the answer: one string or a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopTexts>,
    /// `true`: report the log-probability of every token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// Alternatives to report for each token, 0 to 20; asks for `logprobs` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u8>,
    /// Whether the model may think before it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<bool>,
    /// The most tokens of thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_budget_tokens: Option<u32>,
    /// What may be done when the conversation does not fit the context of this machine's model: `refuse`, `sliding` (leave
    /// out the oldest turns) or `summarise` (let a summary take their place). What was left out stands in
    /// [`SourceTrace::context_cut`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_policy: Option<String>,
    /// How long the whole request may take, counted from its arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

/// Texts that end an answer; on the wire one string or a list of strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StopTexts(pub Vec<String>);

impl<'de> Deserialize<'de> for StopTexts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> de::Visitor<'de> for OneOrMany {
            type Value = StopTexts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StopTexts, E> {
                Ok(StopTexts(vec![text.to_owned()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<StopTexts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(StopTexts(texts))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

pub(crate) fn optional_logit_bias<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<u32, f32>>, D::Error> {
    let Some(by_text) = Option::<BTreeMap<String, f32>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let parsed = by_text.into_iter().map(|(key, bias)| match key.parse::<u32>() {
        Ok(id) => Ok((id, bias)),
        Err(_) => Err(de::Error::custom(format!("its keys must be token ids, got {key:?}"))),
    });
    parsed.collect::<Result<_, _>>().map(Some)
}

/// The answer to a [`ChatRequest`]. When it arrives, the exchange is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatResponse {
    /// The answer's text, without thinking.
    pub response: String,
    /// The thinking, if there was any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Name of the model or provider that wrote the text; `collaborative` for text merged from several.
    pub model_used: String,
    /// Whether that is the small demo model that boca carries.
    #[serde(default)]
    pub model_is_demo: bool,
    /// Time from the arrival of the request to this answer.
    pub response_time_ms: f64,
    /// State of each actor by its name: `starting`, `loading`, `ready`, `busy`, `degraded`, `restarting`, `down` or
    /// `disabled`.
    #[serde(default)]
    pub agent_states: BTreeMap<String, String>,
    /// The conversation; name it in the next request to go on.
    pub session_id: String,
    /// The same id as in the header `x-request-id` and in the log.
    pub request_id: String,
    /// `stop` (the model ended, or a stop text), `length` (token budget spent), `deadline`, `cancelled`,
    /// `content_filter` (the provider's content rules ended it), `repetition` (the model said the same thing over and
    /// over) or `tool_calls`.
    pub finish_reason: String,
    /// The stop text that ended the answer, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<String>,
    /// The answers of everyone who was asked, in the order in which they were complete.
    #[serde(default)]
    pub answers: Vec<SourceAnswer>,
    /// Tokens counted.
    #[serde(default)]
    pub usage: Usage,
    /// Where the time went.
    #[serde(default)]
    pub timings: Timings,
    /// Log-probabilities, one entry a token of the answer, when they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// How the answer came about.
    #[serde(default)]
    pub trace: Trace,
}

/// The answer of one provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceAnswer {
    /// The provider's or the model's name.
    pub source: String,
    /// Its model, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its text.
    pub response: String,
    /// Why it ended; see [`ChatResponse::finish_reason`].
    pub finish_reason: String,
    /// Tokens counted.
    #[serde(default)]
    pub usage: Usage,
}

/// Tokens counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the rendered prompt.
    pub prompt_tokens: u32,
    /// Prompt tokens that were known from before and not computed again.
    pub cached_tokens: u32,
    /// The same where clients of OpenAI's API look for it.
    pub prompt_tokens_details: PromptTokensDetails,
    /// Tokens generated, thinking included.
    pub completion_tokens: u32,
    /// Tokens of the thinking part.
    pub reasoning_tokens: u32,
    /// `prompt_tokens` and `completion_tokens` together.
    pub total_tokens: u32,
}

/// What is known of the prompt's tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptTokensDetails {
    /// [`Usage::cached_tokens`].
    pub cached_tokens: u32,
}

/// Where the time of a generation went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// Waiting for the engine.
    pub queue_ms: f64,
    /// Reading the prompt.
    pub prefill_ms: f64,
    /// From the first generated token to the last.
    pub decode_ms: f64,
    /// From the hand-over to the engine to the first generated token.
    pub time_to_first_token_ms: f64,
    /// From the hand-over to the engine to the end.
    pub total_ms: f64,
    /// Prompt tokens computed a second; absent when none were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_tokens_per_s: Option<f64>,
    /// Tokens generated a second after the first; absent when there were fewer than two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_s: Option<f64>,
}

/// The log-probability of one generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's text; a token that holds part of a character shows U+FFFD.
    pub token: String,
    /// The token's bytes.
    #[serde(default)]
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability under the unmodified model.
    pub logprob: f32,
    /// The most likely tokens at this place, best first.
    #[serde(default)]
    pub top_logprobs: Vec<TopLogprob>,
}

/// An alternative to a generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token's text; a token that holds part of a character shows U+FFFD.
    pub token: String,
    /// The token's bytes.
    #[serde(default)]
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability under the unmodified model.
    pub logprob: f32,
}

/// How an answer came about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// Everyone who was asked.
    pub sources: Vec<SourceTrace>,
    /// The mode that held in the end.
    pub mode: String,
    /// `select` or `merge`, where there was something to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// The provider whose text is the answer; absent for merged text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// Who judged or merged, if anybody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<String>,
    /// How much the answers agree, 0 to 1; absent with fewer than two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f32>,
    /// Every decision in the order in which it was made, one sentence each.
    pub reasons: Vec<String>,
    /// Where the writer changed in mid-answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seam: Option<Seam>,
    /// What the answer cost, everyone who was asked included, where prices are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Whether the question was kept on this machine.
    pub private: bool,
}

/// Where one provider's text ends and another's begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seam {
    /// Bytes of the answer's text before it.
    pub at_byte: u64,
    /// Who wrote what comes before.
    pub from: String,
    /// Who wrote the rest.
    pub to: String,
}

/// One provider's part in an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceTrace {
    /// The provider's name.
    pub provider: String,
    /// Its model, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What it was asked to do: `answer`, `judge`, `synthesizer` or `continuation` (to go on where another broke off).
    #[serde(default)]
    pub role: String,
    /// `asked`, `answering`, `finished`, `failed` or `cancelled`.
    pub state: String,
    /// When it was asked, counted from the arrival of the question.
    #[serde(default)]
    pub began_ms: f64,
    /// When its first token came, counted from the arrival of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    /// When it ended, counted from the arrival of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<f64>,
    /// Tokens that it counted.
    #[serde(default)]
    pub usage: Usage,
    /// What it cost, where prices are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
    /// What it answered without, when the conversation did not fit its context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_cut: Option<Box<ContextCut>>,
}

impl SourceTrace {
    /// Whether it was asked for an answer, and not to judge, to merge or to go on with one. An older daemon asked for
    /// nothing else and named no role.
    pub fn was_asked_to_answer(&self) -> bool {
        matches!(self.role.as_str(), "" | "answer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_sent() {
        let request = ChatRequest { message: "hi".into(), ..Default::default() };
        assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"message":"hi"}"#);
    }

    #[test]
    fn stop_is_one_string_or_a_list() {
        let stop = |json: &str| serde_json::from_str::<StopTexts>(json).map(|s| s.0);
        assert_eq!(stop(r#""a""#).unwrap(), ["a"]);
        assert_eq!(stop(r#"["a","b"]"#).unwrap(), ["a", "b"]);
        assert!(stop("1").unwrap_err().to_string().contains("a string or a list of strings"));
        assert!(stop(r#"["a",1]"#).is_err());
    }

    #[test]
    fn a_response_of_a_newer_daemon_is_read() {
        let json = r#"{"response":"x","model_used":"m","response_time_ms":1.5,"session_id":"s","request_id":"r",
            "finish_reason":"stop","brand_new":{"a":1},"usage":{"prompt_tokens":3,"new_tokens":4}}"#;
        let response: ChatResponse = serde_json::from_str(json).unwrap();
        assert_eq!(response.usage.prompt_tokens, 3);
    }
}
