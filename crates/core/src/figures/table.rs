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
        let names = self.names.iter().filter(|name| !name.is_empty());
        names.flat_map(|name| text.match_indices(name).map(|(at, found)| at..at + found.len())).collect()
    }

    fn has(&self, written: &Written) -> bool {
        self.figures.iter().any(|figure| {
            let units: &[f64] = match (written.unit, figure.quantity) {
                (Some((quantity, unit)), own) if quantity == own => &[unit],
                (Some(_), _) => return false,
                // Without a unit it may be any that people leave out.
                (None, Quantity::Seconds) => &[1.0, 1e-3],
                (None, Quantity::Ratio) => &[1.0, 0.01],
                (None, Quantity::Bytes) => &[1.0, 1e6, 1e9],
                (None, _) => &[1.0],
            };
            units.iter().any(|unit| is_shown(figure.value.abs() / unit, written))
        })
    }
}

/// Whether a value, to the digits that were written, is what was written.
fn is_shown(value: f64, written: &Written) -> bool {
    // What lies on the border may have been rounded to either side, and is never quite on it.
    let slack = 1e-12 * value.max(1.0);
    (value - written.value).abs() <= written.half_digit + slack
}

/// The number of a list's entry: `1.` or `2)` where a line begins.
fn is_mark(text: &str, written: &Written) -> bool {
    let begins_line = text[..written.start].rsplit('\n').next().is_none_or(|begin| begin.trim().is_empty());
    let is_whole = written.unit.is_none() && written.half_digit == 0.5;
    begins_line
        && is_whole
        && (text[written.end..].starts_with(". ") || text[written.end..].starts_with(") "))
}

/// "95th percentile"
fn is_percentile(text: &str, written: &Written) -> bool {
    let rest = text[written.end..].trim_start_matches("th").trim_start_matches([' ', '-']);
    rest.starts_with("percentile") && PERCENTILES.contains(&written.value)
}
