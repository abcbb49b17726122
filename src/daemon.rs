//! The daemon from start to stop: socket → store → actors → HTTP, and the same way back.
//!
//! The socket comes first, so that a second daemon is refused before it touches anything. Nothing is answered before
//! the store is open; everything but questions is answered while the weights load.

use crate::batch::BatchService;
use crate::chat::ChatService;
use crate::comparison::Comparison;
use crate::config::{ModelChoice, Settings, SharedSettings, SupervisionSettings, TriedModel};
use crate::engine::LocalModel;
use crate::exit::Exit;
use crate::http::{self, BoundSocket, HttpServerHandle, ListenError, Parts};
use crate::ledger::StoreLedger;
use crate::service_manager;
use crate::signals::{Shutdown, ShutdownTrigger};
use boca_actors::{
    Actors, ActorsOptions, Backoff, Escalation, MemoryOptions, ModelStatus, ProviderSettings, RestartPolicy,
    Supervision,
};
use boca_core::ActorState;
use boca_store::{OpenReport, Store, StoreError, StoreOptions};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Where the store lies in the state directory.
const STORE_DIRECTORY: &str = "store";
/// How long answers may take to be stored once every generation has ended.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// The grace of running questions when the daemon ends because something is broken.
const BROKEN_GRACE: Duration = Duration::from_secs(2);
/// How often a change of the model's state is looked for, to tell the service manager.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// A daemon that could not start, or had to end.
#[derive(Debug, thiserror::Error)]
enum DaemonError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot serve {path}: {source}")]
    Serve { path: String, source: io::Error },
    #[error("the server ended by itself")]
    ServerEnded,
    #[error("the store takes no more writes: {0}")]
    StoreFatal(String),
    #[error(transparent)]
    Escalated(#[from] Escalation),
}

impl DaemonError {
    fn exit(&self) -> Exit {
        match self {
            Self::Listen(_) | Self::Store(StoreError::Locked { .. }) => Exit::Unavailable,
            Self::Store(_) | Self::Serve { .. } | Self::ServerEnded | Self::StoreFatal(_) => Exit::Failed,
            Self::Escalated(_) => Exit::SupervisionGaveUp,
        }
    }
}

/// Runs the daemon until it is asked to stop, or cannot go on. Must be called inside an actix system.
pub(crate) async fn run(
    settings: SharedSettings,
    model: ModelChoice,
    providers: Vec<ProviderSettings>,
    shutdown: Shutdown,
) -> Exit {
    match LocalModel::new(&settings.current(), model.source) {
        Ok(local) => run_with_model(settings, model.tried, local, providers, shutdown).await,
        Err(error) => {
            tracing::error!(%error, "the engine cannot be started");
            Exit::Failed
        }
    }
}

/// The same with any engine.
pub(crate) async fn run_with_model(
    settings: SharedSettings,
    tried: Vec<TriedModel>,
    model: LocalModel,
    providers: Vec<ProviderSettings>,
    shutdown: Shutdown,
) -> Exit {
    match serve(settings, tried, model, providers, shutdown).await {
        Ok(()) => {
            tracing::info!("stopped");
            Exit::Done
        }
        Err(error) => {
            tracing::error!(%error, "the daemon ends");
            error.exit()
        }
    }
}

