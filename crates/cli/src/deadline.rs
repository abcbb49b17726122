//! The deadline that `--deadline` sets, and how long a client waits because of it.

use std::time::Duration;

/// How long the daemon may take beyond a deadline until a whole answer is there, and without one.
const BEYOND: Duration = Duration::from_secs(45);
const WITHOUT_DEADLINE: Duration = Duration::from_secs(3600);

/// The field of a request.
pub(crate) fn field(deadline: Option<Duration>) -> Option<u64> {
    deadline.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// How long a whole answer is waited for.
pub(crate) fn wait(deadline: Option<Duration>) -> Duration {
    deadline.map_or(WITHOUT_DEADLINE, |deadline| deadline.saturating_add(BEYOND))
}
