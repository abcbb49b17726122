//! The work on one batch: a few lines at a time, each until it has a result.

use super::line::{StoredLine, ask};
use super::results;
use super::service::Shared;
use boca_core::{Answer, AnswerEvent, ErrorCode, Failure, FinishReason, RequestId, Retry};
use boca_store::{Batch, BatchResult, StoreError};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often a line is asked before its failure is its result.
const MAX_TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What a stream may take beyond its deadline to end.
const STREAM_PATIENCE: Duration = Duration::from_secs(30);

/// Answers every line that has no result.
///
/// # Errors
/// When the store fails; the lines without a result stay as they are.
pub(super) async fn run(
    shared: Arc<Shared>,
    batch: Batch,
    progress: watch::Sender<u32>,
) -> Result<(), StoreError> {
    let pending = shared.store.pending_lines(&batch).await?;
    let at_once = shared.places_in_all;
    let (shared, batch, progress) = (&shared, &batch, &progress);
    stream::iter(pending)
        .map(Ok)
        .try_for_each_concurrent(at_once, |line| async move {
            let result = result_of(shared, batch, line).await?;
            let now = crate::chat::now_unix_ms();
            shared.store.add_batch_result(&batch.id, line, result, now).await?;
            progress.send_modify(|n| *n += 1);
            Ok(())
        })
        .await
}

async fn result_of(shared: &Shared, batch: &Batch, line: u32) -> Result<BatchResult, StoreError> {
    let stored = shared.store.batch_line(&batch.id, line).await?;
    let stored = stored.and_then(|text| serde_json::from_str::<StoredLine>(&text).ok());
    let Some(stored) = stored else {
        let lost =
            StoredLine { id: boca_api::LineId::Number((line + 1).into()), number: line + 1, asks: None };
        let failure = Failure::new(ErrorCode::StoreFailed, "the question is damaged in the store");
        return Ok(results::of_failure(&lost, &failure));
    };
    let key = format!("batch:{}", batch.id);
    let mut n_tries = 0;
    loop {
        let place = shared.places.acquire().await;
        let answer = answer(shared, &stored, &key).await;
        drop(place);
        n_tries += 1;
        match answer {
            Ok(answer) => return Ok(results::of_answer(&stored, &answer)),
            Err(failure) => match pause_before_retry(&failure, n_tries) {
                Some(pause) => {
                    tracing::debug!(batch = %batch.id, line = stored.number, %failure, "a line is tried again");
                    tokio::time::sleep(pause).await;
                }
                None => return Ok(results::of_failure(&stored, &failure)),
            },
        }
    }
}

/// How long to wait before a line is asked again; `None` when that would not help, or was done often enough.
fn pause_before_retry(failure: &Failure, n_tries: u32) -> Option<Duration> {
    // Nobody can cancel a line but the daemon when it stops, and then this comes to nothing.
    let may_help = failure.code.retry() == Retry::Safe || failure.code == ErrorCode::Cancelled;
    if !may_help || n_tries >= MAX_TRIES {
        return None;
    }
    let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(n_tries.saturating_sub(1)));
    Some(pause.max(failure.retry_after.unwrap_or_default()).min(LONGEST_PAUSE))
}

async fn answer(shared: &Shared, line: &StoredLine, key: &str) -> Result<Answer, Failure> {
    let Some(asks) = &line.asks else {
        return Err(Failure::new(ErrorCode::InvalidRequest, "the line asks nothing"));
    };
    let settings = shared.settings.current();
    let ask = ask(asks, key, RequestId::from_uuid(uuid::Uuid::now_v7()), &settings.chat)?;
    let deadline = Instant::now() + ask.generate.time_left;
    let answering = async {
        let mut stream = shared.synthesizer.ask(ask, deadline).await?;
        while let Some(event) = stream.try_next().await? {
            if let AnswerEvent::Done(answer) = event {
                return Ok(*answer);
            }
        }
        Err(Failure::new(ErrorCode::Internal, "the answer ended without saying how"))
    };
    let answer = tokio::time::timeout_at((deadline + STREAM_PATIENCE).into(), answering).await;
    let answer = answer.unwrap_or_else(|_| {
        Err(Failure::new(ErrorCode::DeadlineExceeded, "the answer did not end at its deadline"))
    })?;
    if answer.finish_reason == FinishReason::Cancelled {
        return Err(Failure::new(ErrorCode::Cancelled, "the answer was cancelled"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_succeed_later_is_tried_again_a_bounded_number_of_times() {
        let of = |code, n_tries| pause_before_retry(&Failure::new(code, "x"), n_tries);
        let pauses: Vec<_> = (1..=MAX_TRIES).map(|n| of(ErrorCode::Restarting, n)).collect();
        let seconds = [1, 2, 4, 8, 16, 32, 60].map(|s| Some(Duration::from_secs(s)));
        assert_eq!(pauses[..7], seconds);
        assert_eq!(pauses[7], None);
        assert_eq!(of(ErrorCode::InvalidRequest, 1), None);
        assert_eq!(of(ErrorCode::ModelUnavailable, 1), None);
        let busy = Failure::new(ErrorCode::Overloaded, "x").retry_after(Duration::from_secs(20));
        assert_eq!(pause_before_retry(&busy, 1), Some(Duration::from_secs(20)));
        let long = busy.retry_after(Duration::from_secs(6000));
        assert_eq!(pause_before_retry(&long, 1), Some(LONGEST_PAUSE));
    }
}
