//! `json.dumps` as Python writes it: the `tojson` of chat templates.
//!
//! Source: Python's `json` module, and transformers' `tojson`, which calls it with `ensure_ascii`, `indent`,
//! `separators` and `sort_keys`, and escapes nothing for HTML.

use super::disguise::Disguise;
use super::python_text::float_repr;
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};
use std::fmt::Write;

/// The arguments of `json.dumps`.
#[derive(Debug, Clone)]
pub(super) struct JsonStyle {
    /// Write everything beyond ASCII as `\uXXXX`.
    pub(super) ensure_ascii: bool,
    /// What one level of nesting is indented by; `None` writes one line.
    pub(super) indent: Option<String>,
    /// Between two items, without a line end.
    pub(super) item_separator: String,
    /// Between a key and its value.
    pub(super) key_separator: String,
    /// Sort the keys of every object.
    pub(super) sort_keys: bool,
}

impl JsonStyle {
    /// Python's default separators, which depend on `indent`.
    pub(super) fn new(ensure_ascii: bool, indent: Option<String>, sort_keys: bool) -> Self {
        let item_separator = if indent.is_some() { "," } else { ", " };
        Self {
            ensure_ascii,
            indent,
            item_separator: item_separator.into(),
            key_separator: ": ".into(),
            sort_keys,
        }
    }
}

/// Writes a value as JSON. Disguised text stays disguised.
///
/// # Errors
/// For values that JSON cannot hold.
pub(super) fn dumps(value: &Value, style: &JsonStyle, disguise: &Disguise) -> Result<String, Error> {
    let mut out = String::new();
    Writer { style, disguise, out: &mut out }.value(value, 0)?;
    Ok(out)
}

struct Writer<'a> {
    style: &'a JsonStyle,
    disguise: &'a Disguise,
    out: &'a mut String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Map => self.map(value, depth)?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.container(('[', ']'), depth, items.len(), |writer, at| {
                    writer.value(&items[at], depth + 1)
                })?;
            }
            other => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("a value of type {other} is not JSON serializable"),
                ));
            }
        }
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut entries = Vec::new();
        for key in value.try_iter()? {
            let item = value.get_item(&key)?;
            entries.push((key_text(&key)?, item));
        }
        if self.style.sort_keys {
            entries.sort_by_cached_key(|(key, _)| self.disguise.reveal(key).into_owned());
        }
        self.container(('{', '}'), depth, entries.len(), |writer, at| {
            let (key, item) = &entries[at];
            writer.string(key);
            writer.out.push_str(&writer.style.key_separator);
            writer.value(item, depth + 1)
        })
    }

    fn container(
        &mut self,
        (open, close): (char, char),
        depth: usize,
        n_items: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for at in 0..n_items {
            if at > 0 {
                self.out.push_str(&self.style.item_separator);
            }
            self.new_line(depth + 1);
            item(self, at)?;
        }
        if n_items > 0 {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            let behind = self.disguise.reveal_char(c);
            match escape(behind, self.style.ensure_ascii) {
                None => self.out.push(c),
                // What a foreign character turns into is foreign too.
                Some(escaped) => self.out.push_str(&self.disguise.conceal(&escaped)),
            }
        }
        self.out.push('"');
    }
}

fn escape(c: char, ensure_ascii: bool) -> Option<String> {
    Some(match c {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        '\u{8}' => "\\b".into(),
        '\u{c}' => "\\f".into(),
        c if u32::from(c) < 0x20 => format!("\\u{:04x}", u32::from(c)),
        c if ensure_ascii && !('\u{20}'..='\u{7e}').contains(&c) => {
            let mut escaped = String::new();
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("writing to a string cannot fail");
            }
            escaped
        }
        _ => return None,
    })
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(float) if float.is_nan() => "NaN".into(),
        Ok(float) if float.is_infinite() => if float > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Ok(float) => float_repr(float),
        Err(_) => value.to_string(),
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
        ValueKind::None => "null".into(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.into(),
        ValueKind::Number => number(key),
        other => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("keys must be str, int, float, bool or None, not {other}"),
            ));
        }
    })
}
