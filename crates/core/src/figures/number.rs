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
    /// Whether it is in digits.
    pub(super) is_digits: bool,
}

/// Words for numbers. "One" is among them where another one follows: alone it seldom counts.
const WORDS: [(&str, f64); 28] = [
    ("zero", 0.0),
    ("one", 1.0),
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
    ("sixteen", 16.0),
    ("seventeen", 17.0),
    ("eighteen", 18.0),
    ("nineteen", 19.0),
    ("twenty", 20.0),
    ("thirty", 30.0),
    ("forty", 40.0),
    ("fifty", 50.0),
    ("sixty", 60.0),
    ("seventy", 70.0),
    ("eighty", 80.0),
    ("ninety", 90.0),
];

/// Words that multiply what stands before them.
const MULTIPLES: [(&str, f64); 6] = [
    ("hundred", 100.0),
    ("dozen", 12.0),
    ("thousand", 1e3),
    ("million", 1e6),
    ("billion", 1e9),
    ("trillion", 1e12),
];

/// The same in short, behind digits and without a space.
const SHORT_MULTIPLES: [(&str, f64); 7] =
    [("k", 1e3), ("m", 1e6), ("mn", 1e6), ("b", 1e9), ("bn", 1e9), ("t", 1e12), ("tn", 1e12)];

/// Behind digits they say a place in an order.
const ORDINALS: [&str; 4] = ["st", "nd", "rd", "th"];

/// Units. Of several that a text could mean, the longest.
const UNITS: [(&str, Quantity, f64); 43] = [
    ("%", Quantity::Ratio, 0.01),
    ("percent", Quantity::Ratio, 0.01),
    ("per cent", Quantity::Ratio, 0.01),
    ("µs", Quantity::Seconds, 1e-6),
    ("\u{3bc}s", Quantity::Seconds, 1e-6),
    ("ms", Quantity::Seconds, 1e-3),
    ("millisecond", Quantity::Seconds, 1e-3),
    ("milliseconds", Quantity::Seconds, 1e-3),
    ("s", Quantity::Seconds, 1.0),
    ("sec", Quantity::Seconds, 1.0),
    ("secs", Quantity::Seconds, 1.0),
    ("second", Quantity::Seconds, 1.0),
    ("seconds", Quantity::Seconds, 1.0),
    ("min", Quantity::Seconds, 60.0),
    ("mins", Quantity::Seconds, 60.0),
    ("minute", Quantity::Seconds, 60.0),
    ("minutes", Quantity::Seconds, 60.0),
    ("h", Quantity::Seconds, 3600.0),
    ("hr", Quantity::Seconds, 3600.0),
    ("hrs", Quantity::Seconds, 3600.0),
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
    let mut found: Vec<Written> = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let written = match next {
            '0'..='9' => Some(digits(text, at)),
            _ if next.is_alphabetic() => words(text, at).or_else(|| dollars_before(text, at)),
            // Digits of other scripts, and ½.
            _ if next.is_numeric() => Some(not_read(text, at)),
            _ => None,
        };
        at = match written {
            Some(written) => {
                found.push(written);
                written.end
            }
            // Past the whole word: a digit that follows a letter is part of a name, as in p95 and x86_64.
            None if next.is_alphanumeric() => at + word_len(&text[at..]),
            None => at + next.len_utf8(),
        };
    }
    // "12 to 13 %": the unit stands once.
    for next in (1..found.len()).rev() {
        let between = text.get(found[next - 1].end..found[next].start).map(str::trim);
        if found[next - 1].unit.is_none() && between.is_some_and(|between| RANGE_WORDS.contains(&between)) {
            found[next - 1].unit = found[next].unit;
        }
    }
    found
}

/// What stands between the numbers of a range or a list.
const RANGE_WORDS: [&str; 7] = ["-", "\u{2013}", "\u{2014}", "to", "and", "or", ","];

/// How long the word is that a text begins with. An underscore is part of it where more of it follows.
fn word_len(text: &str) -> usize {
    let is_end = |(at, c): (usize, char)| {
        let goes_on = c == '_' && text[at + 1..].starts_with(char::is_alphanumeric);
        (!c.is_alphanumeric() && !goes_on).then_some(at)
    };
    text.char_indices().find_map(is_end).unwrap_or(text.len())
}

