//! Numbers as people write them.

use super::Quantity;

/// A number in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Written {
    /// Where it stands, its unit included.
    pub(super) start: usize,
    pub(super) end: usize,
    /// In the unit that it was written with.
    pub(super) value: f64,
    /// Half of its last digit.
    pub(super) half_digit: f64,
    /// What one of its unit is in the quantity's own, and the quantity; `None` where no unit says.
    pub(super) unit: Option<(Quantity, f64)>,
}

/// Words for numbers. "One" is not among them: it seldom counts.
const WORDS: [(&str, f64); 24] = [
    ("zero", 0.0),
    ("two", 2.0),
    ("three", 3.0),
    ("four", 4.0),
    ("five", 5.0),
    ("six", 6.0),
    ("seven", 7.0),
    ("eight", 8.0),
    ("nine", 9.0),
    ("ten", 10.0),
    ("eleven", 11.0),
    ("twelve", 12.0),
    ("thirteen", 13.0),
    ("fourteen", 14.0),
    ("fifteen", 15.0),
    ("twenty", 20.0),
    ("thirty", 30.0),
    ("forty", 40.0),
    ("fifty", 50.0),
    ("sixty", 60.0),
    ("seventy", 70.0),
    ("eighty", 80.0),
    ("ninety", 90.0),
    ("dozen", 12.0),
];

/// What a word after a number makes of it.
const MULTIPLES: [(&str, f64); 8] = [
    ("k", 1e3),
    ("thousand", 1e3),
    ("m", 1e6),
    ("million", 1e6),
    ("b", 1e9),
    ("billion", 1e9),
    ("hundred", 100.0),
    ("dozen", 12.0),
];

/// Units. Of several that a text could mean, the longest.
const UNITS: [(&str, Quantity, f64); 39] = [
    ("%", Quantity::Ratio, 0.01),
    ("percent", Quantity::Ratio, 0.01),
    ("per cent", Quantity::Ratio, 0.01),
    ("µs", Quantity::Seconds, 1e-6),
    ("ms", Quantity::Seconds, 1e-3),
    ("millisecond", Quantity::Seconds, 1e-3),
    ("milliseconds", Quantity::Seconds, 1e-3),
    ("s", Quantity::Seconds, 1.0),
    ("sec", Quantity::Seconds, 1.0),
    ("secs", Quantity::Seconds, 1.0),
    ("second", Quantity::Seconds, 1.0),
    ("seconds", Quantity::Seconds, 1.0),
    ("min", Quantity::Seconds, 60.0),
    ("minute", Quantity::Seconds, 60.0),
    ("minutes", Quantity::Seconds, 60.0),
    ("h", Quantity::Seconds, 3600.0),
    ("hour", Quantity::Seconds, 3600.0),
    ("hours", Quantity::Seconds, 3600.0),
    ("day", Quantity::Seconds, 86_400.0),
    ("days", Quantity::Seconds, 86_400.0),
    ("week", Quantity::Seconds, 604_800.0),
    ("weeks", Quantity::Seconds, 604_800.0),
    ("usd", Quantity::Usd, 1.0),
    ("dollar", Quantity::Usd, 1.0),
    ("dollars", Quantity::Usd, 1.0),
    ("cent", Quantity::Usd, 0.01),
    ("cents", Quantity::Usd, 0.01),
    ("kb", Quantity::Bytes, 1e3),
    ("mb", Quantity::Bytes, 1e6),
    ("gb", Quantity::Bytes, 1e9),
    ("kib", Quantity::Bytes, 1024.0),
    ("mib", Quantity::Bytes, 1_048_576.0),
    ("gib", Quantity::Bytes, 1_073_741_824.0),
    ("bytes", Quantity::Bytes, 1.0),
    ("tokens/s", Quantity::PerSecond, 1.0),
    ("tok/s", Quantity::PerSecond, 1.0),
    ("tokens per second", Quantity::PerSecond, 1.0),
    ("/s", Quantity::PerSecond, 1.0),
    ("per second", Quantity::PerSecond, 1.0),
];

