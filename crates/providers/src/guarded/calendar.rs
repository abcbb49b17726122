//! Which day it is where the daemon lives.

use boca_core::LocalDay;
use std::fmt;
use std::time::Duration;

/// A day, and how much of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Today {
    /// The day.
    pub day: LocalDay,
    /// Time until the next local midnight.
    pub until_midnight: Duration,
}

/// Tells the day. Tests bring their own.
pub trait Calendar: fmt::Debug + Send + Sync {
    /// The day, now.
    fn today(&self) -> Today;
}

/// The calendar of this system's time zone.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemCalendar;

impl Calendar for SystemCalendar {
    fn today(&self) -> Today {
        let now = jiff::Zoned::now();
        let date = now.date();
        let day = LocalDay {
            year: date.year(),
            month: date.month().unsigned_abs(),
            day: date.day().unsigned_abs(),
        };
        // The day that follows begins where this zone says, which is not midnight on every day of every zone. Beyond
        // the last day that there is, an hour is as good as any time.
        let midnight = now.tomorrow().and_then(|tomorrow| tomorrow.start_of_day());
        let left = midnight.ok().and_then(|midnight| now.duration_until(&midnight).try_into().ok());
        Today { day, until_midnight: left.unwrap_or(Duration::from_secs(3600)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_within_twenty_five_hours() {
        let today = SystemCalendar.today();
        assert!(today.day.year >= 2026 && (1..=12).contains(&today.day.month));
        assert!(!today.until_midnight.is_zero() && today.until_midnight <= Duration::from_secs(25 * 3600));
    }
}
