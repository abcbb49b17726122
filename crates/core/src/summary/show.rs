//! Figures in the words of a text. They show as many digits as a reader wants, and are the figures of the table rounded.

use std::fmt::Write;

/// 12,345
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// "1 request", "2 requests"
pub(super) fn counted(n: u64, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{} {thing}s", count(n)) }
}

/// 340 ms, 8.2 s, 3.5 min
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        ..120.0 => format!("{seconds:.1} s"),
        _ => format!("{:.1} min", seconds / 60.0),
    }
}

/// 24 hours, 7 days, 90 seconds
pub(super) fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    // A day is 24 hours in every text; two are days.
    let fits = |(unit, _): &(u64, &str)| {
        seconds.is_multiple_of(*unit) && (seconds > *unit || *unit == 60) && seconds > 0
    };
    match UNITS.into_iter().find(fits) {
        Some((unit, name)) => counted(seconds / unit, name),
        None => counted(seconds, "second"),
    }
}

/// 12 %, 1.3 %
pub(super) fn percent(ratio: f64) -> String {
    let percent = ratio.abs() * 100.0;
    if percent >= 10.0 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// $12.40, $0.0031
pub(super) fn dollars(dollars: f64) -> String {
    if dollars >= 0.01 { format!("${dollars:.2}") } else { format!("${dollars:.4}") }
}

/// "a", "a and b", "a, b and c"
pub(super) fn list(items: &[String]) -> String {
    let mut text = String::new();
    for (n, item) in items.iter().enumerate() {
        let between = match n {
            0 => "",
            _ if n + 1 == items.len() => " and ",
            _ => ", ",
        };
        // Writing to a `String` cannot fail.
        write!(text, "{between}{item}").unwrap_or_default();
    }
    text
}