/// All numbers of a text, in order.
pub(super) fn numbers(text: &str) -> Vec<Written> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let before = text[..at].chars().next_back();
        let begins_word = !before.is_some_and(is_of_word);
        let written = match next {
            // What follows a letter is a name: p95, v2.
            '0'..='9' if begins_word => Some(digits(text, at)),
            _ if begins_word && next.is_alphabetic() => word(text, at),
            _ => None,
        };
        at = match written {
            Some(written) => {
                found.push(written);
                written.end
            }
            // Past the whole word, so that no digit inside of a name is taken for a number.
            None if begins_word && is_of_word(next) => at + word_len(&text[at..]),
            None => at + next.len_utf8(),
        };
    }
    found
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_len(text: &str) -> usize {
    text.find(|c: char| !is_of_word(c)).unwrap_or(text.len())
}

/// A number in digits.
fn digits(text: &str, start: usize) -> Written {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let n_digits = |at: usize| (at..).take_while(|at| is_digit(*at)).count();
    let mut number = String::new();
    let mut at = start;
    let mut n_decimals = 0;
    loop {
        let n = n_digits(at);
        number.push_str(&text[at..at + n]);
        at += n;
        let separator = bytes.get(at).copied();
        let n_next = n_digits(at + 1);
        match separator {
            // Thousands: 12,345 and 12'345.
            Some(b',' | b'\'' | b'_') if n_next == 3 => at += 1,
            Some(b'.' | b',') if n_next > 0 => {
                number.push('.');
                number.push_str(&text[at + 1..at + 1 + n_next]);
                (at, n_decimals) = (at + 1 + n_next, n_next);
                break;
            }
            _ => break,
        }
    }
    let value = number.parse().unwrap_or(f64::NAN);
    let half_digit = 0.5 * 10f64.powi(-(n_decimals as i32));
    with_unit(text, Written { start, end: at, value, half_digit, unit: None })
}

/// A number in a word, such as "three" or "twenty-five".
fn word(text: &str, start: usize) -> Option<Written> {
    let named = |at: usize| {
        let end = at + word_len(&text[at..]);
        let (_, value) = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text[at..end]))?;
        Some((*value, end))
    };
    let (mut value, mut end) = named(start)?;
    if (20.0..100.0).contains(&value) && text[end..].starts_with('-') {
        if let Some((ones, after)) = named(end + 1).filter(|(ones, _)| *ones < 10.0) {
            (value, end) = (value + ones, after);
        } else if text[end + 1..].to_ascii_lowercase().starts_with("one") {
            (value, end) = (value + 1.0, end + 1 + "one".len());
        }
    }
    Some(with_unit(text, Written { start, end, value, half_digit: 0.5, unit: None }))
}

/// The same with what stands before and behind it.
fn with_unit(text: &str, mut written: Written) -> Written {
    if let Some((multiple, len)) =
        longest(&text[written.end..], MULTIPLES.iter().map(|(word, n)| (*word, *n)))
    {
        // "5 m" may be anything; "5m" and "5 million" are not.
        let is_word =
            text[written.end..].trim_start_matches([' ', '\u{a0}']).len() != text.len() - written.end;
        if !is_word || len > 2 {
            (written.value, written.half_digit) = (written.value * multiple, written.half_digit * multiple);
            written.end += len;
        }
    }
    let units = UNITS.iter().map(|(word, quantity, size)| (*word, (*quantity, *size)));
    if let Some((unit, len)) = longest(&text[written.end..], units) {
        (written.unit, written.end) = (Some(unit), written.end + len);
    } else if text[..written.start].ends_with('$') {
        (written.unit, written.start) = (Some((Quantity::Usd, 1.0)), written.start - 1);
    }
    written
}

/// The longest of some words that a text begins with, perhaps after a space, and how much of the text it takes.
fn longest<T>(text: &str, words: impl Iterator<Item = (&'static str, T)>) -> Option<(T, usize)> {
    let rest = text.strip_prefix([' ', '\u{a0}', '-']).unwrap_or(text);
    let begins = |word: &str| {
        let is_it = rest.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
        // "m" is no unit in "more".
        let ends_in_letter = word.ends_with(char::is_alphabetic);
        is_it && !(ends_in_letter && rest[word.len()..].starts_with(char::is_alphanumeric))
    };
    let found = words.filter(|(word, _)| begins(word)).max_by_key(|(word, _)| word.len());
    found.map(|(word, value)| (value, text.len() - rest.len() + word.len()))
}
