//! AnthropicActor: keeps Anthropic's Messages API fit to be asked.
//!
//! Its cheapest call is the list of models. Its "overloaded" (status 529) passes by itself and is tried again.
//!
//! Whom it talks to, how it fails and what a restart loses: [`crate::provider`].

use crate::provider::{Protocol, ProviderActor};
use boca_core::ProviderKind;

/// The protocol.
pub(crate) struct Anthropic;

impl Protocol for Anthropic {
    const KIND: ProviderKind = ProviderKind::Anthropic;
}

/// The actor.
pub(crate) type AnthropicActor = ProviderActor<Anthropic>;
