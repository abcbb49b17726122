//! `GET /api/metrics`: counters and percentiles. Never wakes the model, never counts as activity.

use super::context::RequestContext;
use super::error::ApiError;
use super::server::Parts;
use actix_web::HttpResponse;
use actix_web::web::Data;
use boca_actors::Distribution;
use boca_api::MetricsResponse;
use boca_api::metrics::{EngineMemory, Percentiles, RequestMetrics, TokenMetrics};
use boca_core::GeneratorLoad;
use std::time::{Duration, Instant};

/// How long the metrics actor may take.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn show(parts: Data<Parts>, context: RequestContext) -> Result<HttpResponse, ApiError> {
    let snapshot = parts.actors.metrics.snapshot(Instant::now() + PATIENCE).await;
    let snapshot = snapshot.map_err(|failure| context.fail(failure))?;
    let running = parts.actors.model.queue().running as u64;
    let all = parts.chat.running().len() as u64;
    Ok(HttpResponse::Ok().json(MetricsResponse {
        uptime_s: parts.started.elapsed().as_secs_f64(),
        requests: RequestMetrics {
            total: snapshot.by_outcome.values().sum(),
            running: running.min(all),
            queued: all.saturating_sub(running),
            by_cancellation: snapshot.by_cancellation,
            by_outcome: snapshot.by_outcome,
        },
        tokens: TokenMetrics {
            prompt_tokens: snapshot.prompt_tokens,
            cached_tokens: snapshot.cached_tokens,
            completion_tokens: snapshot.completion_tokens,
            reasoning_tokens: snapshot.reasoning_tokens,
        },
        engine_memory: parts.actors.model.generator_load().as_ref().map(engine_memory),
        queue_ms: percentiles(&snapshot.queue_ms),
        time_to_first_token_ms: percentiles(&snapshot.time_to_first_token_ms),
        total_ms: percentiles(&snapshot.total_ms),
        prefill_tokens_per_s: percentiles(&snapshot.prefill_tokens_per_s),
        decode_tokens_per_s: percentiles(&snapshot.decode_tokens_per_s),
    }))
}

fn engine_memory(load: &GeneratorLoad) -> EngineMemory {
    EngineMemory {
        kv_bytes: load.kv_bytes_in_use,
        prefix_cache_bytes: load.prefix_cache_bytes,
        active_bytes: load.accelerator.map(|memory| memory.active_bytes),
        cache_bytes: load.accelerator.map(|memory| memory.cache_bytes),
        peak_bytes: load.accelerator.map(|memory| memory.peak_bytes),
    }
}

fn percentiles(distribution: &Distribution) -> Percentiles {
    Percentiles {
        count: distribution.count,
        mean: distribution.mean,
        min: 0.0,
        p50: distribution.p50,
        p90: distribution.p90,
        p95: distribution.p95,
        p99: distribution.p99,
        max: distribution.max,
    }
}
