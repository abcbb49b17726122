//! `GET /api/compare/stats`: the running record of the providers.

use super::context::RequestContext;
use super::error::ApiError;
use super::server::Parts;
use crate::comparison::{Comparison, ProviderFigures, StrategyFigures, Verdicts, percentile};
use actix_web::HttpResponse;
use actix_web::web::Data;
use boca_api::{CompareStatsResponse, ProviderRecord, StrategyRecord, StrategyRecords, millis};
use boca_core::MicroUsd;

pub(super) async fn stats(parts: Data<Parts>, context: RequestContext) -> Result<HttpResponse, ApiError> {
    let answers = parts.store.answers().await.map_err(|error| context.fail(error))?;
    // Up to ten thousand records: not on a thread that answers requests.
    let counted = tokio::task::spawn_blocking(move || Comparison::of(&answers)).await;
    let comparison = counted.map_err(|error| {
        let message = format!("the record could not be counted: {error}");
        context.fail(boca_core::Failure::new(boca_core::ErrorCode::Internal, message))
    })?;
    Ok(HttpResponse::Ok().json(CompareStatsResponse {
        n_answers: comparison.n_answers,
        n_decided: comparison.n_decided,
        since_unix_ms: comparison.since_unix_ms,
        providers: comparison.providers.into_iter().map(|(name, figures)| provider(name, figures)).collect(),
        strategies: StrategyRecords {
            select: strategy(comparison.select),
            merge: strategy(comparison.merge),
        },
    }))
}

fn provider(name: String, figures: ProviderFigures) -> ProviderRecord {
    ProviderRecord {
        provider: name,
        asked: figures.asked,
        answered: figures.answered,
        failed: figures.failed,
        cancelled: figures.cancelled,
        failures: figures.failures.iter().map(|(code, n)| ((*code).to_owned(), *n)).collect(),
        median_ms: percentile(&figures.totals, 50).map(millis),
        p95_ms: percentile(&figures.totals, 95).map(millis),
        median_first_token_ms: percentile(&figures.first_tokens, 50).map(millis),
        candidate: figures.candidate,
        chosen: figures.chosen,
        share: (figures.candidate > 0).then(|| figures.chosen as f64 / figures.candidate as f64),
        cost_usd: figures.cost.map(MicroUsd::usd),
        verdicts: verdicts(figures.verdicts),
    }
}

fn strategy(figures: StrategyFigures) -> StrategyRecord {
    StrategyRecord { answers: figures.answers, verdicts: verdicts(figures.verdicts) }
}

fn verdicts(verdicts: Verdicts) -> boca_api::Verdicts {
    boca_api::Verdicts { good: verdicts.good, bad: verdicts.bad, good_share: verdicts.good_share() }
}
