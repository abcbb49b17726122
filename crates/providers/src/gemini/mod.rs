//! Google's Gemini API: `generateContent` and `streamGenerateContent`.
//!
//! Source: <https://ai.google.dev/api/generate-content> and the published protocol buffers of
//! `google.ai.generativelanguage.v1beta`.

mod decode;
mod encode;
mod error;
mod request;
mod response;

pub(crate) use decode::Decoder;
pub(crate) use encode::encode;
pub(crate) use error::fault;
pub(crate) use request::{CountTokensRequest, resource_name};
pub(crate) use response::CountTokensResponse;
