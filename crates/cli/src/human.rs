//! Numbers as people read them.

use std::time::Duration;

/// `512 B`, `1.5 KiB`, `56.0 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    scaled(n, 1024.0, &UNITS).unwrap_or_else(|| format!("{n} B"))
}

/// `950`, `12.3 M`, `106.9 G`: parameters.
pub(crate) fn count(n: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    scaled(n, 1000.0, &UNITS).unwrap_or_else(|| n.to_string())
}

fn scaled(n: u64, step: f64, units: &[&str]) -> Option<String> {
    let mut value = n as f64;
    let mut unit = None;
    for name in units {
        // What would be rounded up to a full step is shown in the next unit.
        if value < step - 0.05 || (unit.is_none() && value < step) {
            break;
        }
        value /= step;
        unit = Some(*name);
    }
    unit.map(|name| format!("{value:.1} {name}"))
}

/// `3 messages`, `1 message`.
pub(crate) fn plural(n: u64, singular: &str) -> String {
    if n == 1 { format!("1 {singular}") } else { format!("{n} {singular}s") }
}

/// `0.8 s`, `42 s`, `3 min 5 s`, `2 h 7 min`, `5 d 3 h`.
pub(crate) fn duration(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A duration from seconds that came over the wire: anything that is none counts as zero.
pub(crate) fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::ZERO)
}

/// `just now`, `5 min ago`, `3 h ago`, `2 d ago`, and the date when it is longer ago than a week.
pub(crate) fn ago(then_unix_ms: u64, now_unix_ms: u64) -> String {
    let s = now_unix_ms.saturating_sub(then_unix_ms) / 1000;
    match s {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", s / 60),
        3600..86_400 => format!("{} h ago", s / 3600),
        86_400..604_800 => format!("{} d ago", s / 86_400),
        _ => local_time(then_unix_ms, "%Y-%m-%d"),
    }
}

/// A point in time in the local zone.
pub(crate) fn local_time(unix_ms: u64, format: &str) -> String {
    zoned_time(unix_ms, format, jiff::tz::TimeZone::system())
}

fn zoned_time(unix_ms: u64, format: &str, zone: jiff::tz::TimeZone) -> String {
    let instant = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match instant {
        Some(instant) => instant.to_zoned(zone).strftime(format).to_string(),
        None => "an unknown time".to_owned(),
    }
}

/// Now, as the wire writes it.
pub(crate) fn now_unix_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Reads `30`, `30s`, `1m 30s`, `500ms`; a number alone is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().map(Duration::try_from_secs_f64);
    let duration = match seconds {
        Some(duration) => duration.ok(),
        None => text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()),
    };
    match duration {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a time above zero, such as `30`, `30s`, `1m 30s` or `500ms`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (60_129_542_144, "56.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        for (n, text) in
            [(950, "950"), (999_999, "1.0 M"), (12_345_678, "12.3 M"), (106_852_251_264, "106.9 G")]
        {
            assert_eq!(count(n), text);
        }
        assert_eq!(plural(1, "message"), "1 message");
        assert_eq!(plural(0, "message"), "0 messages");
    }

    #[test]
    fn times() {
        for (s, text) in [
            (0.84, "0.8 s"),
            (59.9, "59 s"),
            (185.0, "3 min 5 s"),
            (7620.0, "2 h 7 min"),
            (442_800.0, "5 d 3 h"),
            (f64::NAN, "0.0 s"),
            (-3.0, "0.0 s"),
        ] {
            assert_eq!(duration(seconds(s)), text);
        }
        let now = 1_800_000_000_000_i64;
        for (before_s, text) in
            [(0, "just now"), (61, "1 min ago"), (7_300, "2 h ago"), (200_000, "2 d ago"), (-5, "just now")]
        {
            assert_eq!(ago((now - before_s * 1000) as u64, now as u64), text);
        }
        assert_eq!(zoned_time(0, "%Y-%m-%d %H:%M", jiff::tz::TimeZone::UTC), "1970-01-01 00:00");
        assert_eq!(zoned_time(u64::MAX, "%Y", jiff::tz::TimeZone::UTC), "an unknown time");
    }

    #[test]
    fn durations_are_read_with_and_without_unit() {
        for (text, ms) in [("30", 30_000), ("0.5", 500), ("30s", 30_000), ("1m 30s", 90_000), ("500ms", 500)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "0", "-1", "-5s", "soon", "NaN", "inf", "1e300"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
