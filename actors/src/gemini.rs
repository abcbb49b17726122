//! GeminiActor: keeps Google's Gemini fit to be asked.
//!
//! Its cheapest call is the list of models, which costs nothing and shows at once whether the key is good. Google says
//! in an error how long to wait (`RetryInfo`) and whether a quota of the day is spent; both are kept by the guards.
//!
//! Whom it talks to, how it fails and what a restart loses: [`crate::provider`].

use crate::provider::{Protocol, ProviderActor};
use boca_core::ProviderKind;

/// The protocol.
pub(crate) struct Gemini;

impl Protocol for Gemini {
    const KIND: ProviderKind = ProviderKind::Gemini;
}

/// The actor.
pub(crate) type GeminiActor = ProviderActor<Gemini>;
