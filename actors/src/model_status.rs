//! What is known of the model without asking it.

use crate::generation_queue::{QueueReport, RequestReport};
use arc_swap::ArcSwap;
use boca_core::{ActorState, ErrorCode, Failure, LoadProgress, ModelInfo};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A guess for a load that has not told its size yet.
const UNKNOWN_LOAD_TIME: Duration = Duration::from_secs(5);
/// Nobody should be told to come back later than this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The model, as status, readiness and the synthesizer see it. Reading it never waits.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelStatus {
    /// What the model is doing.
    pub state: ActorState,
    /// What is loaded, or was before the last failure.
    pub info: Option<ModelInfo>,
    /// How far loading has come, while it is being loaded.
    pub progress: Option<LoadProgress>,
    /// Why it is down, or is being restarted.
    pub failure: Option<Failure>,
    /// How often its engine was started again.
    pub engine_restarts: u64,
}

/// Everything that the model actor shows.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelObservation {
    /// The model.
    pub status: ModelStatus,
    /// Its queue in figures.
    pub queue: QueueReport,
    /// Its running and waiting requests, oldest first.
    pub requests: Vec<RequestReport>,
}

/// The published status, written by the model actor and its engine's thread, read by everyone.
#[derive(Debug)]
pub(crate) struct StatusCell {
    published: ArcSwap<Published>,
    /// Writers take turns, so that none undoes the other's change.
    writers: Mutex<()>,
}

#[derive(Debug, Clone)]
struct Published {
    status: ModelStatus,
    next_start: Option<Instant>,
}

impl Default for StatusCell {
    fn default() -> Self {
        let status = ModelStatus {
            state: ActorState::Starting,
            info: None,
            progress: None,
            failure: None,
            engine_restarts: 0,
        };
        let published = Published { status, next_start: None };
        Self { published: ArcSwap::from_pointee(published), writers: Mutex::default() }
    }
}

impl StatusCell {
    pub(crate) fn get(&self) -> ModelStatus {
        self.published.load().status.clone()
    }

    pub(crate) fn state(&self) -> ActorState {
        self.published.load().status.state
    }

    pub(crate) fn starting(&self) {
        self.change(|published| {
            published.status.state = ActorState::Starting;
            published.status.progress = None;
            published.next_start = None;
        });
    }

    pub(crate) fn loading(&self, progress: LoadProgress) {
        self.change(|published| {
            published.status.state = ActorState::Loading;
            published.status.progress = Some(progress);
        });
    }

    pub(crate) fn ready(&self, info: ModelInfo) {
        self.change(|published| {
            published.status = ModelStatus {
                state: ActorState::Ready,
                info: Some(info),
                progress: None,
                failure: None,
                engine_restarts: published.status.engine_restarts,
            };
        });
    }

    pub(crate) fn restarting(&self, failure: Failure, next_start: Instant) {
        self.change(|published| {
            published.status.state = ActorState::Restarting;
            published.status.progress = None;
            published.status.failure = Some(failure);
            published.status.engine_restarts += 1;
            published.next_start = Some(next_start);
        });
    }

    /// Down; from `next_try` on, where there is one, a request may try whether that has changed.
    pub(crate) fn down(&self, failure: Failure, next_try: Option<Instant>) {
        self.change(|published| {
            published.status.state = ActorState::Down;
            published.status.progress = None;
            published.status.failure = Some(failure);
            published.next_start = next_try;
        });
    }

    /// Whether the model is down, and a request should try whether that has changed.
    pub(crate) fn is_worth_a_try(&self, now: Instant) -> bool {
        let published = self.published.load();
        published.status.state == ActorState::Down && published.next_start.is_some_and(|at| now >= at)
    }

    /// The weights are not in memory, for this reason; what was loaded stays known.
    pub(crate) fn unloaded(&self, reason: Failure) {
        self.change(|published| {
            published.status.state = ActorState::Unloaded;
            published.status.progress = None;
            published.status.failure = Some(reason);
        });
    }

    /// What a request is told that waited for the model until its deadline.
    pub(crate) fn not_ready(&self, now: Instant) -> Failure {
        let published = self.published.load();
        let status = &published.status;
        match status.state {
            ActorState::Restarting => {
                let reason = status.failure.as_ref().map_or("unknown reason", |failure| &failure.message);
                let wait =
                    published.next_start.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
                Failure::new(ErrorCode::Restarting, format!("the engine is being restarted: {reason}"))
                    .retry_after(wait.max(Duration::from_secs(1)))
            }
            _ => {
                let message = match &status.progress {
                    Some(LoadProgress { done_bytes, total_bytes, .. }) if *total_bytes > 0 => {
                        format!("the model is still being loaded ({done_bytes} of {total_bytes} bytes)")
                    }
                    _ => "the model is still being loaded".to_owned(),
                };
                Failure::new(ErrorCode::ModelLoading, message)
                    .retry_after(remaining_load_time(status.progress.as_ref()))
            }
        }
    }

    fn change(&self, edit: impl FnOnce(&mut Published)) {
        let _turn = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut published = Published::clone(&self.published.load());
        edit(&mut published);
        self.published.store(Arc::new(published));
    }
}

/// How much longer a load will take if it goes on as it went so far.
pub fn remaining_load_time(progress: Option<&LoadProgress>) -> Duration {
    let estimate = progress.and_then(|progress| {
        let (done, total) = (progress.done_bytes as f64, progress.total_bytes as f64);
        let seconds = progress.elapsed.as_secs_f64() * (total - done).max(0.0) / done;
        (done > 0.0).then(|| seconds.clamp(1.0, LONGEST_RETRY_AFTER.as_secs_f64()))
    });
    estimate.map_or(UNKNOWN_LOAD_TIME, Duration::from_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::LoadPhase;

    fn progress(done_bytes: u64, total_bytes: u64, elapsed_s: u64) -> LoadProgress {
        let elapsed = Duration::from_secs(elapsed_s);
        LoadProgress { phase: LoadPhase::Reading, done_bytes, total_bytes, elapsed }
    }

    #[test]
    fn the_rest_of_a_load_is_extrapolated() {
        let rest = |p| remaining_load_time(Some(&p)).as_secs();
        assert_eq!(rest(progress(10, 40, 5)), 15);
        assert_eq!(rest(progress(40, 40, 5)), 1);
        assert_eq!(rest(progress(1, u64::MAX, 60)), 600);
        assert_eq!(rest(progress(0, 40, 5)), 5);
        assert_eq!(rest(progress(50, 40, 5)), 1);
        assert_eq!(remaining_load_time(None), UNKNOWN_LOAD_TIME);
    }

    #[test]
    fn a_waiting_request_learns_why_and_when_to_come_back() {
        let cell = StatusCell::default();
        cell.loading(progress(10, 40, 5));
        let now = Instant::now();
        let failure = cell.not_ready(now);
        assert_eq!(failure.code, ErrorCode::ModelLoading);
        assert!(failure.message.ends_with("(10 of 40 bytes)"), "{failure}");
        assert_eq!(failure.retry_after, Some(Duration::from_secs(15)));

        cell.restarting(Failure::new(ErrorCode::EngineFailed, "boom"), now + Duration::from_secs(7));
        let failure = cell.not_ready(now);
        assert_eq!(failure.code, ErrorCode::Restarting);
        assert!(failure.message.ends_with("boom"), "{failure}");
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
    }
}
