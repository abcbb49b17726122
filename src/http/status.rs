//! `GET /api/status`: the daemon, its model, its actors and its store.

use super::context::RequestContext;
use super::convert;
use super::error::{self, ApiError};
use super::providers;
use super::server::Parts;
use crate::config::Settings;
use actix_web::HttpResponse;
use actix_web::web::Data;
use boca_actors::ActorReport;
use boca_api::status::{ModelCandidate, RequestCounts, StoreStatus};
use boca_api::{AgentStatus, ModelStatus, ProviderStatus, StatusResponse, millis};

pub(super) async fn show(parts: Data<Parts>, context: RequestContext) -> Result<HttpResponse, ApiError> {
    let store = parts.store.status().await.map_err(|error| context.fail(error))?;
    let settings = parts.settings.current();
    let files = settings.config_files.iter().map(|path| path.display().to_string());
    let exchanges = parts.chat.running();
    let with_provider = exchanges.iter().filter(|exchange| exchange.is_with_provider).count() as u64;
    // One that several work on counts once, which the bound below sees to.
    let running = parts.actors.model.queue().running as u64 + with_provider;
    let all = exchanges.len() as u64;
    let tree = parts.actors.tree();
    Ok(HttpResponse::Ok().json(StatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_s: parts.started.elapsed().as_secs_f64(),
        socket: parts.socket.display().to_string(),
        state_dir: settings.daemon.state_dir.display().to_string(),
        config_files: files.collect(),
        default_mode: settings.chat.mode.as_str().to_owned(),
        stopping: parts.shutdown.is_requested(),
        model: model(&parts),
        providers: providers(&parts, &settings),
        supervision: tree.strategy.as_str().to_owned(),
        agents: agents(tree.children),
        store: StoreStatus {
            path: store.directory.display().to_string(),
            size_bytes: store.size_bytes,
            n_sessions: store.n_sessions,
            n_damaged_records: store.damaged_records,
            set_aside: parts.store_report.set_aside.as_ref().map(|path| path.display().to_string()),
        },
        requests: RequestCounts { running: running.min(all), queued: all.saturating_sub(running) },
    }))
}

fn providers(parts: &Parts, settings: &Settings) -> Vec<ProviderStatus> {
    let knows_prices = |name: &str| {
        let configured = settings.providers.iter().find(|provider| provider.name() == name);
        configured.is_some_and(|provider| provider.settings.guard.prices.is_some())
    };
    let shown = |status: boca_actors::ProviderStatus| {
        let knows_prices = knows_prices(&status.name);
        providers::status(status, knows_prices)
    };
    parts.actors.providers().into_iter().map(shown).collect()
}

fn model(parts: &Parts) -> ModelStatus {
    let status = parts.actors.model.status();
    let candidate = |tried: &crate::config::TriedModel| ModelCandidate {
        path: tried.path.clone(),
        from: tried.from.to_owned(),
        outcome: tried.outcome.clone(),
    };
    let mut tried: Vec<ModelCandidate> = parts.tried.iter().map(candidate).collect();
    if status.failure.is_some() && status.info.is_none() {
        // It was never loaded; `error` says why.
        if let Some(taken) = tried.last_mut() {
            taken.outcome = "cannot be loaded".to_owned();
        }
    }
    ModelStatus {
        state: status.state.to_string(),
        info: status.info.map(convert::model_info),
        tried,
        progress: status.progress.as_ref().map(convert::load_progress),
        engine_pid: parts.actors.model.engine_process(),
        memory_level: parts.actors.model.memory_level().as_str().to_owned(),
        error: status.failure.as_ref().map(error::detail),
    }
}

fn agents(children: Vec<(String, ActorReport)>) -> Vec<AgentStatus> {
    let report = |(name, report): (String, ActorReport)| AgentStatus {
        name,
        state: report.state.to_string(),
        restarts: report.restarts,
        last_error: report.last_error,
        mailbox_depth: report.mailbox_depth as u64,
        mailbox_capacity: report.mailbox_capacity as u64,
        // A clock that was set back shows no time at all.
        in_state_ms: millis(report.since.elapsed().unwrap_or_default()),
        restart: report.restart.as_str().to_owned(),
        needs: report.needs.iter().map(|need| (*need).to_owned()).collect(),
    };
    children.into_iter().map(report).collect()
}
