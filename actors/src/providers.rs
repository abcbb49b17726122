//! All providers that are reached over HTTP.

use crate::child_status::ActorReport;
use crate::model_handle::ModelHandle;
use crate::provider_handle::ProviderHandle;
use crate::provider_io::ProviderIo;
use crate::provider_settings::{ProviderSettings, UsageLedger};
use crate::provider_shared::{Machine, ProviderShared};
use crate::provider_status::ProviderStatus;
use crate::restart_policy::Restart;
use crate::supervisor::{Supervision, Supervisor};
use boca_core::{ActorState, Availability};
use futures_util::future::join_all;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The providers, in the order of the config.
#[derive(Debug, Clone)]
pub(crate) struct Providers {
    handles: Arc<[ProviderHandle]>,
    since: SystemTime,
}

impl Providers {
    /// Starts an actor for each provider that is switched on.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(
        settings: Vec<ProviderSettings>,
        ledger: Option<Arc<dyn UsageLedger>>,
        model: &ModelHandle,
        supervisor: &Supervisor,
        supervision: Supervision,
        mailbox_capacity: usize,
    ) -> io::Result<Self> {
        let since = SystemTime::now();
        if settings.is_empty() {
            return Ok(Self { handles: Arc::new([]), since });
        }
        let io = Arc::new(ProviderIo::start()?);
        let model = model.clone();
        let machine: Machine =
            Arc::new(move || crate::machine::surroundings(model.status().info.map(|info| info.backend)));
        let start = |settings| {
            let shared = ProviderShared::new(settings, Arc::clone(&io), ledger.clone(), Arc::clone(&machine));
            ProviderHandle::start(supervisor, supervision, mailbox_capacity, shared)
        };
        Ok(Self { handles: settings.into_iter().map(start).collect(), since })
    }

    /// Those that are switched on.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = &ProviderHandle> {
        self.handles.iter().filter(|provider| provider.is_enabled())
    }

    /// What status shows of each.
    pub(crate) fn statuses(&self) -> Vec<ProviderStatus> {
        self.handles.iter().map(ProviderHandle::status).collect()
    }

    /// Corrects the reports of the actors by what is known of their providers, and adds those that have no actor.
    pub(crate) fn complete(&self, reports: &mut Vec<(String, ActorReport)>) {
        for provider in &*self.handles {
            let status = provider.status();
            let place = reports.iter().position(|(name, _)| *name == status.name).unwrap_or_else(|| {
                reports.push((status.name.clone(), self.without_actor()));
                reports.len() - 1
            });
            let report = &mut reports[place].1;
            report.state = status.state;
            if let Availability::CircuitOpen { reason, .. } | Availability::Unavailable { reason } =
                status.availability
                && status.state != ActorState::Disabled
            {
                report.last_error = Some(reason);
            }
        }
    }

    fn without_actor(&self) -> ActorReport {
        ActorReport {
            state: ActorState::Disabled,
            restarts: 0,
            last_error: None,
            mailbox_depth: 0,
            mailbox_capacity: 0,
            since: self.since,
            restart: Restart::Never,
            needs: &[],
        }
    }

    /// Takes no new requests, lets the running answers finish for `grace`, then cuts them. Gives how many were cut.
    pub(crate) async fn drain(&self, grace: Duration) -> usize {
        join_all(self.handles.iter().map(|provider| provider.drain(grace))).await.into_iter().sum()
    }
}
