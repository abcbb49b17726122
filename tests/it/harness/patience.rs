//! Waiting for something to become true, without guessing how long it takes.

use std::time::{Duration, Instant};

/// Long enough for a debug build on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Calls `look` until it yields something. `what` is for the message of a test that waited in vain.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited {} s in vain for {what}", PATIENCE.as_secs());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
