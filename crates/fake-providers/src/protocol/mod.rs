//! The four protocols, as their servers speak them.

mod anthropic;
mod gemini;
mod ollama;
mod openai;

use crate::behaviour::Answer;
use crate::seen::Seen;
use serde_json::Value;
use std::time::Duration;

/// Which protocol a request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Gemini,
    Openai,
    Ollama,
    Anthropic,
}

/// What a request wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    /// An answer.
    Ask { model: String, stream: bool },
    /// The list of models.
    Models,
    /// A count of tokens.
    Count,
}

/// Why a server refuses or fails, in words that every protocol translates into its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Trouble {
    BadKey { given: String },
    UnknownModel { model: String },
    BadRequest { problem: String },
    ContextTooLong,
    RateLimited { retry_after: Option<Duration> },
    DailyQuota,
    Status(u16),
}

/// One ask that is being answered.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) model: &'a str,
    pub(crate) answer: &'a Answer,
    pub(crate) body: &'a Value,
}

impl Exchange<'_> {
    /// Prompt tokens to report.
    pub(crate) fn prompt_tokens(&self) -> u32 {
        let counted = || count_words(self.body);
        self.answer.prompt_tokens.unwrap_or_else(counted)
    }

    /// Tokens of the text.
    pub(crate) fn text_tokens(&self) -> usize {
        self.answer.tokens.len()
    }

    /// Tokens of the thinking.
    pub(crate) fn reasoning_tokens(&self) -> usize {
        self.answer.reasoning.len()
    }
}

