//! MetricsActor: counts finished requests and keeps their percentiles.
//!
//! Talks to nobody; is told by [`MetricsHandle`]. Recording never waits: a sample that finds the mailbox full is
//! counted as lost. It fails only by a defect of its own; a restart loses the figures gathered so far (the snapshot
//! says since when it counts).

use crate::exit_guard::ExitGuard;
use crate::handle::{ActorHandle, Call};
use crate::measurements::Measurements;
pub use crate::measurements::{Distribution, GenerationRecord, MetricsSnapshot, Outcome};
use crate::messages::{Observe, Record};
use crate::supervisor::Control;
use actix::{Actor, Context, Handler};
use boca_core::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The actor.
pub(crate) struct MetricsActor {
    measurements: Measurements,
    /// Tells the supervisor when this value is dropped.
    _exit: ExitGuard,
}

impl MetricsActor {
    pub(crate) fn new(exit: ExitGuard) -> Self {
        Self { measurements: Measurements::default(), _exit: exit }
    }
}

impl Actor for MetricsActor {
    type Context = Context<Self>;
}

impl Handler<Control> for MetricsActor {
    type Result = ();

    fn handle(&mut self, control: Control, ctx: &mut Context<Self>) {
        control.obey(ctx);
    }
}

impl Handler<Call<Record>> for MetricsActor {
    type Result = ();

    fn handle(&mut self, call: Call<Record>, _: &mut Context<Self>) {
        call.reply(|Record(record)| self.measurements.add(&record));
    }
}

impl Handler<Call<Observe<Self>>> for MetricsActor {
    type Result = ();

    fn handle(&mut self, call: Call<Observe<Self>>, _: &mut Context<Self>) {
        call.reply(|_| self.measurements.snapshot());
    }
}

/// A cloneable way to the metrics that survives restarts of their actor.
#[derive(Debug, Clone)]
pub struct MetricsHandle {
    actor: ActorHandle<MetricsActor>,
    lost_samples: Arc<AtomicU64>,
}

impl MetricsHandle {
    pub(crate) fn new(actor: ActorHandle<MetricsActor>) -> Self {
        Self { actor, lost_samples: Arc::default() }
    }

    /// Counts one finished request. Never waits; a sample that cannot be taken now is counted as lost.
    ///
    /// Requests that go through the synthesizer are recorded by it.
    pub fn record(&self, record: GenerationRecord) {
        // Nobody waits for the reply, so the deadline has no meaning here.
        if self.actor.post(Record(record), Instant::now() + Duration::from_secs(1)).is_err() {
            self.lost_samples.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The figures gathered so far.
    ///
    /// # Errors
    /// `Overloaded`, `Restarting`, `ShuttingDown`, `DeadlineExceeded`.
    pub async fn snapshot(&self, deadline: Instant) -> Result<MetricsSnapshot, Failure> {
        let snapshot = self.actor.call(Observe::default(), deadline).await?;
        Ok(MetricsSnapshot { lost_samples: self.lost_samples.load(Ordering::Relaxed), ..snapshot })
    }
}
