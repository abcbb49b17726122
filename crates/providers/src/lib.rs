//! The providers that boca asks over HTTP: Gemini, OpenAI-compatible servers, Ollama and Anthropic.
//!
//! Each dialect is a pure pair of encode and decode with wire structs of its own; one thin client carries them all.
//! [`HttpProvider::attempt`] makes exactly one attempt: retries, limits and the circuit breaker stand above it.
//! Everything that a provider sends is input from outside: bounded in size and time, checked, and never shown with a
//! key in it.

mod anthropic;
mod api_key;
mod attempt;
mod chat_protocol;
mod conversation;
mod decode;
mod dialect;
mod endpoint;
mod error_body;
mod fault;
mod float;
mod frame;
mod gemini;
pub mod guarded;
mod http_provider;
mod model_list;
mod ndjson;
mod ollama;
mod openai;
#[cfg(test)]
mod pieces;
mod reading;
mod retry_after;
mod sse;
mod tool_call;
mod transport;

pub use api_key::ApiKey;
pub use attempt::{AskOptions, AttemptClass, AttemptError, AttemptStream};
pub use endpoint::{Endpoint, EndpointError, Timeouts};
pub use http_provider::HttpProvider;
