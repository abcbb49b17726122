//! Figures with their names.

use super::number::{Written, numbers};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a figure measures, and in which unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// A number of things: requests, tokens, failures.
    Count,
    /// A time, in seconds.
    Seconds,
    /// A part of a whole, of which 1 is all.
    Ratio,
    /// Money, in US dollars.
    Usd,
    /// A size, in bytes.
    Bytes,
    /// Things per second.
    PerSecond,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is of.
    pub name: String,
    /// What it measures.
    pub quantity: Quantity,
    /// How much, in the quantity's unit.
    pub value: f64,
}

/// Figures that a text may name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// All of them.
    pub figures: Vec<Figure>,
    /// Names with digits that are no figures: models, dates.
    pub names: Vec<String>,
}

/// A number that is none of the figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownNumber {
    /// Where it stands in the text, with its unit.
    pub range: Range<usize>,
    /// As it was written.
    pub written: String,
}

/// Percentiles that are spoken of by number.
const PERCENTILES: [f64; 5] = [50.0, 90.0, 95.0, 99.0, 99.9];

impl Figures {
    /// The numbers of a text that are none of the figures, to the digits that they show. Signs are not looked at: a text says
    /// "fell by 3 %" of -3 %.
    pub fn unknown_numbers(&self, text: &str) -> Vec<UnknownNumber> {
        let named = self.named(text);
        let is_named = |written: &Written| {
            named.iter().any(|name| {
                name.contains(&written.start) || written.start < name.start && name.start < written.end
            })
        };
        let unknown = numbers(text).into_iter().filter(|written| {
            !is_named(written)
                && !is_mark(text, written)
                && !is_percentile(text, written)
                && !self.has(written)
        });
        let told = |written: Written| {
            let range = written.start..written.end;
            UnknownNumber { written: text[range.clone()].to_owned(), range }
        };
        unknown.map(told).collect()
    }

    /// Where the text has a name.
    fn named(&self, text: &str) -> Vec<Range<usize>> {
        // Letters of ASCII alone change, so that every place stays where it is.
        let text = text.to_ascii_lowercase();
        let mut named = Vec::new();
        for name in self.names.iter().filter(|name| !name.is_empty()) {
            let name = name.to_ascii_lowercase();
            let found = text.match_indices(&name).map(|(at, _)| at..at + name.len());
            named.extend(found.filter(|range| is_whole(&text, range)));
        }
        named
    }

    fn has(&self, written: &Written) -> bool {
        self.figures.iter().any(|figure| {
            let unit = match (written.unit, figure.quantity) {
                (Some((quantity, unit)), own) if quantity == own => unit,
                (None, Quantity::Count) => 1.0,
                // A whole number without a unit is a number of things.
                (None, _) if written.half_digit < 0.5 => 1.0,
                _ => return false,
            };
            is_shown(figure.value.abs() / unit, written)
        })
    }
}

/// Whether a value, to the digits that were written, is what was written.
fn is_shown(value: f64, written: &Written) -> bool {
    // What lies on the border may have been rounded to either side, and is never quite on it.
    let slack = 1e-12 * value.max(1.0);
    (value - written.value).abs() <= written.half_digit + slack
}

/// Whether a name ends where it was found to: `gemini-2` is not in `gemini-25`, nor in `gemini-2.5`.
fn is_whole(text: &str, range: &Range<usize>) -> bool {
    let mut rest = text[range.end..].chars();
    let next = rest.next();
    let goes_on = next.is_some_and(char::is_alphanumeric)
        || (next.is_some_and(|c| ".-_".contains(c)) && rest.next().is_some_and(|c| c.is_ascii_digit()));
    !goes_on && !text[..range.start].ends_with(char::is_alphanumeric)
}

/// The number of a list's entry: `1.` or `2)` where a line begins.
fn is_mark(text: &str, written: &Written) -> bool {
    let line = text[..written.start].rsplit('\n').next().unwrap_or_default();
    let begins_line = line.chars().all(|c| c.is_whitespace() || "#>*-".contains(c));
    let is_small =
        written.is_digits && written.unit.is_none() && written.half_digit == 0.5 && written.value < 100.0;
    let rest = text[written.end..].strip_prefix(['.', ')']);
    begins_line
        && is_small
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// "95th percentile"
fn is_percentile(text: &str, written: &Written) -> bool {
    let rest = text[written.end..].trim_start_matches("th").trim_start_matches([' ', '-']);
    rest.starts_with("percentile") && PERCENTILES.contains(&written.value)
}
