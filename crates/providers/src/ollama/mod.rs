//! Ollama's own protocol: `/api/chat` and `/api/tags`.
//!
//! Source: <https://github.com/ollama/ollama/blob/main/docs/api.md> and its page on errors.

mod decode;
mod encode;
mod wire;

pub(crate) use decode::Decoder;
pub(crate) use encode::{SendThink, encode};
