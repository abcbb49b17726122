//! Anthropic's Messages API.
//!
//! Source: <https://docs.claude.com/en/api/messages> and its pages on streaming, errors and thinking.

mod decode;
mod encode;
mod generation;
mod request;
mod response;

pub(crate) use decode::Decoder;
pub(crate) use encode::encode;
pub(crate) use request::CountTokensRequest;
pub(crate) use response::CountTokensResponse;

/// The version of the protocol, sent with every request.
pub(crate) const VERSION: &str = "2023-06-01";
