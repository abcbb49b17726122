//! What a failed attempt means for the guards.

use crate::{AttemptClass, AttemptError};
use boca_core::ErrorCode;
use boca_core::resilience::Fault;

/// Statuses after which the same request may be sent again.
///
/// Source: 529 is Anthropic's "overloaded", <https://docs.anthropic.com/en/api/errors>.
const PASSING: [u16; 6] = [408, 500, 502, 503, 504, 529];

/// What went wrong, in the words of the rules.
pub(super) fn fault(error: &AttemptError) -> Fault {
    match error.class {
        AttemptClass::Connect => Fault::Connection,
        AttemptClass::Timeout => Fault::Timeout,
        AttemptClass::RateLimited => Fault::RateLimited,
        AttemptClass::QuotaSpent => Fault::QuotaSpent,
        // An error in mid-stream has no status of its own.
        AttemptClass::Server if error.status.is_none_or(|status| PASSING.contains(&status)) => Fault::Server,
        // 501 and its like do not pass, and yet the provider is to blame.
        AttemptClass::Server => Fault::Malformed,
        AttemptClass::Refused => Fault::Refused,
        AttemptClass::Blocked => Fault::Blocked,
        AttemptClass::Malformed => Fault::Malformed,
        AttemptClass::TooLarge => Fault::TooLarge,
    }
}

/// Whether the failure speaks against the provider, so that the breaker counts it.
pub(super) fn counts(error: &AttemptError) -> bool {
    // Who says when to come back is well; and a deadline of ours that was too short blames nobody.
    let is_told = error.class == AttemptClass::RateLimited && error.retry_after.is_some();
    let is_our_deadline = error.failure.code == ErrorCode::DeadlineExceeded;
    fault(error).is_providers_fault() && !is_told && !is_our_deadline
}

/// Whether the provider refuses us, and not only this request.
pub(super) fn refuses_us(error: &AttemptError) -> bool {
    error.class == AttemptClass::Refused && matches!(error.status, Some(401 | 403))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn server(status: Option<u16>) -> AttemptError {
        AttemptError { status, ..AttemptError::new(AttemptClass::Server, "trouble") }
    }

    #[test]
    fn only_passing_statuses_are_tried_again() {
        for status in 100..600 {
            let expected = [408, 500, 502, 503, 504, 529].contains(&status);
            assert_eq!(fault(&server(Some(status))).is_retryable(), expected, "{status}");
        }
        assert!(fault(&server(None)).is_retryable());
    }

    #[test]
    fn the_classes_agree_with_their_faults() {
        for class in AttemptClass::ALL {
            let error = AttemptError::new(class, "trouble");
            assert_eq!(fault(&error).is_retryable(), class.is_worth_a_retry(), "{class:?}");
        }
    }

    #[test]
    fn what_blames_nobody_is_not_counted() {
        let limited = AttemptError::new(AttemptClass::RateLimited, "slow down");
        assert!(counts(&limited));
        assert!(!counts(&limited.with_retry_after(Some(Duration::from_secs(1)))));
        let late = AttemptError::new(AttemptClass::Timeout, "late");
        assert!(counts(&late));
        assert!(!counts(&late.with_code(ErrorCode::DeadlineExceeded)));
        assert!(!counts(&AttemptError::new(AttemptClass::Refused, "bad field")));
    }
}
