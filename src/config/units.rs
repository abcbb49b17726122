//! Durations and sizes as people write them: `"30s"`, `"1h 30m"`, `"2 MiB"`.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A duration with its unit, such as `250ms` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(duration) => write!(f, "{duration:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit in quotes, such as \"30s\" or \"1h 30m\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<HumanDuration, E> {
                let bad = || E::invalid_value(Unexpected::Str(text), &self);
                let duration: jiff::SignedDuration = text.trim().parse().map_err(|_| bad())?;
                Ok(HumanDuration(Duration::try_from(duration).map_err(|_| bad())?))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A number of bytes, such as `64 KiB`, `2 MiB`, `1.5 GB` or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = (text[..split].trim(), text[split..].trim());
        let factor = match unit {
            "" => 1,
            _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self);
        }
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let bytes = number.parse::<f64>().ok().filter(|_| plain)? * factor as f64;
        // Beyond 2^53 a fraction would be rounded silently.
        (bytes < (1_u64 << 53) as f64).then_some(Self(bytes.round() as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS[..4].iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)) {
            Some((name, factor)) => write!(f, "{} {name}", self.0 / factor),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl Visitor<'_> for TextOrNumber {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"2 MiB\", \"512 KiB\" or a number of bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<ByteSize, E> {
                let bytes = u64::try_from(number);
                bytes.map(ByteSize).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(TextOrNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        duration: Option<HumanDuration>,
        size: Option<ByteSize>,
    }

    fn read(text: &str) -> Result<Holder, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn durations_need_a_unit_and_are_written_as_they_are_read() {
        for (text, millis) in [("30s", 30_000), ("250ms", 250), ("1h 30m", 5_400_000), ("0s", 0)] {
            let read = read(&format!("duration = \"{text}\"")).unwrap().duration.unwrap();
            assert_eq!(read.0, Duration::from_millis(millis));
            assert_eq!(read.to_string(), text);
        }
        for bad in ["duration = 30", "duration = \"30\"", "duration = \"-5s\"", "duration = \"soon\""] {
            let message = read(bad).unwrap_err();
            assert!(message.contains("a duration with its unit"), "{bad}: {message}");
        }
    }

    #[test]
    fn sizes_know_binary_and_decimal_units() {
        for (text, bytes) in [
            ("\"2 MiB\"", 2 << 20),
            ("\"64KiB\"", 64 << 10),
            ("\"1.5 GB\"", 1_500_000_000),
            ("\"1 kb\"", 1000),
            ("4096", 4096),
            ("\"17\"", 17),
        ] {
            assert_eq!(read(&format!("size = {text}")).unwrap().size, Some(ByteSize(bytes)), "{text}");
        }
        for bad in ["\"2 XB\"", "-1", "\"-1 MiB\"", "\"99999999999 TiB\"", "true", "\"\"", "\"1e3 MiB\""] {
            assert!(read(&format!("size = {bad}")).is_err(), "{bad}");
        }
        for (bytes, text) in [(2 << 20, "2 MiB"), (1500, "1500 B"), (0, "0 B"), (3 << 10, "3 KiB")] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
