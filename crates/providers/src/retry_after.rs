//! How long a provider wants to be left alone.

use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// A longer wait is taken for this long: nobody plans beyond a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait that the headers ask for: `Retry-After` in seconds or as a date, or OpenAI's `retry-after-ms`.
/// `now` is the time of this machine; a date in the past is no wait at all.
///
/// Source: RFC 9110, section 10.2.3.
pub(crate) fn of_headers(headers: &HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(milliseconds) = text("retry-after-ms").and_then(|value| value.parse::<f64>().ok()) {
        return seconds(milliseconds / 1000.0);
    }
    let value = text(RETRY_AFTER.as_str())?;
    match value.parse::<f64>() {
        Ok(number) => seconds(number),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            seconds(date.duration_since(now).as_secs_f64().max(0.0))
        }
    }
}

/// A protobuf duration as JSON writes it (`34.07s`), or Google's prose (`900ms`).
pub(crate) fn of_text(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some(number) = text.strip_suffix("ms") {
        return seconds(number.parse::<f64>().ok()? / 1000.0);
    }
    seconds(text.strip_suffix('s')?.parse().ok()?)
}

fn seconds(value: f64) -> Option<Duration> {
    (value.is_finite() && value >= 0.0).then(|| Duration::from_secs_f64(value.min(LONGEST.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &'static str, value: &str) -> Option<Duration> {
        let now: jiff::Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        of_headers(&headers, now)
    }

    #[test]
    fn seconds_dates_and_milliseconds_are_read() {
        let s = |seconds| Some(Duration::from_secs_f64(seconds));
        assert_eq!(header("retry-after", "120"), s(120.0));
        assert_eq!(header("retry-after", " 1.5 "), s(1.5));
        assert_eq!(header("retry-after", "Sun, 22 Nov 2026 12:00:30 GMT"), s(30.0));
        assert_eq!(header("retry-after", "Sun, 22 Nov 2026 11:00:00 GMT"), s(0.0));
        assert_eq!(header("retry-after-ms", "250"), s(0.25));
        for nonsense in ["", "soon", "-5", "NaN", "inf", "Sun, 32 Nov 2026 11:00:00 GMT"] {
            assert_eq!(header("retry-after", nonsense), None, "{nonsense}");
        }
        assert_eq!(header("retry-after", "1e300"), Some(LONGEST));
    }

    #[test]
    fn googles_durations_are_read() {
        assert_eq!(of_text("34.074824224s"), Some(Duration::from_secs_f64(34.074_824_224)));
        assert_eq!(of_text("900ms"), Some(Duration::from_millis(900)));
        for nonsense in ["", "s", "1m", "-1s", "NaNs"] {
            assert_eq!(of_text(nonsense), None, "{nonsense}");
        }
    }
}
