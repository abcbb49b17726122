//! Makes text from outside harmless for a terminal.
//!
//! A model can be talked into writing escape sequences, and a terminal that receives them renames its window, writes
//! to its clipboard or answers as if someone had typed. No control character but line feed and tab gets through.

use std::borrow::Cow;

/// The text with every control character but line feed and tab replaced by a visible sign.
pub(crate) fn for_terminal(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_harmful(c) { visible(c) } else { c }).collect())
}

/// The same on a single line, cut to `max_chars`: for table cells and titles.
pub(crate) fn for_one_line(text: &str, max_chars: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut line = for_terminal(&line).into_owned();
    if line.chars().count() > max_chars {
        line = line.chars().take(max_chars.saturating_sub(1)).collect();
        line.push('…');
    }
    line
}

fn is_harmful(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

fn visible(c: char) -> char {
    match u32::from(c) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '␡',
        _ => '\u{fffd}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(for_terminal("\u{1b}]0;owned\u{7}"), "␛]0;owned␇");
        assert_eq!(for_terminal("a\rb\u{8}c\u{7f}\u{9b}31m"), "a␍b␈c␡\u{fffd}31m");
        assert!(matches!(for_terminal("plain\n\ttext é 🦀"), Cow::Borrowed(_)));
    }

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(for_one_line("  a\n\tb\u{1b}c  ", 80), "a b␛c");
        assert_eq!(for_one_line("abcdef", 4), "abc…");
        assert_eq!(for_one_line("abcd", 4), "abcd");
    }

    proptest! {
        #[test]
        fn nothing_harmful_gets_through(text in any::<String>(), max in 0_usize..50) {
            prop_assert!(!for_terminal(&text).chars().any(is_harmful));
            let line = for_one_line(&text, max);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.chars().count() <= max.max(1));
        }
    }
}
