//! Which dialect a provider speaks: addresses, headers, bodies and decoders of each, chosen in one place.

use crate::conversation::Ask;
use crate::decode::{Decode, json};
use crate::fault::Fault;
use crate::model_list::{ListById, ListByName};
use crate::{ApiKey, Endpoint, anthropic, error_body, gemini, ollama, openai};
use boca_core::ProviderKind;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Serialize;
use std::time::Duration;

/// The most models asked for in one page of a list.
const MODELS_PER_PAGE: &str = "1000";

/// One HTTP request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
}

/// How an endpoint is spoken to. Pure: it makes requests and reads responses, and sends nothing.
#[derive(Debug)]
pub(crate) struct Dialect<'a> {
    endpoint: &'a Endpoint,
    base: &'a Url,
}

impl<'a> Dialect<'a> {
    pub(crate) fn new(endpoint: &'a Endpoint, base: &'a Url) -> Self {
        Self { endpoint, base }
    }

    /// The request of an ask. `time_left` is told to the provider where its protocol has a word for it.
    pub(crate) fn ask(
        &self,
        ask: &Ask<'_>,
        think: ollama::SendThink,
        time_left: Duration,
    ) -> Result<Call, Fault> {
        let model = self.endpoint.model.as_str();
        let stream = !ask.options.unary;
        let mut call = match self.endpoint.kind {
            ProviderKind::Gemini => {
                let action = if stream { "streamGenerateContent" } else { "generateContent" };
                let mut url = self.gemini_url(action);
                if stream {
                    url.set_query(Some("alt=sse"));
                }
                let mut call = self.post(url, &gemini::encode(ask, model))?;
                let seconds = time_left.as_secs() + u64::from(time_left.subsec_nanos() > 0);
                call.headers.insert("x-server-timeout", HeaderValue::from(seconds.max(1)));
                call
            }
            ProviderKind::Ollama => {
                self.post(self.url(&["api", "chat"]), &ollama::encode(ask, model, think, stream))?
            }
            ProviderKind::Anthropic => {
                self.post(self.anthropic_url(&["messages"]), &anthropic::encode(ask, model, stream))?
            }
            ProviderKind::Openai | ProviderKind::Engine => {
                let flavour = openai::Flavour::of_host(self.base.host_str().unwrap_or_default());
                self.post(
                    self.openai_url(&["chat", "completions"]),
                    &openai::encode(ask, model, flavour, stream),
                )?
            }
        };
        let accepted = match (stream, self.endpoint.kind) {
            (false, _) => "application/json",
            (true, ProviderKind::Ollama) => "application/x-ndjson",
            (true, _) => "text/event-stream",
        };
        call.headers.insert(ACCEPT, HeaderValue::from_static(accepted));
        Ok(call)
    }

    /// What reads the response of an ask that goes on from `answer_so_far`.
    pub(crate) fn decoder(&self, answer_so_far: &str) -> Box<dyn Decode> {
        match self.endpoint.kind {
            ProviderKind::Gemini => Box::new(gemini::Decoder::default()),
            ProviderKind::Ollama => Box::new(ollama::Decoder::default()),
            ProviderKind::Anthropic => Box::new(anthropic::Decoder::going_on_from(answer_so_far)),
            ProviderKind::Openai | ProviderKind::Engine => Box::new(openai::Decoder::default()),
        }
    }

    /// The cheapest call there is: the list of models.
    pub(crate) fn probe(&self) -> Result<Call, Fault> {
        let url = match self.endpoint.kind {
            ProviderKind::Gemini => {
                let mut url = self.url(&[&self.endpoint.api_version, "models"]);
                url.query_pairs_mut().append_pair("pageSize", MODELS_PER_PAGE);
                url
            }
            ProviderKind::Ollama => self.url(&["api", "tags"]),
            ProviderKind::Anthropic => {
                let mut url = self.anthropic_url(&["models"]);
                url.query_pairs_mut().append_pair("limit", MODELS_PER_PAGE);
                url
            }
            ProviderKind::Openai | ProviderKind::Engine => self.openai_url(&["models"]),
        };
        Ok(Call { method: Method::GET, url, headers: self.headers()?, body: None })
    }

    /// The names of the models in the response to [`probe`](Self::probe).
    pub(crate) fn model_names(&self, body: &str) -> Result<Vec<String>, Fault> {
        Ok(match self.endpoint.kind {
            ProviderKind::Gemini | ProviderKind::Ollama => json::<ListByName>(body)?.names(),
            // mlx_lm.server answers so when it has no cache of downloaded models; it serves all the same.
            ProviderKind::Openai if body.is_empty() => Vec::new(),
            ProviderKind::Anthropic | ProviderKind::Openai | ProviderKind::Engine => {
                json::<ListById>(body)?.names()
            }
        })
    }

    /// The request that counts an ask's tokens.
    pub(crate) fn count_tokens(&self, ask: &Ask<'_>) -> Result<Call, Fault> {
        let model = self.endpoint.model.as_str();
        match self.endpoint.kind {
            ProviderKind::Gemini => {
                let body = gemini::CountTokensRequest::new(model, gemini::encode(ask, model));
                self.post(self.gemini_url("countTokens"), &body)
            }
            ProviderKind::Anthropic => {
                let body = anthropic::CountTokensRequest::new(anthropic::encode(ask, model, false));
                self.post(self.anthropic_url(&["messages", "count_tokens"]), &body)
            }
            ProviderKind::Openai | ProviderKind::Ollama | ProviderKind::Engine => {
                Err(Fault::new(crate::AttemptClass::Refused, "has no call that counts tokens"))
            }
        }
    }

