//! Python's rules for text, where they differ from Rust's: templates are written for Python.
//!
//! Source: the documentation of `str` and `float.__repr__`, checked against CPython by `tools/chat-template`.

/// `str.isspace` of one character: Rust's white space and the four separators U+001C to U+001F.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Which ends `strip`, `lstrip` and `rstrip` touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) left: bool,
    pub(super) right: bool,
}

/// `str.strip(chars)` and its one-sided forms.
pub(super) fn strip<'a>(text: &'a str, chars: Option<&str>, ends: Ends) -> &'a str {
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if ends.left { text.trim_start_matches(goes) } else { text };
    if ends.right { text.trim_end_matches(goes) } else { text }
}

/// `str.split(separator, at_most)`; a negative `at_most` is no limit.
pub(super) fn split<'a>(text: &'a str, separator: Option<&str>, at_most: i64) -> Vec<&'a str> {
    let limit = usize::try_from(at_most).ok();
    match separator {
        Some(separator) => match limit {
            Some(limit) => text.splitn(limit.saturating_add(1), separator).collect(),
            None => text.split(separator).collect(),
        },
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start_matches(is_space);
            while !rest.is_empty() {
                let end = rest.find(is_space).unwrap_or(rest.len());
                if limit.is_some_and(|limit| parts.len() >= limit) {
                    // The last part keeps the white space inside it and at its end.
                    parts.push(rest);
                    break;
                }
                parts.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_space);
            }
            parts
        }
    }
}

/// `str.rsplit(separator, at_most)`.
pub(super) fn rsplit<'a>(text: &'a str, separator: Option<&str>, at_most: i64) -> Vec<&'a str> {
    let Ok(limit) = usize::try_from(at_most) else { return split(text, separator, -1) };
    let mut parts: Vec<&str> = match separator {
        Some(separator) => text.rsplitn(limit.saturating_add(1), separator).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end_matches(is_space);
            while !rest.is_empty() {
                if parts.len() >= limit {
                    parts.push(rest);
                    break;
                }
                let begin = rest.char_indices().rev().find(|(_, c)| is_space(*c));
                let begin = begin.map_or(0, |(at, c)| at + c.len_utf8());
                parts.push(&rest[begin..]);
                rest = rest[..begin].trim_end_matches(is_space);
            }
            parts
        }
    };
    parts.reverse();
    parts
}

/// `str.splitlines(keep_ends)`.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_end) {
        let end_len = match &rest[at..] {
            tail if tail.starts_with("\r\n") => 2,
            tail => tail.chars().next().map_or(0, char::len_utf8),
        };
        lines.push(&rest[..if keep_ends { at + end_len } else { at }]);
        rest = &rest[at + end_len..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// `repr` of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// What a character becomes inside `repr` of a text, when it does not stand for itself.
pub(super) fn repr_escape(c: char, quote: char) -> Option<String> {
    Some(match c {
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        c if c == quote => format!("\\{c}"),
        c if is_printable(c) => return None,
        c => match u32::from(c) {
            code @ 0..=0xff => format!("\\x{code:02x}"),
            code @ 0x100..=0xffff => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        },
    })
}

/// The quote that `repr` puts around a text.
pub(super) fn repr_quote(text: &str) -> char {
    if text.contains('\'') && !text.contains('"') { '"' } else { '\'' }
}

/// `str.isprintable` of one character, without a table of unassigned code points: separators other than the blank,
/// controls, formats and private use do not print.
fn is_printable(c: char) -> bool {
    if c == ' ' {
        return true;
    }
    let is_format = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}');
    let is_private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}');
    !(c.is_control() || c.is_whitespace() || is_format || is_private)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Ends = Ends { left: true, right: true };

    #[test]
    fn stripping_takes_the_separators_that_rust_leaves() {
        assert_eq!(strip(" \u{1c}a\u{1f}\n", None, BOTH), "a");
        assert_eq!(strip("\n\na\n", Some("\n"), Ends { left: true, right: false }), "a\n");
        assert_eq!(strip("xyaxy", Some("yx"), BOTH), "a");
    }

    #[test]
    fn splitting_follows_python() {
        assert_eq!(split(" a  b c ", None, -1), ["a", "b", "c"]);
        assert_eq!(split(" a  b  c ", None, 1), ["a", "b  c "]);
        assert_eq!(split("a,,b", Some(","), -1), ["a", "", "b"]);
        assert_eq!(split("a,b,c", Some(","), 1), ["a", "b,c"]);
        assert_eq!(split("", Some(","), -1), [""]);
        assert_eq!(split("  ", None, -1), [""; 0]);
        assert_eq!(rsplit(" a  b  c ", None, 1), [" a  b", "c"]);
        assert_eq!(rsplit("a,b,c", Some(","), 1), ["a,b", "c"]);
        assert_eq!(split_lines("a\r\nb\u{2028}c\n\nd", false), ["a", "b", "c", "", "d"]);
        assert_eq!(split_lines("a\r\nb", true), ["a\r\n", "b"]);
    }

    #[test]
    fn floats_print_as_in_python() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float_repr(value), text);
        }
    }
}
