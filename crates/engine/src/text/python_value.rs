//! `str()` and `repr()` of the values that a template prints.

use super::disguise::Disguise;
use super::python_text::{float_repr, repr_escape, repr_quote};
use minijinja::Value;
use minijinja::value::ValueKind;

/// `str(value)`, which is what `{{ value }}` prints: `None`, `True`, `1e+16`, `{'a': 1}`. Undefined prints nothing.
pub(super) fn to_str(value: &Value, disguise: &Disguise) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        _ => repr(value, disguise),
    }
}

/// `repr(value)`. Disguised text stays disguised.
fn repr(value: &Value, disguise: &Disguise) -> String {
    match value.kind() {
        ValueKind::Undefined => "Undefined".into(),
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number if value.is_integer() => value.to_string(),
        ValueKind::Number => f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float_repr),
        ValueKind::String => repr_text(value.as_str().unwrap_or_default(), disguise),
        ValueKind::Map => {
            let entries = value.try_iter().into_iter().flatten().map(|key| {
                let item = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", repr(&key, disguise), repr(&item, disguise))
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        ValueKind::Seq if value.is_tuple() => {
            let items = items(value, disguise);
            if items.len() == 1 { format!("({},)", items[0]) } else { format!("({})", items.join(", ")) }
        }
        ValueKind::Seq => format!("[{}]", items(value, disguise).join(", ")),
        _ => value.to_string(),
    }
}

fn items(value: &Value, disguise: &Disguise) -> Vec<String> {
    value.try_iter().into_iter().flatten().map(|item| repr(&item, disguise)).collect()
}

fn repr_text(text: &str, disguise: &Disguise) -> String {
    let quote = repr_quote(&disguise.reveal(text));
    let mut out = String::from(quote);
    for c in text.chars() {
        match repr_escape(disguise.reveal_char(c), quote) {
            None => out.push(c),
            Some(escaped) => out.push_str(&disguise.conceal(&escaped)),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_python() {
        let disguise = Disguise::new(["<|user|>"].into_iter());
        let show = |json: &str| {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            to_str(&super::super::foreign::to_value(&value, &disguise), &disguise)
        };
        for (json, text) in [
            ("null", "None"),
            ("true", "True"),
            ("[1, 2.0, null]", "[1, 2.0, None]"),
            (
                r#"{"a": "it's", "b": "\"'\n", "c": {"d": []}}"#,
                r#"{'a': "it's", 'b': '"\'\n', 'c': {'d': []}}"#,
            ),
            (r#""plain""#, "plain"),
        ] {
            assert_eq!(disguise.reveal(&show(json)), text);
        }
        // Only the characters of a special token are disguised.
        assert!(disguise.clashes_with(&show(r#""<""#)));
    }
}
