//! The model of this machine as one source among others.

use crate::model_handle::ModelHandle;
use crate::source::{Source, SourceStream};
use boca_core::fusion::SourceFacts;
use boca_core::{
    ActorState, Availability, EngineLoad, Failure, GenerateRequest, GenerationEvent, GenerationUpdate,
    MicroUsd, ProviderKind, RequestId, Usage,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use std::time::Instant;

/// The name of the model of this machine among the providers.
pub(crate) const LOCAL_PROVIDER: &str = "local";

impl Source for ModelHandle {
    fn facts(&self) -> SourceFacts {
        let info = self.status().info;
        SourceFacts {
            name: LOCAL_PROVIDER.into(),
            kind: ProviderKind::Engine,
            is_demo: info.as_ref().is_some_and(|info| info.is_demo),
            model: info.map(|info| info.name),
            is_local: true,
            supports_continuing: true,
        }
    }

    fn availability(&self) -> Availability {
        let status = self.status();
        let unavailable = |reason: String| Availability::Unavailable { reason };
        match status.state {
            ActorState::Ready | ActorState::Busy | ActorState::Degraded => Availability::Available,
            ActorState::Starting | ActorState::Loading => unavailable("the weights are being loaded".into()),
            // Who is asked wakes it; where it refuses, somebody else should answer.
            ActorState::Unloaded if self.is_woken_by_requests() => Availability::Available,
            ActorState::Unloaded => unavailable(match status.failure {
                Some(failure) => failure.message,
                None => "it is unloaded".into(),
            }),
            ActorState::Disabled => unavailable("it is switched off".into()),
            // Nobody would find out otherwise while others can be asked.
            ActorState::Down if self.is_worth_a_try() => Availability::Available,
            ActorState::Restarting | ActorState::Down => unavailable(match status.failure {
                Some(failure) => failure.message,
                None => format!("it is {}", status.state),
            }),
        }
    }

    fn load(&self) -> Option<EngineLoad> {
        Some(self.engine_load())
    }

    /// The machine's own work costs no money.
    fn cost(&self, _: &Usage) -> Option<MicroUsd> {
        Some(MicroUsd::default())
    }

    fn ask(
        &self,
        request: GenerateRequest,
        arrived: Instant,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<SourceStream, Failure>> {
        let model = self.clone();
        async move {
            let (cut, stream) = model.generate(request, arrived, deadline).await?;
            let cut = cut.map(|cut| Ok(GenerationUpdate::Event(GenerationEvent::ContextCut(Box::new(cut)))));
            Ok(Box::pin(futures_util::stream::iter(cut).chain(stream)) as SourceStream)
        }
        .boxed()
    }

    fn cancel(&self, id: &RequestId) -> bool {
        self.cancel_now(id)
    }
}
