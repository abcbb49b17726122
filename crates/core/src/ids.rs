//! Identifiers. They come from outside, name files and keys, and are therefore checked once, here.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const MAX_ID_BYTES: usize = 64;

/// An identifier that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// No characters at all.
    #[error("must not be empty")]
    Empty,
    /// More bytes than an identifier may have.
    #[error("must be at most {MAX_ID_BYTES} bytes, got {0}")]
    TooLong(usize),
    /// A character outside the set that is safe in keys, paths and headers.
    #[error("may hold only letters, digits, `-` and `_`, got {0:?}")]
    BadCharacter(char),
}

fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(InvalidId::TooLong(text.len()));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
        Some(bad) => Err(InvalidId::BadCharacter(bad)),
        None => Ok(()),
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier of a UUID that the caller made (version 7 sorts by time).
            pub fn from_uuid(uuid: uuid::Uuid) -> Self {
                Self(uuid.to_string())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type! {
    /// Names a stored conversation.
    SessionId
}
id_type! {
    /// Names one request from its arrival to its log lines.
    RequestId
}

impl RequestId {
    /// The id of a request that belongs to this one; of a long id the end gives way.
    #[must_use]
    pub fn derived(&self, what: &str) -> Self {
        let kept = self.0.len().min(MAX_ID_BYTES.saturating_sub(what.len() + 1));
        format!("{}-{what}", &self.0[..kept]).try_into().unwrap_or_else(|_| self.clone())
    }
}

id_type! {
    /// Names a batch of questions.
    BatchId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_what_could_leave_a_key_or_a_path() {
        for (text, expected) in [
            ("", InvalidId::Empty),
            ("../etc", InvalidId::BadCharacter('.')),
            ("a/b", InvalidId::BadCharacter('/')),
            ("a\0b", InvalidId::BadCharacter('\0')),
            ("ä", InvalidId::BadCharacter('ä')),
        ] {
            assert_eq!(text.parse::<SessionId>(), Err(expected), "{text:?}");
        }
        assert_eq!("a".repeat(65).parse::<SessionId>(), Err(InvalidId::TooLong(65)));
        assert!("a".repeat(64).parse::<SessionId>().is_ok());
        assert!(serde_json::from_str::<SessionId>("\"a b\"").is_err());
    }

    #[test]
    fn a_derived_id_is_one_too() {
        let of = |id: &str| id.parse::<RequestId>().unwrap().derived("judge").to_string();
        assert_eq!(of("r"), "r-judge");
        assert_eq!(of(&"a".repeat(64)), format!("{}-judge", "a".repeat(58)));
    }
}
