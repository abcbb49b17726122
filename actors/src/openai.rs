//! OpenAiActor: keeps a server fit to be asked that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp's
//! server, LM Studio, mlx_lm.server, a gateway before a cluster.
//!
//! Its cheapest call is the list of models. A server without one is taken to be there when it says so itself.
//!
//! Whom it talks to, how it fails and what a restart loses: [`crate::provider`].

use crate::provider::{Protocol, ProviderActor};
use boca_core::ProviderKind;

/// The protocol.
pub(crate) struct OpenAi;

impl Protocol for OpenAi {
    const KIND: ProviderKind = ProviderKind::Openai;
}

/// The actor.
pub(crate) type OpenAiActor = ProviderActor<OpenAi>;