async fn serve(
    shared: SharedSettings,
    tried: Vec<TriedModel>,
    model: LocalModel,
    providers: Vec<ProviderSettings>,
    shutdown: Shutdown,
) -> Result<(), DaemonError> {
    let started = Instant::now();
    let settings = shared.current();
    let socket = BoundSocket::acquire(&settings.daemon.socket)?;
    let (store, store_report) = open_store(&settings).await?;
    let ledger = Arc::new(StoreLedger(store.clone()));
    let options = ActorsOptions { providers, ledger: Some(ledger), ..actors_options(&settings, model) };
    let actors = boca_actors::start(options);
    load_track_records(&store, &actors).await?;
    let chat = ChatService::new(
        store.clone(),
        actors.synthesizer.for_route(boca_api::routes::CHAT),
        actors.model.clone(),
        shared.clone(),
    );
    let batches = BatchService::new(
        store.clone(),
        actors.synthesizer.for_route(boca_api::routes::BATCHES),
        shared.clone(),
    );
    batches.resume().await?;
    let (stop_http, stopping) = ShutdownTrigger::new();
    let parts = Parts {
        chat: chat.clone(),
        batches: batches.clone(),
        actors: actors.clone(),
        store: store.clone(),
        store_report,
        settings: shared.clone(),
        tried,
        socket: socket.path().to_owned(),
        started,
        shutdown: stopping,
        own_uid: rustix::process::geteuid().as_raw(),
        places: Arc::new(Semaphore::new(settings.daemon.max_concurrent_requests)),
    };
    let path = socket.path().display().to_string();
    let (server, serving) =
        http::start(&socket, parts).map_err(|source| DaemonError::Serve { path: path.clone(), source })?;
    let serving = actix_rt::spawn(serving);
    service_manager::ready();
    tracing::info!(socket = path, version = env!("CARGO_PKG_VERSION"), "listening");

    let ended = tokio::select! {
        () = shutdown.requested() => Ok(()),
        escalation = actors.escalated() => Err(DaemonError::Escalated(escalation)),
        reason = store.wait_until_fatal() => Err(DaemonError::StoreFatal(reason)),
        ended = serving => Err(match ended {
            Ok(Err(source)) => DaemonError::Serve { path, source },
            Ok(Ok(())) | Err(_) => DaemonError::ServerEnded,
        }),
        never = watch_model(&actors) => match never {},
    };
    stop_http.request();
    let grace = if ended.is_ok() { shared.current().daemon.drain_grace } else { BROKEN_GRACE };
    let closed = drain(Running { actors, chat, batches, server, socket, store }, grace).await;
    ended.and(closed)
}

async fn open_store(settings: &Settings) -> Result<(Store, OpenReport), StoreError> {
    let directory = settings.daemon.state_dir.join(STORE_DIRECTORY);
    let options = StoreOptions {
        cache_bytes: settings.store.cache_bytes,
        ..StoreOptions::new(env!("CARGO_PKG_VERSION"), crate::chat::now_unix_ms())
    };
    let (store, report) = Store::open(&directory, options).await?;
    tell_of_opening(&report);
    Ok((store, report))
}

/// Says what a person should know of the store; a clean opening is nothing to know.
fn tell_of_opening(report: &OpenReport) {
    let cause = report.cause.as_deref().unwrap_or("unknown");
    if let Some(kept) = &report.set_aside {
        tracing::error!(kept = %kept.display(), cause, "the store could not be opened; a fresh one was begun");
    }
    if let Some(kept) = &report.snapshots_moved_to {
        tracing::warn!(kept = %kept.display(), cause, "the store was opened without its snapshots; nothing is lost");
    }
    if report.damaged_records > 0 {
        tracing::warn!(count = report.damaged_records, "damaged records are set aside in the store");
    }
    if let Some(format) = report.migrated_from {
        tracing::info!(from = format, "the store was migrated");
    }
    if report.created {
        tracing::info!("the store is new");
    }
}

/// Every request that is served at the same time may have a call to one actor, and one to take it back.
fn mailbox_capacity(max_concurrent_requests: usize) -> usize {
    const LEAST: usize = 64;
    max_concurrent_requests.saturating_mul(2).max(LEAST)
}

