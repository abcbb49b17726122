//! ProviderActor: keeps one provider fit to be asked.
//!
//! Checks its health by its cheapest call, about every 30 s and as soon as a circuit may be closed again, so that it
//! is known before a request needs it; looks whether what it requires holds; writes its use and its cost into the
//! ledger; and begins its answers. Asked by the synthesizer (`AskProvider`) through [`crate::provider_handle`]. Talks
//! to its provider and to the ledger, on threads that are not its own.
//!
//! How it fails: a provider that is down is no failure of the actor, which goes on checking. It fails only by a defect
//! of its own. Its restart policy is that of all actors; when that is spent this provider stays down until the daemon
//! is started again and the others answer without it, because no provider is worth the process.
//! What a restart loses: nothing. Answers, breaker, limits and figures live in [`ProviderShared`] and go on.
//!
//! One type for each protocol ([`crate::gemini`], [`crate::openai`], [`crate::ollama`], [`crate::anthropic`]): what
//! differs between them is in the client, what an actor does is the same.

use crate::exit_guard::ExitGuard;
use crate::handle::{ActorRequest, Call};
use crate::messages::{Observable, Observe};
use crate::provider_shared::ProviderShared;
use crate::provider_status::ProviderStatus;
use crate::source::SourceStream;
use crate::supervisor::Control;
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, StreamHandler,
    WrapFuture,
};
use boca_core::{Availability, Failure, GenerateRequest, ProviderKind};
use boca_providers::guarded::{GuardedProvider, HealthCheck};
use futures_util::stream;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long use is gathered before it is written down: a write for each request would be many.
const WRITE_AFTER: Duration = Duration::from_secs(1);
/// The pause before a ledger that failed is tried again.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often requirements are looked at that do not hold. That asks nobody.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The protocol that an actor's provider speaks.
pub(crate) trait Protocol: Send + Sync + Unpin + 'static {
    const KIND: ProviderKind;
}

/// The actor.
pub(crate) struct ProviderActor<P: Protocol> {
    shared: Arc<ProviderShared>,
    /// When the next check is due, and how to call it off; `None` while one runs.
    next_check: Option<(Instant, SpawnHandle)>,
    /// Whether the provider's own signals are listened to, which begins when it has a client.
    is_listening: bool,
    /// Whether the books are being kept or will be.
    is_writing: bool,
    /// The availability that the log was told.
    logged: &'static str,
    protocol: PhantomData<fn() -> P>,
    /// Tells the supervisor when this value is dropped.
    _exit: ExitGuard,
}

impl<P: Protocol> ProviderActor<P> {
    pub(crate) fn new(shared: Arc<ProviderShared>, exit: ExitGuard) -> Self {
        Self {
            shared,
            next_check: None,
            is_listening: false,
            is_writing: false,
            logged: Availability::Unknown.as_str(),
            protocol: PhantomData,
            _exit: exit,
        }
    }
}

impl<P: Protocol> Actor for ProviderActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.listen(ctx);
        self.keep_books(ctx);
        self.check(ctx);
    }
}

/// To a provider's actor: answer. The reply comes as soon as the request is taken.
pub(crate) struct AskProvider {
    /// The validated request.
    pub(crate) request: GenerateRequest,
}

impl ActorRequest for AskProvider {
    type Reply = Result<SourceStream, Failure>;
}

impl<P: Protocol> Handler<Call<AskProvider>> for ProviderActor<P> {
    type Result = ();

    fn handle(&mut self, call: Call<AskProvider>, _: &mut Self::Context) {
        let deadline = call.deadline;
        call.reply(|AskProvider { request }| self.shared.begin(request, deadline));
    }
}

impl<P: Protocol> Observable for ProviderActor<P> {
    type State = ProviderStatus;
}

impl<P: Protocol> Handler<Call<Observe<Self>>> for ProviderActor<P> {
    type Result = ();

    fn handle(&mut self, call: Call<Observe<Self>>, _: &mut Self::Context) {
        call.reply(|_| ProviderStatus::of(&self.shared, None));
    }
}

impl<P: Protocol> Handler<Control> for ProviderActor<P> {
    type Result = ();

    fn handle(&mut self, control: Control, ctx: &mut Self::Context) {
        match control {
            Control::Beat => {}
            Control::Stop => {
                let shared = Arc::clone(&self.shared);
                self.run(ctx, async move { shared.keep_books().await }, |_, _, ctx| ctx.stop());
            }
        }
    }
}

