//! How messages reach an actor that may be replaced at any time.
//!
//! Nobody outside this crate holds an `Addr`. A handle looks the current one up for each call, never waits for room
//! in a mailbox, always has a deadline, and answers with a [`Failure`] whose code tells whether a retry is safe.

use crate::supervisor::ChildStatus;
use actix::dev::{SendError, ToEnvelope};
use actix::{Actor, Addr, Handler, Message};
use arc_swap::ArcSwapOption;
use boca_core::{ErrorCode, Failure};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// When a full mailbox is worth another try: handlers are short, so it empties at once.
const MAILBOX_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A message with a typed reply.
pub(crate) trait ActorRequest: Send + 'static {
    /// Whether doing it twice is as good as once, so that a call which was lost with its actor may be repeated.
    const IS_REPEATABLE: bool = true;

    /// What the actor answers.
    type Reply: Send + 'static;
}

/// A request on its way to an actor, with the way back.
pub(crate) struct Call<R: ActorRequest> {
    /// The request.
    pub(crate) request: R,
    /// After this nobody waits for the reply.
    pub(crate) deadline: Instant,
    reply: ReplyTo<R::Reply>,
}

impl<R: ActorRequest> Message for Call<R> {
    type Result = ();
}

impl<R: ActorRequest> Call<R> {
    /// Takes the call apart, for a handler that replies later.
    pub(crate) fn into_parts(self) -> (R, ReplyTo<R::Reply>) {
        self.reply.place.0.take();
        (self.request, self.reply)
    }

    /// Replies now.
    pub(crate) fn reply(self, answer: impl FnOnce(R) -> R::Reply) {
        let (request, reply) = self.into_parts();
        reply.send(answer(request));
    }
}

/// The way back to a caller. Dropping it tells the caller that the actor is gone.
pub(crate) struct ReplyTo<T> {
    /// Before the sender: who hears of the end of a call finds its place free.
    place: MailboxPlace,
    sender: oneshot::Sender<T>,
}

impl<T> ReplyTo<T> {
    /// Sends the reply. A caller that has gone away in the meantime needs none.
    pub(crate) fn send(self, answer: T) {
        drop(self.place);
        self.sender.send(answer).ok();
    }
}

/// Counts a call from when it is sent until it is answered or dropped.
struct MailboxPlace(Arc<ChildStatus>);

impl Drop for MailboxPlace {
    fn drop(&mut self) {
        self.0.leave_mailbox();
    }
}

/// Where the current incarnation of an actor is found.
pub(crate) struct Slot<A: Actor> {
    /// `None` while there is no incarnation.
    pub(crate) addr: ArcSwapOption<Addr<A>>,
    /// What the supervisor knows of it.
    pub(crate) status: Arc<ChildStatus>,
}

/// A cloneable way to an actor that survives its restarts.
pub(crate) struct ActorHandle<A: Actor> {
    slot: Arc<Slot<A>>,
}

impl<A: Actor> Clone for ActorHandle<A> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot) }
    }
}

impl<A: Actor> fmt::Debug for ActorHandle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorHandle").field("actor", &self.slot.status.name()).finish_non_exhaustive()
    }
}

impl<A: Actor> ActorHandle<A> {
    pub(crate) fn new(slot: Arc<Slot<A>>) -> Self {
        Self { slot }
    }

    /// What the supervisor knows of the actor.
    pub(crate) fn child(&self) -> &Arc<ChildStatus> {
        &self.slot.status
    }

    /// Sends a request and waits for its reply until `deadline`.
    ///
    /// # Errors
    /// `Overloaded` (mailbox full), `Restarting` or `ShuttingDown` (no actor, or it ended before it replied),
    /// `Internal` (the same, and the request may have had its effect), `DeadlineExceeded`. The code says whether a
    /// retry is safe.
    pub(crate) async fn call<R>(&self, request: R, deadline: Instant) -> Result<R::Reply, Failure>
    where
        R: ActorRequest,
        A: Handler<Call<R>>,
        A::Context: ToEnvelope<A, Call<R>>,
    {
        self.slot.status.until_made(deadline).await;
        let reply = self.post(request, deadline)?;
        match tokio::time::timeout_at(deadline.into(), reply).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_dropped)) => Err(self.lost::<R>()),
            Err(_elapsed) => Err(Failure::new(
                ErrorCode::DeadlineExceeded,
                format!("the {} actor did not answer before the deadline", self.slot.status.name()),
            )),
        }
    }

    /// Sends a request whose reply nobody needs to wait for. Whether it was taken is known at once.
    ///
    /// # Errors
    /// `Overloaded`, `Restarting`, `ShuttingDown`.
    pub(crate) fn post<R>(
        &self,
        request: R,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<R::Reply>, Failure>
    where
        R: ActorRequest,
        A: Handler<Call<R>>,
        A::Context: ToEnvelope<A, Call<R>>,
    {
        let status = &self.slot.status;
        let Some(addr) = self.slot.addr.load_full() else { return Err(status.absence()) };
        if !status.enter_mailbox() {
            return Err(self.mailbox_full());
        }
        let place = MailboxPlace(Arc::clone(status));
        let (sender, reply) = oneshot::channel();
        let call = Call { request, deadline, reply: ReplyTo { place, sender } };
        match addr.try_send(call) {
            Ok(()) => Ok(reply),
            Err(SendError::Full(_)) => Err(self.mailbox_full()),
            Err(SendError::Closed(_)) => Err(status.absence()),
        }
    }

    /// What a caller is told whose call was with the actor when that ended.
    fn lost<R: ActorRequest>(&self) -> Failure {
        let status = &self.slot.status;
        if R::IS_REPEATABLE {
            return status.absence();
        }
        let name = status.name();
        let message = format!("the {name} actor ended before it answered; what was asked may have been done");
        Failure::new(ErrorCode::Internal, message)
    }

    fn mailbox_full(&self) -> Failure {
        let status = &self.slot.status;
        let message = format!("the {} actor's mailbox is full ({} calls)", status.name(), status.capacity());
        Failure::new(ErrorCode::Overloaded, message).retry_after(MAILBOX_RETRY_AFTER)
    }
}
