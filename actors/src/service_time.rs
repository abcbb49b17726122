//! How much of the engine's time a request takes, as moving means, and what that says of a wait.
//!
//! Of each second that the engine works, everyone who runs in it has an equal share. The shares of all requests
//! together are then the time that the engine worked, however many ran at once, so the mean share of a request is one
//! over the throughput, and what waits takes as long as there are shares in it.

use boca_core::Priority;
use std::time::{Duration, Instant};

/// How much the newest measurement counts at least: the mean follows a change of load within some twenty requests, and
/// a mixture of short and long ones shakes it little.
const WEIGHT_OF_NEWEST: f64 = 0.05;
/// A guess before the first measurement.
const UNKNOWN: Duration = Duration::from_secs(5);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// The measurements.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ServiceTime {
    /// What one who ran all the time would have had by `as_of`.
    handed_out: Duration,
    as_of: Option<Instant>,
    n_running: u32,
    interactive: Mean,
    background: Mean,
}

/// A mean in which old values fade.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    value: Duration,
    n_values: u32,
}

/// Where the engine's time stood when a request began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share(Duration);

impl ServiceTime {
    /// From now on this many run.
    pub(crate) fn now_run(&mut self, n_running: usize, now: Instant) {
        self.handed_out = self.handed_out_at(now);
        self.as_of = Some(now);
        self.n_running = u32::try_from(n_running).unwrap_or(u32::MAX);
    }

    /// The share of a request that begins now.
    pub(crate) fn begin(&self, now: Instant) -> Share {
        Share(self.handed_out_at(now))
    }

    /// What a request has had of the engine's time since it began.
    pub(crate) fn spent(&self, share: Share, now: Instant) -> Duration {
        self.handed_out_at(now).saturating_sub(share.0)
    }

    /// Counts a request that has ended.
    pub(crate) fn add(&mut self, priority: Priority, spent: Duration) {
        let mean = match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Background => &mut self.background,
        };
        mean.add(spent);
    }

    /// The mean of a request of this priority; of the others when there was none yet.
    pub(crate) fn mean(&self, priority: Priority) -> Option<Duration> {
        let (first, second) = match priority {
            Priority::Interactive => (self.interactive, self.background),
            Priority::Background => (self.background, self.interactive),
        };
        first.get().or(second.get())
    }

    fn handed_out_at(&self, now: Instant) -> Duration {
        let since = self.as_of.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if self.n_running == 0 { self.handed_out } else { self.handed_out + since / self.n_running }
    }
}

impl Mean {
    fn add(&mut self, value: Duration) {
        self.n_values = self.n_values.saturating_add(1);
        let weight = WEIGHT_OF_NEWEST.max(1.0 / f64::from(self.n_values));
        self.value = self.value.mul_f64(1.0 - weight) + value.mul_f64(weight);
    }

    fn get(self) -> Option<Duration> {
        (self.n_values > 0).then_some(self.value)
    }
}

/// A wait as advice for a retry.
pub(crate) fn advice(wait: Duration) -> Duration {
    wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

/// The guess at a request's share before anything was measured, with this many at once.
pub(crate) fn guess(max_running: usize) -> Duration {
    UNKNOWN / u32::try_from(max_running.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn means_follow_and_stand_in_for_each_other() {
        let mut time = ServiceTime::default();
        assert_eq!(time.mean(Priority::Interactive), None);
        time.add(Priority::Background, s(4));
        assert_eq!(time.mean(Priority::Interactive), Some(s(4)));
        time.add(Priority::Interactive, s(10));
        time.add(Priority::Interactive, s(20));
        assert_eq!(time.mean(Priority::Interactive), Some(s(15)));
        assert_eq!(time.mean(Priority::Background), Some(s(4)));
        for _ in 0..100 {
            time.add(Priority::Interactive, s(1));
        }
        assert!(time.mean(Priority::Interactive).unwrap() < s(2));
    }

    #[test]
    fn advice_has_bounds() {
        assert_eq!(advice(Duration::ZERO), SHORTEST_WAIT);
        assert_eq!(advice(s(12)), s(12));
        assert_eq!(advice(Duration::MAX), LONGEST_WAIT);
        assert_eq!(guess(4), Duration::from_millis(1250));
    }

    #[test]
    fn those_who_run_share_the_time() {
        let began = Instant::now();
        let mut time = ServiceTime::default();
        time.now_run(1, began);
        let alone = time.begin(began);
        time.now_run(2, began + s(4));
        let second = time.begin(began + s(4));
        assert_eq!(time.spent(alone, began + s(10)), s(7));
        assert_eq!(time.spent(second, began + s(10)), s(3));
        time.now_run(0, began + s(10));
        assert_eq!(time.spent(second, began + s(1000)), s(3), "an idle engine spends nothing");
    }

    /// An engine in which up to `max_running` share each step, and which does more in all the more there are. Long and
    /// short requests take turns. Yields how long it took from the moment when `n_left` were left, and what was
    /// predicted for it then.
    fn drained(
        max_running: usize,
        lengths: &[u64],
        n_requests: usize,
        n_left: usize,
    ) -> (Duration, Duration) {
        let began = Instant::now();
        let step = Duration::from_millis(10);
        let mut time = ServiceTime::default();
        let mut waiting: Vec<u64> = (0..n_requests).map(|n| lengths[n % lengths.len()]).rev().collect();
        let mut running: Vec<(f64, Share)> = Vec::new();
        let (mut now, mut asked) = (began, None);
        loop {
            while running.len() < max_running && !waiting.is_empty() {
                let length = waiting.pop().unwrap();
                time.now_run(running.len() + 1, now);
                running.push((length as f64, time.begin(now)));
            }
            if running.is_empty() {
                let (at, predicted): (Instant, Duration) = asked.expect("enough were left");
                return (now - at, predicted);
            }
            if asked.is_none() && waiting.len() + running.len() <= n_left {
                let mean = time.mean(Priority::Interactive).unwrap();
                let left = running.iter().map(|(_, share)| mean.saturating_sub(time.spent(*share, now)));
                let wait = left.sum::<Duration>() + mean * waiting.len() as u32;
                asked = Some((now, wait));
            }
            // Two at once are 1.4 times as fast together as one alone, four are twice as fast.
            let speed_of_each = (running.len() as f64).sqrt() / running.len() as f64;
            now += step;
            for (left, _) in &mut running {
                *left -= speed_of_each;
            }
            let ended: Vec<Share> = running.iter().filter(|(left, _)| *left <= 0.0).map(|r| r.1).collect();
            for share in ended {
                time.add(Priority::Interactive, time.spent(share, now));
            }
            running.retain(|(left, _)| *left > 0.0);
            time.now_run(running.len(), now);
        }
    }

    #[test]
    fn what_is_predicted_for_a_queue_is_what_it_takes() {
        for max_running in [1, 2, 4, 8] {
            // Where one in many is long, a short queue holds too few of them for a mean to say much.
            for (lengths, n_left) in [
                (&[100][..], 16),
                (&[100], 80),
                (&[50, 100, 150], 16),
                (&[20, 400], 80),
                (&[10, 10, 10, 10, 10, 10, 10, 500], 160),
            ] {
                let (took, predicted) = drained(max_running, lengths, 400, n_left);
                let error = predicted.as_secs_f64() / took.as_secs_f64() - 1.0;
                assert!(
                    error.abs() < 0.35,
                    "{max_running} at once of {lengths:?}, {n_left} left: took {took:?}, predicted {predicted:?}"
                );
            }
        }
    }
}
