//! Where a provider is and how it is spoken to.

use crate::ApiKey;
use boca_core::{ProviderKind, SamplingOverrides};
use reqwest::Url;
use std::path::PathBuf;
use std::time::Duration;

/// The longest name of a provider, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The longest name of a model, in bytes.
const MAX_MODEL_BYTES: usize = 256;

/// How long an attempt may wait for each of its parts. The deadline of the ask stands above them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// From sending the request, connecting included, to the head of the response and on to the first event in it.
    pub first_byte: Duration,
    /// Between two pieces of the response after that.
    pub between_bytes: Duration,
}

impl Default for Timeouts {
    /// A long prompt of a thinking model takes its time before the first byte; a stream that runs does not pause for
    /// long.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(30),
        }
    }
}

/// A provider to be asked over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// The name in requests, in status and in messages.
    pub name: String,
    /// The protocol that it speaks.
    pub kind: ProviderKind,
    /// `http://` or `https://`, with a path where the API does not stand at the root.
    pub base_url: String,
    /// Connect to this Unix socket instead of the base URL's host.
    pub unix_socket: Option<PathBuf>,
    /// The version in Gemini's paths; the other kinds do not read it.
    pub api_version: String,
    /// The model that is asked.
    pub model: String,
    /// The key, where one is needed.
    pub key: Option<ApiKey>,
    /// Whether it runs on this machine or network and counts as local. It is then never reached through a proxy.
    pub is_local: bool,
    /// Whether the model goes on with an assistant turn that the request begins. Gemini does not; vLLM, llama.cpp's
    /// server, most of Ollama's models and Anthropic's models up to 4.5 do, which nobody can tell from outside.
    pub continues_answers: bool,
    /// Limits of time.
    pub timeouts: Timeouts,
    /// The most bytes of one response.
    pub max_response_bytes: u64,
    /// Sampling fields for requests that leave them open.
    pub sampling: SamplingOverrides,
}

impl Endpoint {
    /// A provider with the usual address, limits and no key.
    pub fn new(name: impl Into<String>, kind: ProviderKind, model: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind,
            base_url: Self::usual_base_url(kind).to_owned(),
            unix_socket: None,
            api_version: "v1beta".into(),
            model: model.into(),
            key: None,
            is_local: false,
            continues_answers: false,
            timeouts: Timeouts::default(),
            max_response_bytes: 16 << 20,
            sampling: SamplingOverrides::default(),
        }
    }

    /// Where providers of this kind usually are.
    pub fn usual_base_url(kind: ProviderKind) -> &'static str {
        match kind {
            ProviderKind::Gemini => "https://generativelanguage.googleapis.com",
            ProviderKind::Openai => "https://api.openai.com/v1",
            ProviderKind::Ollama => "http://127.0.0.1:11434",
            ProviderKind::Anthropic => "https://api.anthropic.com",
            ProviderKind::Engine => "http://localhost",
        }
    }

    /// Checks every field, and gives the base URL in its parsed form.
    ///
    /// # Errors
    /// The first field that cannot be used, with its bound and value.
    pub fn check(&self) -> Result<Url, EndpointError> {
        let bad = |field, problem: String| Err(EndpointError::BadField { field, problem });
        if self.kind == ProviderKind::Engine {
            return bad("kind", "must be a kind that is reached over HTTP, got engine".into());
        }
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES {
            return bad("name", format!("must have 1 to {MAX_NAME_BYTES} bytes, got {}", self.name.len()));
        }
        let clean = |text: &str| !text.chars().any(|c| c.is_whitespace() || c.is_control());
        if self.model.is_empty() || self.model.len() > MAX_MODEL_BYTES || !clean(&self.model) {
            return bad(
                "model",
                format!("must have 1 to {MAX_MODEL_BYTES} bytes without white space, got {:?}", self.model),
            );
        }
        if self.kind == ProviderKind::Gemini {
            let plain = |c: char| c.is_ascii_alphanumeric();
            if self.api_version.is_empty() || !self.api_version.chars().all(plain) {
                return bad("api_version", format!("must be letters and digits, got {:?}", self.api_version));
            }
            if self.continues_answers {
                return bad("continues_answers", "must be false for gemini, which cannot".into());
            }
        }
        for (field, limit) in [
            ("timeouts.connect", self.timeouts.connect),
            ("timeouts.first_byte", self.timeouts.first_byte),
            ("timeouts.between_bytes", self.timeouts.between_bytes),
        ] {
            if limit.is_zero() {
                return bad(field, "must be longer than nothing".into());
            }
        }
        if self.max_response_bytes == 0 {
            return bad("max_response_bytes", "must be at least 1, got 0".into());
        }
        self.parsed_base_url()
    }

    fn parsed_base_url(&self) -> Result<Url, EndpointError> {
        // Never shows the address: it may hold a password.
        let bad = |problem: &str| EndpointError::BadField { field: "base_url", problem: problem.into() };
        let url = Url::parse(&self.base_url).map_err(|error| bad(&format!("is no address: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("must begin with http:// or https://"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("must name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("must not hold a user name or password; keys come by reference"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("must not hold `?` or `#`; keys come by reference"));
        }
        if self.unix_socket.is_some() && url.scheme() != "http" {
            return Err(bad("must begin with http:// when `unix_socket` is set"));
        }
        Ok(url)
    }
}

/// A provider that cannot be asked as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// A field cannot be used.
    #[error("`{field}` {problem}")]
    BadField {
        /// The field of [`Endpoint`].
        field: &'static str,
        /// What is wrong with it, with bound and value.
        problem: String,
    },
    /// The HTTP client could not be made, for instance because this system has no root certificates.
    #[error("the HTTP client could not be made: {problem}")]
    Client {
        /// Why.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gemini() -> Endpoint {
        Endpoint::new("gemini", ProviderKind::Gemini, "gemini-3.8-flash")
    }

    #[test]
    fn the_usual_addresses_are_good() {
        for kind in ProviderKind::ALL.into_iter().filter(|kind| *kind != ProviderKind::Engine) {
            Endpoint::new("a", kind, "m").check().unwrap();
        }
    }

    #[test]
    fn bad_fields_are_named() {
        let with = |change: fn(&mut Endpoint)| {
            let mut endpoint = gemini();
            change(&mut endpoint);
            endpoint.check().unwrap_err().to_string()
        };
        for (message, part) in [
            (with(|e| e.name.clear()), "`name`"),
            (with(|e| e.model = "a b".into()), "`model`"),
            (with(|e| e.api_version = "../v1".into()), "`api_version`"),
            (with(|e| e.kind = ProviderKind::Engine), "`kind`"),
            (with(|e| e.continues_answers = true), "`continues_answers`"),
            (with(|e| e.base_url = "ftp://a".into()), "http://"),
            (with(|e| e.base_url = "nonsense".into()), "no address"),
            (with(|e| e.base_url = "https://a/?key=secret".into()), "`?`"),
            (with(|e| e.base_url = "https://u:secret@a/".into()), "password"),
            (with(|e| e.timeouts.first_byte = Duration::ZERO), "`timeouts.first_byte`"),
            (with(|e| e.max_response_bytes = 0), "`max_response_bytes`"),
            (with(|e| e.unix_socket = Some("/run/a".into())), "unix_socket"),
        ] {
            assert!(message.contains(part), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
