//! Faults as a person writes them on a command line.

use crate::behaviour::Fault;
use std::str::FromStr;
use std::time::Duration;

/// The forms that [`Fault::from_str`] reads.
pub const FAULT_FORMS: &str = "stall:N stall-at-end reset:N half-close:N truncate:N error:N:MESSAGE malformed:N safety:N empty \
status:CODE rate-limited[:SECONDS] daily-quota context wrong-content-type huge:BYTES redirect:URL garbage close";

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let bad = || format!("unknown fault {text:?}; one of: {FAULT_FORMS}");
        let number = || rest.parse::<usize>().map_err(|_| bad());
        Ok(match name {
            "stall" => Self::Stall(number()?),
            "stall-at-end" => Self::StallAtEnd,
            "reset" => Self::Reset(number()?),
            "half-close" => Self::HalfClose(number()?),
            "truncate" => Self::Truncate(number()?),
            "error" => {
                let (after, message) = rest.split_once(':').unwrap_or((rest, "the fake was told to fail"));
                Self::ErrorInStream(after.parse().map_err(|_| bad())?, message.to_owned())
            }
            "malformed" => Self::MalformedJson(number()?),
            "safety" => Self::Safety(number()?),
            "empty" => Self::Empty,
            "status" => Self::Status(rest.parse().map_err(|_| bad())?),
            "rate-limited" if rest.is_empty() => Self::RateLimited { retry_after: None, as_date: false },
            "rate-limited" => {
                let seconds = rest.parse().map_err(|_| bad())?;
                Self::RateLimited { retry_after: Some(Duration::from_secs(seconds)), as_date: false }
            }
            "daily-quota" => Self::DailyQuota,
            "context" => Self::ContextTooLong,
            "wrong-content-type" => Self::WrongContentType,
            "huge" => Self::Huge(rest.parse().map_err(|_| bad())?),
            "redirect" => Self::Redirect(rest.to_owned()),
            "garbage" => Self::Garbage,
            "close" => Self::CloseBeforeHead,
            _ => return Err(bad()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        assert_eq!("stall:3".parse(), Ok(Fault::Stall(3)));
        assert_eq!("error:2:no: more".parse(), Ok(Fault::ErrorInStream(2, "no: more".into())));
        assert_eq!("status:503".parse(), Ok(Fault::Status(503)));
        assert_eq!("redirect:http://a/".parse(), Ok(Fault::Redirect("http://a/".into())));
        for bad in ["", "stall", "stall:x", "status:", "nonsense"] {
            assert!(bad.parse::<Fault>().unwrap_err().contains("one of"), "{bad}");
        }
    }
}