fn actors_options(settings: &Settings, model: LocalModel) -> ActorsOptions {
    ActorsOptions {
        prompts: model.prompts,
        stuck_after: settings.model.stuck_after,
        probe_every: settings.model.probe_every,
        supervision: supervision(&settings.supervision),
        queue_limit: settings.model.queue_limit,
        max_running: settings.model.max_running,
        mailbox_capacity: mailbox_capacity(settings.daemon.max_concurrent_requests),
        fusion: settings.fusion.clone(),
        memory: MemoryOptions { keep_alive: settings.model.keep_alive, ..MemoryOptions::default() },
        ..ActorsOptions::new(model.engine)
    }
}

/// Tells what is on record of the providers from earlier runs, for selecting by it.
async fn load_track_records(store: &Store, actors: &Actors) -> Result<(), StoreError> {
    let comparison = Comparison::of(&store.answers().await?);
    for (provider, figures) in &comparison.providers {
        actors.synthesizer.load_track_record(provider, figures.track_record());
    }
    Ok(())
}

fn supervision(settings: &SupervisionSettings) -> Supervision {
    let defaults = Supervision::default();
    let actors = RestartPolicy {
        max_restarts: settings.intensity,
        within: settings.window,
        backoff: Backoff {
            first: settings.backoff_first,
            longest: settings.backoff_max,
            ..defaults.actors.backoff
        },
        ..defaults.actors
    };
    // An engine takes longer to start than an actor, so the same number of failures takes longer to gather.
    let engine = RestartPolicy { within: defaults.engine.within.max(settings.window), ..actors };
    Supervision { actors, engine, ..defaults }
}

/// Tells the service manager what becomes of the model. The log has it from the model's actor.
async fn watch_model(actors: &Actors) -> std::convert::Infallible {
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = String::new();
    loop {
        ticks.tick().await;
        let line = status_line(&actors.model.status());
        if line != told {
            service_manager::status(&line);
            told = line;
        }
    }
}

/// One line on the model, the same while it changes between ready and busy.
fn status_line(status: &ModelStatus) -> String {
    let name = status.info.as_ref().map_or("the model", |info| &info.name);
    let reason = status.failure.as_ref().map_or("unknown reason", |failure| &failure.message);
    match status.state {
        ActorState::Ready | ActorState::Busy | ActorState::Degraded => format!("ready: {name}"),
        ActorState::Starting | ActorState::Loading => match &status.progress {
            Some(progress) if progress.total_bytes > 0 => {
                let [done, total] = [progress.done_bytes, progress.total_bytes].map(|bytes| bytes >> 20);
                format!("loading the model ({done} of {total} MiB)")
            }
            _ => "loading the model".to_owned(),
        },
        ActorState::Restarting => format!("restarting the engine: {reason}"),
        ActorState::Unloaded => reason.to_string(),
        ActorState::Down | ActorState::Disabled => format!("no model: {reason}"),
    }
}

/// What has to be ended, in no order.
struct Running {
    actors: Actors,
    chat: ChatService,
    batches: BatchService,
    server: HttpServerHandle,
    socket: BoundSocket,
    store: Store,
}

/// Ends everything: no new questions, running ones get `grace` and are then cancelled, every answer is stored, open
/// connections end, the socket's file goes, the store is closed. Health and status are answered until the end.
async fn drain(running: Running, grace: Duration) -> Result<(), DaemonError> {
    service_manager::stopping();
    tracing::info!(grace_ms = grace.as_millis() as u64, "draining");
    let Running { actors, chat, batches, server, socket, store } = running;
    batches.stop();
    chat.stop_idle_work();
    let report = actors.drain(grace).await;
    if report.cancelled > 0 {
        tracing::warn!(count = report.cancelled, "questions were cancelled because the grace time was over");
    }
    if !chat.idle(STORE_PATIENCE).await {
        tracing::error!("some answers could not be stored in time");
    }
    server.stop().await;
    drop(socket);
    drop(chat);
    store.close().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_actor_refuses_what_the_daemon_has_let_in() {
        for most in [1, 64, 512, usize::MAX] {
            assert!(mailbox_capacity(most) >= most.max(64));
        }
    }
}
