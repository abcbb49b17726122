//! Rules for text that comes from outside.

/// A field that breaks a rule; the message names bound and value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FieldError {
    /// The field as the sender wrote it.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl FieldError {
    /// A field and what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Checks a person's text: not blank, no NUL, at most `max_bytes` of UTF-8.
///
/// (Lone surrogates cannot reach this point: the JSON reader refuses them, because Rust text cannot hold them.)
///
/// # Errors
/// A [`FieldError`] that names `field`, the bound and the value.
pub fn check_message_text(field: &str, text: &str, max_bytes: usize) -> Result<(), FieldError> {
    if text.len() > max_bytes {
        return Err(FieldError::new(
            field,
            format!("`{field}` must be at most {max_bytes} bytes, got {}", text.len()),
        ));
    }
    if let Some(at) = text.find('\0') {
        return Err(FieldError::new(
            field,
            format!("`{field}` must not hold NUL characters, got one at byte {at}"),
        ));
    }
    if text.trim().is_empty() {
        return Err(FieldError::new(field, format!("`{field}` must not be blank")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_names_the_field() {
        for (text, part) in
            [("", "blank"), (" \n\t", "blank"), ("a\0b", "at byte 1"), ("123456", "at most 5 bytes, got 6")]
        {
            let error = check_message_text("message", text, 5).unwrap_err();
            assert_eq!(error.field, "message");
            assert!(error.message.contains(part), "{error}");
        }
        assert_eq!(check_message_text("message", "héé", 5), Ok(()));
    }
}