/// A number that nobody here can read, so that no figure is it.
fn not_read(text: &str, start: usize) -> Written {
    let end = start + word_len(&text[start..]);
    Written { start, end, value: f64::NAN, half_digit: 0.0, unit: None, is_digits: true }
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
        let n_next = n_digits(at + 1);
        match bytes.get(at) {
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
    let mut written = Written { start, end: at, value, half_digit, unit: None, is_digits: true };
    if let Some((multiple, len)) = first_word(&text[at..], &SHORT_MULTIPLES) {
        written.multiply(multiple, len);
    }
    while let Some((multiple, len)) = longest(&text[written.end..], MULTIPLES.iter().copied()) {
        written.multiply(multiple, len);
    }
    let written = with_unit(text, written);
    let rest = &text[written.end..];
    let is_ordinal = ORDINALS.into_iter().any(|ordinal| rest[..word_len(rest)].eq_ignore_ascii_case(ordinal));
    // 3e5, 4bit: what it means is not known.
    if rest.starts_with(char::is_alphanumeric) && !is_ordinal { not_read(text, start) } else { written }
}

/// "USD12"
fn dollars_before(text: &str, start: usize) -> Option<Written> {
    let (currency, rest) = text[start..].split_at_checked(3)?;
    let is_it = currency.eq_ignore_ascii_case("usd") && rest.starts_with(|c: char| c.is_ascii_digit());
    is_it.then(|| Written { start, unit: Some((Quantity::Usd, 1.0)), ..digits(text, start + 3) })
}

/// A number in words, such as "three", "twenty-five", "a hundred and three thousand".
fn words(text: &str, start: usize) -> Option<Written> {
    let word = |at: usize| &text[at..at + word_len(&text[at..])];
    let named = |word: &str, words: &[(&str, f64)]| {
        words.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, value)| *value)
    };
    let (mut sum, mut part, mut unit, mut n_words) = (0.0, 0.0, 1.0, 0);
    let (mut at, mut end) = (start, start);
    loop {
        let this = word(at);
        if let Some(value) = named(this, &WORDS) {
            (part, unit) = (part + value, 1.0);
        } else if let Some(multiple) = named(this, &MULTIPLES) {
            part = f64::max(part, 1.0) * multiple;
            unit = multiple;
            if multiple >= 1e3 {
                (sum, part) = (sum + part, 0.0);
            }
        } else {
            // "a hundred", "a hundred and three"
            let is_link = (n_words == 0
                && ["a", "an"].iter().any(|article| article.eq_ignore_ascii_case(this)))
                || (unit > 1.0 && this.eq_ignore_ascii_case("and"));
            let after = at + this.len() + 1;
            let next = is_link.then(|| text.get(after..)).flatten().map_or("", |_| word(after));
            let follows = match n_words {
                0 => named(next, &MULTIPLES),
                _ => named(next, &WORDS),
            };
            if follows.is_none() {
                break;
            }
            at = after;
            continue;
        }
        (n_words, end) = (n_words + 1, at + this.len());
        if !text[end..].starts_with([' ', '-']) {
            break;
        }
        at = end + 1;
    }
    let is_number = n_words > 1 || (n_words == 1 && !text[start..end].eq_ignore_ascii_case("one"));
    let value = sum + part;
    let written = Written { start, end, value, half_digit: 0.5 * unit, unit: None, is_digits: false };
    is_number.then(|| with_unit(text, written))
}

impl Written {
    fn multiply(&mut self, multiple: f64, len: usize) {
        (self.value, self.half_digit) = (self.value * multiple, self.half_digit * multiple);
        self.end += len;
    }
}

/// The same with the unit that stands before or behind it.
fn with_unit(text: &str, mut written: Written) -> Written {
    let units = UNITS.iter().map(|(word, quantity, size)| (*word, (*quantity, *size)));
    if let Some((unit, len)) = longest(&text[written.end..], units) {
        (written.unit, written.end) = (Some(unit), written.end + len);
    } else if text[..written.start].ends_with('$') {
        (written.unit, written.start) = (Some((Quantity::Usd, 1.0)), written.start - 1);
    }
    written
}

/// What the word means that a text begins with, and how long it is.
fn first_word(text: &str, words: &[(&str, f64)]) -> Option<(f64, usize)> {
    let len = word_len(text);
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text[..len]));
    found.map(|(_, value)| (*value, len))
}

/// The longest of some words that a text begins with, perhaps behind space, hyphens and marks of emphasis, and how much of
/// the text it takes.
fn longest<T>(text: &str, words: impl Iterator<Item = (&'static str, T)>) -> Option<(T, usize)> {
    let is_between = |c: char| c.is_whitespace() || ['-', '\u{2010}', '\u{2011}', '*', '_'].contains(&c);
    let rest = text.trim_start_matches(is_between);
    let begins = |word: &str| {
        let is_it = rest.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
        // "m" is no unit in "more".
        let ends_in_letter = word.ends_with(char::is_alphabetic);
        is_it && !(ends_in_letter && rest[word.len()..].starts_with(char::is_alphanumeric))
    };
    let found = words.filter(|(word, _)| begins(word)).max_by_key(|(word, _)| word.len());
    found.map(|(word, value)| (value, text.len() - rest.len() + word.len()))
}
