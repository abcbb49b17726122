//! Questions with what a good answer holds, one JSON object a line.

use serde_json::Value;

/// A question and how its answer is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BenchQuestion {
    /// The line that it stands on, from 1.
    pub(super) line: usize,
    /// What is asked.
    pub(super) message: String,
    /// Of each group at least one text must occur.
    pub(super) must: Vec<Vec<String>>,
    /// None of these may occur.
    pub(super) must_not: Vec<String>,
}

impl BenchQuestion {
    /// Whether an answer holds what it must and nothing that it must not. Case makes no difference.
    pub(super) fn is_passed_by(&self, answer: &str) -> bool {
        let answer = answer.to_lowercase();
        let has = |text: &String| answer.contains(&text.to_lowercase());
        self.must.iter().all(|group| group.iter().any(has)) && !self.must_not.iter().any(has)
    }
}

/// Reads every question. Blank lines are passed over.
///
/// # Errors
/// The first bad line, by its number.
pub(super) fn read(text: &str) -> Result<Vec<BenchQuestion>, String> {
    let mut questions = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = at + 1;
        let question = question(line).map_err(|fault| format!("line {number}: {fault}"))?;
        questions.push(BenchQuestion { line: number, ..question });
    }
    match questions.is_empty() {
        true => Err("there is no question in it".to_owned()),
        false => Ok(questions),
    }
}

fn question(line: &str) -> Result<BenchQuestion, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("not valid JSON: {error}"))?;
    let Value::Object(fields) = value else { return Err("must be a JSON object".to_owned()) };
    let mut question = BenchQuestion::default();
    let mut has_message = false;
    for (name, value) in fields {
        match name.as_str() {
            "message" => {
                question.message = text("message", value)?;
                has_message = true;
            }
            "must" => {
                question.must = list("must", value)?.into_iter().map(group).collect::<Result<_, _>>()?
            }
            "must_not" => {
                let texts = list("must_not", value)?.into_iter().map(|value| text("must_not", value));
                question.must_not = texts.collect::<Result<_, _>>()?;
            }
            other => {
                return Err(format!("`{other}` is not a field, expected `message`, `must` or `must_not`"));
            }
        }
    }
    match has_message {
        false => Err("`message` is missing".to_owned()),
        true => Ok(question),
    }
}

/// The alternatives of one thing that must occur; a text alone is the only one.
fn group(value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(_) => Ok(vec![text("must", value)?]),
        value => {
            let texts = list("must", value)?.into_iter().map(|value| text("must", value));
            let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
            match texts.is_empty() {
                true => Err("a group of `must` is empty, so that no answer could pass".to_owned()),
                false => Ok(texts),
            }
        }
    }
}

fn list(field: &str, value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(format!("`{field}` must be a list")),
    }
}

fn text(field: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        Value::String(_) => Err(format!("a text of `{field}` is blank")),
        _ => Err(format!("`{field}` must hold texts")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_what_they_hold() {
        let questions = read(
            "{\"message\": \"Capital of France?\", \"must\": [[\"Paris\", \"paname\"], \"france\"], \"must_not\": [\"Lyon\"]}\n\n\
             {\"message\": \"Anything\"}\n",
        )
        .unwrap();
        assert_eq!(questions.iter().map(|question| question.line).collect::<Vec<_>>(), [1, 3]);
        let passes = |answer| questions[0].is_passed_by(answer);
        assert!(passes("It is PARIS, in France."));
        assert!(passes("Paname! France!"));
        assert!(!passes("Paris."), "every group counts");
        assert!(!passes("Paris or Lyon, in France"));
        assert!(questions[1].is_passed_by(""));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let good = "{\"message\": \"a\"}\n";
        for (line, expected) in [
            ("{\"message\": ", "line 2: not valid JSON"),
            ("[1]", "line 2: must be a JSON object"),
            ("{\"must\": []}", "line 2: `message` is missing"),
            ("{\"message\": \" \"}", "line 2: a text of `message` is blank"),
            ("{\"message\": \"a\", \"most\": []}", "line 2: `most` is not a field"),
            ("{\"message\": \"a\", \"must\": \"b\"}", "line 2: `must` must be a list"),
            ("{\"message\": \"a\", \"must\": [[]]}", "line 2: a group of `must` is empty"),
            ("{\"message\": \"a\", \"must_not\": [1]}", "line 2: `must_not` must hold texts"),
        ] {
            let fault = read(&format!("{good}{line}\n")).unwrap_err();
            assert!(fault.starts_with(expected), "{line}: {fault}");
        }
        assert_eq!(read("\n \n").unwrap_err(), "there is no question in it");
    }
}
