//! Keys that must never be seen.

use std::fmt;
use zeroize::Zeroizing;

/// What a key is replaced by wherever it would show.
const HIDDEN: &str = "<hidden>";
/// A shorter text is not searched for: it would hide ordinary words.
const SHORTEST_SECRET_BYTES: usize = 6;

/// The key of a provider. Its memory is wiped when it is dropped, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// A key; white space around it, such as the line end of a file, is not part of it. `None` when nothing is left
    /// or when it holds what no HTTP header may hold.
    pub fn new(key: impl Into<String>) -> Option<Self> {
        let key = Zeroizing::new(key.into());
        let trimmed = key.trim();
        let fits_a_header = trimmed.bytes().all(|byte| byte.is_ascii_graphic());
        (fits_a_header && !trimmed.is_empty()).then(|| Self(Zeroizing::new(trimmed.to_owned())))
    }

    /// The key itself, for a header and nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` without any occurrence of the key.
    pub fn redact(&self, text: &str) -> String {
        if self.0.len() < SHORTEST_SECRET_BYTES {
            return text.to_owned();
        }
        text.replace(self.0.as_str(), HIDDEN)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_trimmed_and_checked() {
        assert_eq!(ApiKey::new(" abc\n").unwrap().expose(), "abc");
        for bad in ["", " \n", "two words", "umläut", "line\nbreak"] {
            assert!(ApiKey::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = ApiKey::new("AIzaSecret123").unwrap();
        assert_eq!(format!("{key:?}"), "<hidden>");
        assert_eq!(key.redact("bad key AIzaSecret123, AIzaSecret123!"), "bad key <hidden>, <hidden>!");
        assert_eq!(ApiKey::new("a").unwrap().redact("an apple"), "an apple");
    }
}
