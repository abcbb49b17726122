//! The instants at which a job runs.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use std::time::Duration;

/// Slots of one job are never closer than this.
const SHORTEST_GAP: Duration = Duration::from_secs(10);
/// The longest interval.
const LONGEST_INTERVAL: Duration = Duration::from_secs(366 * 24 * 3600);
/// How many gaps of a cron expression are looked at: as many as an hour can have that are long enough, so that these hold
/// every pattern of seconds and minutes.
const GAPS_LOOKED_AT: usize = 361;

/// When a job runs.
#[derive(Debug, Clone)]
pub struct Timetable(Times);

#[derive(Debug, Clone)]
enum Times {
    /// The wall clock of a place.
    Cron { cron: Box<Cron>, zone: TimeZone },
    /// The multiples of so many seconds since 1970, so that they are the same after every restart.
    Every(i64),
}

/// A timetable that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTimetable {
    /// Not a cron expression.
    #[error(
        "must be a cron expression of five fields, or of six with seconds first, got {expression:?}: {reason}"
    )]
    Cron {
        /// What was given.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Such as the 31st of February.
    #[error("must come at some time, and {0:?} never does")]
    Never(String),
    /// It would run all the time.
    #[error("must not come more often than every {least} s, and {0:?} does", least = SHORTEST_GAP.as_secs())]
    TooOften(String),
    /// An interval out of bounds.
    #[error(
        "must be whole seconds from {least} s to {most} days, got {0:?}",
        least = SHORTEST_GAP.as_secs(),
        most = LONGEST_INTERVAL.as_secs() / (24 * 3600)
    )]
    Interval(Duration),
}

impl Timetable {
    /// The times of a cron expression on the wall clock of `zone`; `from` is any time, from which on they are checked.
    ///
    /// Where the clock goes forward, a fixed time (one hour, one minute) in the hour that is skipped comes at its end; where it
    /// goes back, a fixed time in the hour that comes twice comes in the first. What repeats (`*`, ranges, steps, lists) has no
    /// slot in the hour that is skipped, and slots in both of those that come twice.
    ///
    /// # Errors
    /// [`BadTimetable`]
    pub fn cron(expression: &str, zone: TimeZone, from: Timestamp) -> Result<Self, BadTimetable> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| BadTimetable::Cron {
            expression: expression.to_owned(),
            reason: error.to_string(),
        })?;
        let timetable = Self(Times::Cron { cron: Box::new(cron), zone });
        let mut at = timetable.next_after(from).ok_or_else(|| BadTimetable::Never(expression.to_owned()))?;
        for _ in 0..GAPS_LOOKED_AT {
            let Some(next) = timetable.next_after(at) else { break };
            if next.duration_since(at).unsigned_abs() < SHORTEST_GAP {
                return Err(BadTimetable::TooOften(expression.to_owned()));
            }
            at = next;
        }
        Ok(timetable)
    }

    /// Every so often.
    ///
    /// # Errors
    /// [`BadTimetable::Interval`]
    pub fn every(interval: Duration) -> Result<Self, BadTimetable> {
        let is_possible =
            (SHORTEST_GAP..=LONGEST_INTERVAL).contains(&interval) && interval.subsec_nanos() == 0;
        if is_possible {
            Ok(Self(Times::Every(interval.as_secs() as i64)))
        } else {
            Err(BadTimetable::Interval(interval))
        }
    }

    /// The first slot after this time; `None` when there is none before the calendar ends.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Times::Cron { cron, zone } => next_of(cron, zone, at),
            Times::Every(seconds) => {
                let n = at.as_second().div_euclid(*seconds) + 1;
                Timestamp::from_second(n.checked_mul(*seconds)?).ok()
            }
        }
    }

    /// The slots after one time, up to and with another, in order.
    pub fn between(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.next_after(after), |at| self.next_after(*at))
            .take_while(move |at| *at <= until)
    }
}

/// The search gives up at a time that a zone left out together with the hours around it, as some did with a whole day. It is
/// taken up again behind that, by hours, days and months.
fn next_of(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let days = (2..=32).chain((60..=390).step_by(30));
    let mut later = (0..=26).chain(days.map(|days| days * 24)).map(SignedDuration::from_hours);
    later.find_map(|later| {
        let from = after.checked_add(later).ok()?.to_zoned(zone.clone());
        let next: Zoned = cron.find_next_occurrence(&from, !later.is_zero()).ok()?;
        Some(next.timestamp()).filter(|next| *next > after)
    })
}