/// What the provider itself signals.
enum Signal {
    /// An attempt failed, so that a check may be due earlier.
    Doubted,
    /// There is use to be written down.
    Used,
}

impl<P: Protocol> StreamHandler<Signal> for ProviderActor<P> {
    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        match signal {
            Signal::Doubted => self.check_no_later_than_due(ctx),
            Signal::Used => self.write_after(WRITE_AFTER, ctx),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The default would stop the actor. The signals do not end.
    }
}

impl<P: Protocol> ProviderActor<P> {
    fn listen(&mut self, ctx: &mut Context<Self>) {
        let Some(provider) = self.shared.provider() else { return };
        if std::mem::replace(&mut self.is_listening, true) {
            return;
        }
        ctx.add_stream(stream::unfold(provider.clone(), |provider: GuardedProvider| async move {
            provider.doubted().await;
            Some((Signal::Doubted, provider))
        }));
        ctx.add_stream(stream::unfold(provider, |provider: GuardedProvider| async move {
            provider.used().await;
            Some((Signal::Used, provider))
        }));
    }

    fn check(&mut self, ctx: &mut Context<Self>) {
        self.next_check = None;
        let shared = Arc::clone(&self.shared);
        self.run(ctx, async move { shared.check().await }, Self::checked);
    }

    fn checked(&mut self, outcome: Option<HealthCheck>, ctx: &mut Context<Self>) {
        self.listen(ctx);
        self.log(outcome.as_ref());
        self.check_after(self.due_in(), ctx);
    }

    fn due_in(&self) -> Duration {
        let every = self.shared.settings.check_every;
        match self.shared.provider() {
            _ if self.shared.was_unsuitable() => LOOK_AGAIN_AFTER.min(every),
            Some(provider) => provider.next_check_in(every, fastrand::f64()),
            None => every,
        }
    }

    fn check_after(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        let next = ctx.run_later(pause, Self::check);
        self.next_check = Some((Instant::now() + pause, next));
    }

    /// Brings the next check forward, where the breaker wants it earlier. While one runs, its end sees to that.
    fn check_no_later_than_due(&mut self, ctx: &mut Context<Self>) {
        let due_in = self.due_in();
        let Some((at, next)) = self.next_check else { return };
        if Instant::now() + due_in < at {
            ctx.cancel_future(next);
            self.check_after(due_in, ctx);
        }
    }

    fn log(&mut self, outcome: Option<&HealthCheck>) {
        let provider = self.shared.name();
        if outcome.is_none() {
            tracing::error!(provider, "a health check ended by a defect");
        }
        let availability = self.shared.availability();
        let state = availability.as_str();
        if std::mem::replace(&mut self.logged, state) == state {
            return;
        }
        match availability {
            Availability::Unknown => {}
            Availability::Available => tracing::info!(provider, "the provider is available"),
            Availability::Resting { .. } => {
                tracing::warn!(provider, "the provider's daily budget is spent; it rests until midnight");
            }
            Availability::CircuitOpen { reason, .. } | Availability::Unavailable { reason } => {
                tracing::warn!(provider, state, reason, "the provider cannot be asked");
            }
        }
    }

    fn write_after(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_writing, true) {
            ctx.run_later(pause, Self::keep_books);
        }
    }

    fn keep_books(&mut self, ctx: &mut Context<Self>) {
        self.is_writing = true;
        let shared = Arc::clone(&self.shared);
        self.run(ctx, async move { shared.keep_books().await }, |actor, is_done, ctx| {
            actor.is_writing = false;
            if is_done != Some(true) {
                actor.write_after(WRITE_AGAIN_AFTER, ctx);
            }
        });
    }

    /// Runs `work` on the provider's threads, where it ends even when this actor does not live to see it, and hands
    /// its outcome to `then`; `None` when it panicked.
    fn run<T: Send + 'static>(
        &self,
        ctx: &mut Context<Self>,
        work: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce(&mut Self, Option<T>, &mut Context<Self>) + 'static,
    ) {
        let Some(task) = self.shared.io.spawn(work) else { return };
        ctx.spawn(task.into_actor(self).map(move |outcome, actor, ctx| then(actor, outcome.ok(), ctx)));
    }
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
