//! The way to a provider, which survives restarts of its actor.

use crate::anthropic::AnthropicActor;
use crate::child_status::ChildStatus;
use crate::exit_guard::ExitGuard;
use crate::gemini::GeminiActor;
use crate::handle::ActorHandle;
use crate::ollama::OllamaActor;
use crate::openai::OpenAiActor;
use crate::provider::{AskProvider, Protocol, ProviderActor};
use crate::provider_shared::ProviderShared;
use crate::provider_status::{ProviderStatus, absence};
use crate::source::{Source, SourceStream};
use crate::supervisor::{ChildSpec, Placement, Supervision, Supervisor};
use boca_core::fusion::SourceFacts;
use boca_core::{Availability, Failure, GenerateRequest, MicroUsd, ProviderKind, Usage};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cloneable way to a provider.
#[derive(Debug, Clone)]
pub(crate) struct ProviderHandle {
    /// `None` for a provider that is switched off.
    actor: Option<Arc<dyn Asked>>,
    shared: Arc<ProviderShared>,
}

/// The actor of a provider, whatever it speaks.
trait Asked: std::fmt::Debug + Send + Sync {
    fn child(&self) -> &ChildStatus;

    fn ask(
        &self,
        request: GenerateRequest,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<SourceStream, Failure>>;
}

impl<P: Protocol> Asked for ActorHandle<ProviderActor<P>> {
    fn child(&self) -> &ChildStatus {
        Self::child(self)
    }

    fn ask(
        &self,
        request: GenerateRequest,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<SourceStream, Failure>> {
        let actor = self.clone();
        async move { actor.call(AskProvider { request }, deadline).await? }.boxed()
    }
}

impl ProviderHandle {
    /// Starts the actor of a provider; none for one that is switched off.
    pub(crate) fn start(
        supervisor: &Supervisor,
        supervision: Supervision,
        mailbox_capacity: usize,
        shared: ProviderShared,
    ) -> Self {
        let shared = Arc::new(shared);
        let guard = &shared.settings.guard;
        // As many as it takes anyway, so that a burst is refused by the guards, which say why.
        let capacity = mailbox_capacity.max(guard.max_concurrency.saturating_add(guard.max_waiting));
        let actor = shared.settings.is_enabled.then(|| match shared.settings.endpoint.kind {
            ProviderKind::Gemini => start_as(supervisor, supervision, capacity, &shared, GeminiActor::new),
            ProviderKind::Ollama => start_as(supervisor, supervision, capacity, &shared, OllamaActor::new),
            ProviderKind::Anthropic => {
                start_as(supervisor, supervision, capacity, &shared, AnthropicActor::new)
            }
            // The engine is not reached over HTTP, and the client says so.
            ProviderKind::Openai | ProviderKind::Engine => {
                start_as(supervisor, supervision, capacity, &shared, OpenAiActor::new)
            }
        });
        Self { actor, shared }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.shared.name()
    }

    /// Whether it is used at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.actor.is_some()
    }

    /// What status shows. Waits for nobody but a thread that is just changing the figures.
    pub(crate) fn status(&self) -> ProviderStatus {
        ProviderStatus::of(&self.shared, self.actor.as_ref().map(|actor| actor.child()))
    }

    /// Takes no new requests, lets the running answers finish for `grace`, then cuts them. Gives how many were cut.
    pub(crate) async fn drain(&self, grace: Duration) -> usize {
        self.shared.answers.drain(grace).await
    }
}

fn start_as<P: Protocol>(
    supervisor: &Supervisor,
    supervision: Supervision,
    mailbox_capacity: usize,
    shared: &Arc<ProviderShared>,
    make: fn(Arc<ProviderShared>, ExitGuard) -> ProviderActor<P>,
) -> Arc<dyn Asked> {
    debug_assert!(P::KIND == shared.settings.endpoint.kind || P::KIND == ProviderKind::Openai);
    let for_actor = Arc::clone(shared);
    Arc::new(supervisor.start(ChildSpec {
        name: shared.name().into(),
        policy: supervision.actors,
        supervision,
        mailbox_capacity,
        placement: Placement::OwnThread,
        is_essential: false,
        needs: &[],
        factory: Arc::new(move |exit| make(Arc::clone(&for_actor), exit)),
    }))
}

impl Source for ProviderHandle {
    fn facts(&self) -> SourceFacts {
        let endpoint = &self.shared.settings.endpoint;
        SourceFacts {
            name: endpoint.name.clone(),
            kind: endpoint.kind,
            model: Some(endpoint.model.clone()),
            is_local: endpoint.is_local,
            is_demo: false,
            supports_continuing: endpoint.continues_answers,
        }
    }

    fn availability(&self) -> Availability {
        match &self.actor {
            None => Availability::Unavailable { reason: "it is switched off".into() },
            Some(actor) => absence(actor.child()).unwrap_or_else(|| self.shared.availability()),
        }
    }

    fn cost(&self, usage: &Usage) -> Option<MicroUsd> {
        self.shared.cost(usage)
    }

    fn ask(
        &self,
        request: GenerateRequest,
        _arrived: Instant,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<SourceStream, Failure>> {
        match &self.actor {
            Some(actor) => actor.ask(request, deadline),
            None => {
                let message = format!("{} is switched off", self.name());
                let failure = Failure::new(boca_core::ErrorCode::ProviderUnavailable, message);
                std::future::ready(Err(failure)).boxed()
            }
        }
    }
}
