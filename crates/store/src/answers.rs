//! What the store keeps of answers and providers beyond conversations: the record behind the running comparison, and
//! what each provider used on each day. No text of a question or an answer is in here.

use boca_core::{ErrorCode, LocalDay, MicroUsd, RequestId, SourceRole, SourceState, Strategy, Usage};
use std::time::Duration;

/// The most answer records that are kept; a new one then takes the place of the oldest.
pub const MAX_ANSWER_RECORDS: u64 = 10_000;
/// How long a provider's usage of one day is kept, in days.
pub const USAGE_DAYS: u32 = 400;

/// The day as a number that sorts like the day: 20261122.
pub(crate) fn day_number(day: LocalDay) -> u32 {
    let year = u32::try_from(day.year).unwrap_or(0);
    year * 10_000 + u32::from(day.month) * 100 + u32::from(day.day)
}

/// A number that no day within [`USAGE_DAYS`] before this one is below. Months count 31 days here, so a few days more
/// are kept than promised and never one fewer.
pub(crate) fn oldest_kept(day: LocalDay) -> u32 {
    let year = u32::try_from(day.year).unwrap_or(0);
    let days = year * 372 + u32::from(day.month.saturating_sub(1)) * 31 + u32::from(day.day);
    let oldest = days.saturating_sub(USAGE_DAYS + 10);
    let (year, rest) = (oldest / 372, oldest % 372);
    year * 10_000 + (rest / 31 + 1) * 100 + rest % 31
}

/// What a person thinks of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It helped.
    Good,
    /// It did not.
    Bad,
}

impl Verdict {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Good, Self::Bad];

    /// The name on the wire and on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// How one answer came about: an entry of the running comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerRecord {
    /// The request that it answers.
    pub request_id: RequestId,
    /// When it was stored, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// The mode that held in the end.
    pub mode: String,
    /// How one answer came out of several, where there were several.
    pub strategy: Option<Strategy>,
    /// The provider whose text is the answer; `None` for merged text and when there is no answer.
    pub chosen: Option<String>,
    /// Everyone who was asked.
    pub sources: Vec<SourceRecord>,
    /// What a person thinks of it.
    pub verdict: Option<Verdict>,
}

/// One provider's part in an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRecord {
    /// The provider's name.
    pub provider: String,
    /// What it was asked to do.
    pub role: SourceRole,
    /// How it ended.
    pub state: SourceState,
    /// Why it failed.
    pub failure: Option<ErrorCode>,
    /// From the moment it was asked to its first token.
    pub first_token: Option<Duration>,
    /// From the moment it was asked to its end.
    pub total: Option<Duration>,
    /// Tokens that it counted.
    pub usage: Usage,
    /// What it cost, where prices are known.
    pub cost: Option<MicroUsd>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(year: i16, month: u8, day: u8) -> LocalDay {
        LocalDay { year, month, day }
    }

    #[test]
    fn days_sort_as_they_come() {
        assert_eq!(day_number(day(2026, 11, 22)), 20_261_122);
        assert!(day_number(day(2026, 12, 31)) < day_number(day(2027, 1, 1)));
    }

    proptest! {
        #[test]
        fn what_is_kept_reaches_back_far_enough_and_not_for_ever(year in 2020_i16..2100, month in 1_u8..=12, of_month in 1_u8..=28) {
            let today = day(year, month, of_month);
            // 400 days are less than a year and two months, and more than a year.
            prop_assert!(day_number(day(year - 1, month, of_month)) >= oldest_kept(today));
            prop_assert!(day_number(day(year - 2, month, of_month)) < oldest_kept(today));
        }
    }
}
