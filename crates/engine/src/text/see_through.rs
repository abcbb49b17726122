//! Rewrites a template so that its comparisons see through the disguise of foreign text.
//!
//! `==`, `!=`, `in` and `not in` are operators of the template engine, which know nothing of stand-ins. Each becomes
//! a call of a function that does: `'</think>' in content` turns into `(boca_holds(content, '</think>'))`. Method
//! calls, filters and tests need no rewriting, because the environment replaces them.
//!
//! The result is only ever used to find out which text is foreign, and is held against a rendering of the template
//! as it is; a comparison that this reader misses shows there as a difference.

/// The function that `==` becomes.
pub(super) const SAME: &str = "boca_same";
/// The function that `in` becomes.
pub(super) const HOLDS: &str = "boca_holds";

/// The template with its comparisons rewritten.
pub(super) fn see_through(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + source.len() / 4);
    let mut rest = source;
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        let close = match tag.as_bytes()[1] {
            b'#' => "#}",
            b'{' => "}}",
            _ => "%}",
        };
        let end = if close == "#}" { tag.find(close).map(|at| at + 2) } else { end_of_tag(tag, close) };
        // A tag without an end is an error of the template, and the engine's to report.
        let Some(end) = end.filter(|end| *end >= 4) else {
            rest = tag;
            break;
        };
        let inner = if close == "#}" { "" } else { &tag[2..end - 2] };
        out.push_str(&tag[..2]);
        if close == "#}" {
            out.push_str(&tag[2..end - 2]);
        } else {
            rewrite_tag(inner, close == "%}", &mut out);
        }
        out.push_str(close);
        rest = &tag[end..];
        if is_raw_tag(inner) {
            let end = end_of_raw(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

fn is_raw_tag(inner: &str) -> bool {
    inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+') == "raw"
}

/// Where the text of a raw block ends: at the tag that closes it.
fn end_of_raw(text: &str) -> usize {
    text.match_indices("{%")
        .find(|(at, _)| text[at + 2..].trim_start_matches(['-', '+', ' ', '\t', '\n']).starts_with("endraw"))
        .map_or(text.len(), |(at, _)| at)
}

/// Length of a tag, quoted text inside it skipped; `None` when it has no end.
fn end_of_tag(tag: &str, close: &str) -> Option<usize> {
    let mut at = 2;
    while at < tag.len() {
        match tag.as_bytes()[at] {
            b'\'' | b'"' => at += quoted_len(&tag[at..]),
            // A dictionary literal that ends right here would hide the end of the tag; then a comparison is not
            // rewritten, and nothing else changes.
            _ if tag[at..].starts_with(close) => return Some(at + close.len()),
            byte => at += if byte < 0x80 { 1 } else { char_len(&tag[at..]) },
        }
    }
    None
}

fn char_len(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

/// Length of the quoted text that `text` begins with.
fn quoted_len(text: &str) -> usize {
    let quote = text.as_bytes()[0];
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// One token of an expression, with the white space before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token<'a> {
    space: &'a str,
    text: &'a str,
}

impl Token<'_> {
    fn is_open(&self) -> bool {
        matches!(self.text, "(" | "[" | "{")
    }

    fn is_close(&self) -> bool {
        matches!(self.text, ")" | "]" | "}")
    }

    /// What ends an operand of a comparison, at the same depth.
    fn is_border(&self) -> bool {
        matches!(self.text, "," | ":" | "=" | "or" | "and" | "not" | "if" | "else" | "recursive")
    }
}

fn tokens(mut text: &str) -> (Vec<Token<'_>>, &str) {
    let mut tokens = Vec::new();
    loop {
        let start = text.trim_start();
        let space = &text[..text.len() - start.len()];
        let Some(first) = start.chars().next() else { return (tokens, space) };
        let len = if first == '\'' || first == '"' {
            quoted_len(start)
        } else if first.is_alphanumeric() || first == '_' {
            start.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(start.len())
        } else if ["==", "!=", "<=", ">=", "//", "**"].iter().any(|op| start.starts_with(op)) {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(Token { space, text: &start[..len] });
        text = &start[len..];
    }
}

/// Rewrites the inside of a tag. In a statement the leading keyword, and in `for x in y` the first `in`, stay.
fn rewrite_tag(inner: &str, is_statement: bool, out: &mut String) {
    let (tokens, tail) = tokens(inner);
    let mut from = 0;
    if is_statement {
        // `{%-` and `{%+`: the sign belongs to the tag.
        let keyword = usize::from(tokens.first().is_some_and(|t| matches!(t.text, "-" | "+")));
        from = (keyword + 1).min(tokens.len());
        if tokens.get(keyword).is_some_and(|t| t.text == "for") {
            from = tokens.iter().position(|t| t.text == "in").map_or(tokens.len(), |at| at + 1);
        }
    } else if tokens.first().is_some_and(|t| matches!(t.text, "-" | "+")) {
        from = 1;
    }
    // A sign at the end closes the tag and is no operator.
    let to = match tokens.last() {
        Some(t) if matches!(t.text, "-" | "+") && tokens.len() > from => tokens.len() - 1,
        _ => tokens.len(),
    };
    push_all(&tokens[..from], out);
    out.push_str(&rewrite(&tokens[from..to]));
    push_all(&tokens[to..], out);
    out.push_str(tail);
}

fn push_all(tokens: &[Token<'_>], out: &mut String) {
    for token in tokens {
        out.push_str(token.space);
        out.push_str(token.text);
    }
}

/// Rewrites a run of tokens: brackets first, then the comparisons between the operands at this depth.
fn rewrite(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    let mut operands: Vec<String> = vec![String::new()];
    let mut comparisons: Vec<Comparison> = Vec::new();
    let mut at = 0;
    let mut after_is = false;
    while at < tokens.len() {
        let token = tokens[at];
        let operand = operands.last_mut().expect("there is always one operand");
        let is_test_name = after_is;
        after_is = token.text == "is" || (after_is && token.text == "not");
        if token.is_open() {
            let close = matching_close(tokens, at);
            operand.push_str(token.space);
            operand.push_str(token.text);
            operand.push_str(&rewrite(&tokens[at + 1..close]));
            push_all(&tokens[close..(close + 1).min(tokens.len())], operand);
            at = close + 1;
            continue;
        }
        let next = tokens.get(at + 1).map(|t| t.text);
        let comparison = match token.text {
            _ if is_test_name => None,
            "==" => Some(Comparison { holds: false, negated: false }),
            "!=" => Some(Comparison { holds: false, negated: true }),
            "in" => Some(Comparison { holds: true, negated: false }),
            "not" if next == Some("in") => Some(Comparison { holds: true, negated: true }),
            _ => None,
        };
        if let Some(comparison) = comparison {
            at += usize::from(token.text == "not");
            comparisons.push(comparison);
            operands.push(String::new());
        } else if token.is_border() && !is_test_name {
            out.push_str(&joined(&operands, &comparisons));
            push_all(&[token], &mut out);
            operands = vec![String::new()];
            comparisons.clear();
        } else {
            push_all(&[token], operand);
        }
        at += 1;
    }
    out.push_str(&joined(&operands, &comparisons));
    out
}

#[derive(Debug, Clone, Copy)]
struct Comparison {
    holds: bool,
    negated: bool,
}

/// `a == b in c` means `a == b and b in c`.
fn joined(operands: &[String], comparisons: &[Comparison]) -> String {
    if comparisons.is_empty() {
        return operands.concat();
    }
    let calls = comparisons.iter().zip(operands.windows(2)).map(|(comparison, pair)| {
        let (left, right) = (pair[0].trim(), pair[1].trim());
        let not = if comparison.negated { "not " } else { "" };
        if comparison.holds {
            format!("{not}{HOLDS}({right}, {left})")
        } else {
            format!("{not}{SAME}({left}, {right})")
        }
    });
    format!(" ({})", calls.collect::<Vec<_>>().join(" and "))
}

fn matching_close(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.is_open() {
            depth += 1;
        } else if token.is_close() {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_become_calls_and_the_rest_stays() {
        for (before, after) in [
            ("{% if '</think>' in text %}", "{% if (boca_holds(text, '</think>')) %}"),
            ("{%- elif a.b == 'x' and not c -%}", "{%- elif (boca_same(a.b, 'x')) and not c -%}"),
            (
                "{% for m in messages if m.role != 'tool' %}",
                "{% for m in messages if (not boca_same(m.role, 'tool')) %}",
            ),
            (
                "{{ 'a' if x not in [y == 1, 2] else b }}",
                "{{ 'a' if (not boca_holds([ (boca_same(y, 1)), 2], x)) else b }}",
            ),
            ("{% set a = b == c %}", "{% set a = (boca_same(b, c)) %}"),
            ("{{ f(a, key=b in c)[0] }}", "{{ f(a, key= (boca_holds(c, b)))[0] }}"),
            ("{{ 'it\\'s == {{ in' ~ x }} a == b", "{{ 'it\\'s == {{ in' ~ x }} a == b"),
            ("{% if x is in y or x is not none %}", "{% if x is in y or x is not none %}"),
            ("{# a == b #}{{- a ~ b -}}", "{# a == b #}{{- a ~ b -}}"),
            (
                "{% raw %}{{ a == b }}{% endraw %}{{ a == b }}",
                "{% raw %}{{ a == b }}{% endraw %}{{ (boca_same(a, b)) }}",
            ),
            ("{%- if not 'a' in b %}", "{%- if not (boca_holds(b, 'a')) %}"),
            ("{{ a == b == c }}", "{{ (boca_same(a, b) and boca_same(b, c)) }}"),
            ("plain in == text", "plain in == text"),
        ] {
            assert_eq!(see_through(before), after);
        }
    }

    #[test]
    fn broken_templates_pass_through_without_a_panic() {
        for source in [
            "{{",
            "{%",
            "{#",
            "{{ 'a",
            "{% if a ==",
            "{{ (a == b }}",
            "{{ a) == b }}",
            "{",
            "{{}}",
            "{%%}",
            "{{-}}",
        ] {
            see_through(source);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_passes_without_a_panic(source in "[-{}%#'\"\\\\ a=!(\\[\\])in,é]{0,40}") {
            see_through(&source);
        }
    }
}
