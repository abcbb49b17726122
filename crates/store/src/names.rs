//! Words on disk, read back into what they stand for.

use boca_core::{ErrorCode, FinishReason, RequestId};

/// The value of this name.
///
/// # Errors
/// A word that this version does not know.
pub(crate) fn known<T: Copy>(
    what: &str,
    all: &[T],
    name_of: fn(T) -> &'static str,
    name: &str,
) -> Result<T, String> {
    all.iter().copied().find(|one| name_of(*one) == name).ok_or_else(|| format!("unknown {what} {name:?}"))
}

pub(crate) fn error_code(name: &str) -> Result<ErrorCode, String> {
    known("failure", &ErrorCode::ALL, ErrorCode::as_str, name)
}

pub(crate) fn finish_reason(name: &str) -> Result<FinishReason, String> {
    known("finish reason", &FinishReason::ALL, FinishReason::as_str, name)
}

pub(crate) fn request_id(id: &str) -> Result<RequestId, String> {
    id.parse().map_err(|error| format!("request id {error}"))
}