impl Protocol {
    /// The protocol and the wish of a request; `None` when no server would know the path.
    pub(crate) fn of_request(request: &Seen, body: &Value) -> Option<(Self, Wanted)> {
        let model = || body["model"].as_str().unwrap_or_default().to_owned();
        let path = request.path.as_str();
        let is_anthropic = request.header("anthropic-version").is_some();
        match (request.method.as_str(), path) {
            ("POST", "/v1/chat/completions") => {
                let stream = body["stream"].as_bool().unwrap_or(false);
                Some((Self::Openai, Wanted::Ask { model: model(), stream }))
            }
            ("POST", "/v1/messages") => {
                let stream = body["stream"].as_bool().unwrap_or(false);
                Some((Self::Anthropic, Wanted::Ask { model: model(), stream }))
            }
            ("POST", "/v1/messages/count_tokens") => Some((Self::Anthropic, Wanted::Count)),
            ("POST", "/api/chat") => {
                let stream = body["stream"].as_bool().unwrap_or(true);
                Some((Self::Ollama, Wanted::Ask { model: model(), stream }))
            }
            ("GET", "/api/tags") => Some((Self::Ollama, Wanted::Models)),
            ("GET", "/v1/models") if is_anthropic => Some((Self::Anthropic, Wanted::Models)),
            // Gemini's version v1 has the same path; its key header tells it apart.
            ("GET", "/v1/models") if request.header("x-goog-api-key").is_none() => {
                Some((Self::Openai, Wanted::Models))
            }
            ("GET", "/v1beta/models" | "/v1/models") => Some((Self::Gemini, Wanted::Models)),
            ("POST", path) => {
                let rest = path.strip_prefix("/v1beta/").or_else(|| path.strip_prefix("/v1/"))?;
                let (model, action) = rest.rsplit_once(':')?;
                let model = model.strip_prefix("models/").unwrap_or(model).to_owned();
                match action {
                    "generateContent" => Some((Self::Gemini, Wanted::Ask { model, stream: false })),
                    "streamGenerateContent" => Some((Self::Gemini, Wanted::Ask { model, stream: true })),
                    "countTokens" => Some((Self::Gemini, Wanted::Count)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The content type of a stream.
    pub(crate) fn stream_type(self) -> &'static str {
        match self {
            Self::Ollama => "application/x-ndjson",
            Self::Openai => "text/event-stream; charset=utf-8",
            Self::Gemini | Self::Anthropic => "text/event-stream",
        }
    }

    /// The key that a request carries.
    pub(crate) fn key(self, request: &Seen) -> String {
        let header = match self {
            Self::Gemini => request.header("x-goog-api-key"),
            Self::Anthropic => request.header("x-api-key"),
            Self::Openai | Self::Ollama => {
                request.header("authorization").and_then(|value| value.strip_prefix("Bearer "))
            }
        };
        header.unwrap_or_default().to_owned()
    }

    /// What comes before the first token.
    pub(crate) fn opening(self, exchange: &Exchange<'_>) -> String {
        match self {
            Self::Gemini | Self::Ollama => String::new(),
            Self::Openai => openai::opening(exchange),
            Self::Anthropic => anthropic::opening(exchange),
        }
    }

    /// One piece of thinking.
    pub(crate) fn reasoning(self, exchange: &Exchange<'_>, at: usize, text: &str) -> String {
        match self {
            Self::Gemini => gemini::text(exchange, text, true),
            Self::Openai => openai::delta(exchange, serde_json::json!({ "reasoning": text })),
            Self::Ollama => ollama::text(exchange, text, true),
            Self::Anthropic => anthropic::reasoning(exchange, at, text),
        }
    }

    /// One piece of text.
    pub(crate) fn token(self, exchange: &Exchange<'_>, at: usize, text: &str) -> String {
        match self {
            Self::Gemini => gemini::text(exchange, text, false),
            Self::Openai => openai::delta(exchange, serde_json::json!({ "content": text })),
            Self::Ollama => ollama::text(exchange, text, false),
            Self::Anthropic => anthropic::token(exchange, at, text),
        }
    }

    /// What comes after the last token, tool calls included.
    pub(crate) fn closing(self, exchange: &Exchange<'_>) -> String {
        match self {
            Self::Gemini => gemini::closing(exchange),
            Self::Openai => openai::closing(exchange),
            Self::Ollama => ollama::closing(exchange),
            Self::Anthropic => anthropic::closing(exchange),
        }
    }

    /// The whole answer in one body.
    pub(crate) fn whole(self, exchange: &Exchange<'_>) -> Value {
        match self {
            Self::Gemini => gemini::whole(exchange),
            Self::Openai => openai::whole(exchange),
            Self::Ollama => ollama::whole(exchange),
            Self::Anthropic => anthropic::whole(exchange),
        }
    }

    /// The word for an answer that the content rules ended.
    pub(crate) fn safety_reason(self) -> &'static str {
        match self {
            Self::Gemini => "SAFETY",
            Self::Openai | Self::Ollama => "content_filter",
            Self::Anthropic => "refusal",
        }
    }

    /// A prompt that the content rules block: a good status with an answer that holds nothing. Ollama knows no such
    /// thing and is left with an error.
    pub(crate) fn blocked_prompt(self, exchange: &Exchange<'_>, stream: bool) -> Option<String> {
        match self {
            Self::Gemini => Some(gemini::blocked_prompt(exchange, stream)),
            _ => None,
        }
    }

    /// An error in mid-stream.
    pub(crate) fn error_in_stream(self, message: &str) -> String {
        match self {
            Self::Gemini => gemini::error_in_stream(message),
            Self::Openai => openai::error_in_stream(message),
            Self::Ollama => ollama::error_in_stream(message),
            Self::Anthropic => anthropic::error_in_stream(message),
        }
    }

    /// A frame around this data, which need not be JSON.
    pub(crate) fn frame(self, data: &str) -> String {
        match self {
            Self::Gemini => gemini::frame(data),
            Self::Openai => openai::frame(data),
            Self::Ollama => format!("{data}\n"),
            Self::Anthropic => format!("event: content_block_delta\ndata: {data}\n\n"),
        }
    }

    /// Status, headers and body of an error response.
    pub(crate) fn error(self, trouble: &Trouble) -> (u16, Vec<(String, String)>, Value) {
        match self {
            Self::Gemini => gemini::error(trouble),
            Self::Openai => openai::error(trouble),
            Self::Ollama => ollama::error(trouble),
            Self::Anthropic => anthropic::error(trouble),
        }
    }

    /// The list of models.
    pub(crate) fn models(self, models: &[String]) -> Value {
        match self {
            Self::Gemini => gemini::models(models),
            Self::Openai => openai::models(models),
            Self::Ollama => ollama::models(models),
            Self::Anthropic => anthropic::models(models),
        }
    }

    /// A count of tokens.
    pub(crate) fn count(self, body: &Value) -> Value {
        let n_tokens = count_words(body);
        match self {
            Self::Anthropic => serde_json::json!({ "input_tokens": n_tokens }),
            _ => serde_json::json!({
                "totalTokens": n_tokens,
                "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": n_tokens }],
            }),
        }
    }
}

/// The words of all texts in a body, so that a longer prompt counts more.
fn count_words(body: &Value) -> u32 {
    match body {
        Value::String(text) => u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX),
        Value::Array(values) => values.iter().map(count_words).sum(),
        Value::Object(fields) => fields.values().map(count_words).sum(),
        _ => 0,
    }
}

/// The `Retry-After` header of a trouble that has one.
fn retry_after_header(retry_after: Option<Duration>) -> Vec<(String, String)> {
    retry_after.map(|wait| ("retry-after".to_owned(), wait.as_secs().to_string())).into_iter().collect()
}
