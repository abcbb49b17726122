//! What a judge says.

use serde::Deserialize;

/// Reasons are shown in traces, so they are kept short.
const MOST_REASON_CHARS: usize = 300;

/// A judge's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeVerdict {
    /// The number of the best source, from 1.
    pub best: usize,
    /// Why, in the judge's words, on one line; may be empty.
    pub reason: String,
}

/// A reply that is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVerdict {
    /// Not the JSON object that was asked for.
    #[error("the judge did not reply with the JSON object that was asked for: {0}")]
    NotJson(String),
    /// A source that does not exist.
    #[error("the judge chose source {best}, and there are {n_sources}")]
    NoSuchSource {
        /// What it chose.
        best: i64,
        /// How many there are.
        n_sources: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    best: i64,
    #[serde(default)]
    reason: String,
}

/// Reads a judge's reply: one JSON object, alone or in one code block, and nothing else.
///
/// # Errors
/// See [`BadVerdict`].
pub fn read_verdict(reply: &str, n_sources: usize) -> Result<JudgeVerdict, BadVerdict> {
    let json = without_code_block(reply.trim());
    let reply: Reply = serde_json::from_str(json).map_err(|error| BadVerdict::NotJson(error.to_string()))?;
    let best = usize::try_from(reply.best).ok().filter(|best| (1..=n_sources).contains(best));
    let best = best.ok_or(BadVerdict::NoSuchSource { best: reply.best, n_sources })?;
    let one_line = reply.reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = one_line.chars().filter(|c| !c.is_control()).take(MOST_REASON_CHARS).collect();
    Ok(JudgeVerdict { best, reason })
}

fn without_code_block(text: &str) -> &str {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inner.and_then(|inner| inner.split_once('\n')) {
        Some(("" | "json", inside)) => inside.trim(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_object_that_was_asked_for_counts() {
        let good = |reply: &str| read_verdict(reply, 3).map(|verdict| verdict.best);
        assert_eq!(good(r#"{"best": 2, "reason": "it is right"}"#), Ok(2));
        assert_eq!(good("```json\n{\"best\": 3}\n```"), Ok(3));
        assert_eq!(good(r#"{"best": 4}"#), Err(BadVerdict::NoSuchSource { best: 4, n_sources: 3 }));
        assert!(matches!(good(r#"{"best": 0}"#), Err(BadVerdict::NoSuchSource { .. })));
        for bad in [
            "Source 2 is best",
            r#"{"best": "2"}"#,
            r#"{"best": 1.5}"#,
            r#"{"best": 1, "also": 2}"#,
            r#"{"best": 1} {"best": 2}"#,
            r#"I think {"best": 1}"#,
            r#"{"reason": "none"}"#,
            "",
        ] {
            assert!(matches!(good(bad), Err(BadVerdict::NotJson(_))), "{bad}");
        }
        let long = format!(r#"{{"best": 1, "reason": "a\n\u0007b {}"}}"#, "x".repeat(1000));
        let reason = read_verdict(&long, 1).unwrap().reason;
        assert!(reason.starts_with("a b x") && reason.chars().count() == MOST_REASON_CHARS);
    }

    proptest! {
        #[test]
        fn no_reply_breaks_it(reply in "\\PC{0,80}|[{}\"best:, 0-9`\n]{0,40}", n_sources in 0usize..5) {
            if let Ok(verdict) = read_verdict(&reply, n_sources) {
                prop_assert!((1..=n_sources).contains(&verdict.best));
            }
        }
    }
}
