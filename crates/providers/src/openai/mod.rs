//! `/v1/chat/completions`, as OpenAI, vLLM, llama.cpp's server, LM Studio, mlx_lm.server and many more speak it.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat> and the servers' own documentation, where they differ.

mod decode;
mod encode;
mod request;
mod response;
mod tool_calls;

pub(crate) use decode::Decoder;
pub(crate) use encode::{Flavour, encode};
