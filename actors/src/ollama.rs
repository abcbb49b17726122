//! OllamaActor: keeps an Ollama fit to be asked.
//!
//! Its cheapest call is the list of pulled models, which wakes none of them.
//!
//! Whom it talks to, how it fails and what a restart loses: [`crate::provider`].

use crate::provider::{Protocol, ProviderActor};
use boca_core::ProviderKind;

/// The protocol.
pub(crate) struct Ollama;

impl Protocol for Ollama {
    const KIND: ProviderKind = ProviderKind::Ollama;
}

/// The actor.
pub(crate) type OllamaActor = ProviderActor<Ollama>;