    /// The count in the response to [`count_tokens`](Self::count_tokens).
    pub(crate) fn counted_tokens(&self, body: &str) -> Result<u32, Fault> {
        match self.endpoint.kind {
            ProviderKind::Anthropic => Ok(json::<anthropic::CountTokensResponse>(body)?.input_tokens),
            _ => Ok(json::<gemini::CountTokensResponse>(body)?.total_tokens),
        }
    }

    /// What an error response says.
    pub(crate) fn error(&self, status: u16, header_wait: Option<Duration>, body: &str) -> Fault {
        match self.endpoint.kind {
            ProviderKind::Gemini => gemini::fault(Some(status), header_wait, body),
            _ => error_body::fault(status, header_wait, body),
        }
    }

    fn post(&self, url: Url, body: &impl Serialize) -> Result<Call, Fault> {
        let mut headers = self.headers()?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_vec(body)
            .map_err(|error| Fault::invalid("messages", format!("cannot be sent this request: {error}")))?;
        Ok(Call { method: Method::POST, url, headers, body: Some(body) })
    }

    fn headers(&self) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if self.endpoint.kind == ProviderKind::Anthropic {
            headers.insert("anthropic-version", HeaderValue::from_static(anthropic::VERSION));
        }
        if let Some(key) = &self.endpoint.key {
            let (name, value) = self.key_header(key);
            // The key's own alphabet was checked when it was made, so this cannot fail.
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| Fault::invalid("api_key", "cannot be sent its key in a header"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn key_header(&self, key: &ApiKey) -> (HeaderName, zeroize::Zeroizing<String>) {
        let key = key.expose();
        match self.endpoint.kind {
            ProviderKind::Gemini => (HeaderName::from_static("x-goog-api-key"), key.to_owned().into()),
            ProviderKind::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned().into()),
            ProviderKind::Openai | ProviderKind::Ollama | ProviderKind::Engine => {
                (AUTHORIZATION, format!("Bearer {key}").into())
            }
        }
    }

    /// The base address with these segments behind its path.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn gemini_url(&self, action: &str) -> Url {
        let with_action = format!("{}:{action}", gemini::resource_name(&self.endpoint.model));
        let mut segments = vec![self.endpoint.api_version.as_str()];
        segments.extend(with_action.split('/'));
        self.url(&segments)
    }

    /// The usual base address of these servers ends in `/v1`; one without any path means the same.
    fn openai_url(&self, segments: &[&str]) -> Url {
        if matches!(self.base.path(), "" | "/") {
            return self.url(&[&["v1"], segments].concat());
        }
        self.url(segments)
    }

    fn anthropic_url(&self, segments: &[&str]) -> Url {
        if self.base.path().trim_end_matches('/').ends_with("/v1") {
            return self.url(segments);
        }
        self.url(&[&["v1"], segments].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(kind: ProviderKind, base: &str, make: impl Fn(&Dialect<'_>) -> Url) -> String {
        let mut endpoint = Endpoint::new("p", kind, "a/b c");
        endpoint.base_url = base.into();
        let base = Url::parse(base).unwrap();
        make(&Dialect::new(&endpoint, &base)).to_string()
    }

    #[test]
    fn addresses_are_put_together() {
        let chat = |dialect: &Dialect<'_>| dialect.openai_url(&["chat", "completions"]);
        for (base, expected) in [
            ("http://h:1", "http://h:1/v1/chat/completions"),
            ("http://h:1/", "http://h:1/v1/chat/completions"),
            ("http://h:1/v1", "http://h:1/v1/chat/completions"),
            ("http://h:1/v1/", "http://h:1/v1/chat/completions"),
            ("http://h:1/gateway/openai", "http://h:1/gateway/openai/chat/completions"),
        ] {
            assert_eq!(address(ProviderKind::Openai, base, chat), expected);
        }
        let messages = |dialect: &Dialect<'_>| dialect.anthropic_url(&["messages"]);
        for base in ["http://h/x", "http://h/x/v1", "http://h/x/v1/"] {
            assert_eq!(address(ProviderKind::Anthropic, base, messages), "http://h/x/v1/messages");
        }
        let generate = |dialect: &Dialect<'_>| dialect.gemini_url("generateContent");
        assert_eq!(
            address(ProviderKind::Gemini, "http://h", generate),
            "http://h/v1beta/a/b%20c:generateContent"
        );
    }

    #[test]
    fn a_key_is_in_its_header_and_nowhere_else() {
        for kind in
            [ProviderKind::Gemini, ProviderKind::Openai, ProviderKind::Ollama, ProviderKind::Anthropic]
        {
            let mut endpoint = Endpoint::new("p", kind, "m");
            endpoint.key = ApiKey::new("topsecretkey");
            let base = endpoint.check().unwrap();
            let call = Dialect::new(&endpoint, &base).probe().unwrap();
            let holding = call.headers.values().filter(|v| v.to_str().unwrap().contains("topsecretkey"));
            assert_eq!(holding.count(), 1, "{kind:?}");
            assert!(!format!("{call:?} {endpoint:?}").contains("topsecret"), "{kind:?}");
        }
    }
}
