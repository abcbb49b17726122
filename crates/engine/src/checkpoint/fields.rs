//! Reading bounded values out of a JSON object, with errors that name file, field, bound and value.

use super::error::{CheckpointError, shown};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// An object of a JSON file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) file: &'a str,
    /// Goes before the names in messages: empty, or `outer.`.
    pub(super) prefix: &'a str,
    pub(super) object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The value, unless it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A whole number within bounds.
    pub(super) fn count(&self, name: &str, bounds: RangeInclusive<usize>) -> Result<usize, CheckpointError> {
        match self.optional_count(name, bounds.clone())? {
            Some(count) => Ok(count),
            None => Err(self.missing(name, &whole_number(&bounds))),
        }
    }

    /// A whole number within bounds, or null, or nothing.
    pub(super) fn optional_count(
        &self,
        name: &str,
        bounds: RangeInclusive<usize>,
    ) -> Result<Option<usize>, CheckpointError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| bounds.contains(n)) {
            Some(n) => Ok(Some(n)),
            None => Err(self.bad(name, &whole_number(&bounds), value)),
        }
    }

    /// A number greater than 0 and at most `most`.
    pub(super) fn positive(&self, name: &str, most: f64) -> Result<f64, CheckpointError> {
        match self.optional_positive(name, most)? {
            Some(number) => Ok(number),
            None => Err(self.missing(name, &positive_number(most))),
        }
    }

    /// A number greater than 0 and at most `most`, or null, or nothing.
    pub(super) fn optional_positive(&self, name: &str, most: f64) -> Result<Option<f64>, CheckpointError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|x| *x > 0.0 && *x <= most) {
            Some(x) => Ok(Some(x)),
            None => Err(self.bad(name, &positive_number(most), value)),
        }
    }

    /// True or false; `default` when it is absent or null.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, CheckpointError> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(name, "true or false", value)),
        }
    }

    /// Demands that a text is one of those supported; absent is fine.
    pub(super) fn one_of(&self, name: &str, supported: &[&str]) -> Result<(), CheckpointError> {
        match self.get(name) {
            Some(value) if !value.as_str().is_some_and(|text| supported.contains(&text)) => {
                let names: Vec<_> = supported.iter().map(|s| format!("`{s}`")).collect();
                Err(self.bad(name, &names.join(" or "), value))
            }
            _ => Ok(()),
        }
    }

    /// A nested object; `None` when it is absent or null.
    pub(super) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, CheckpointError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => {
                value.as_object().map(Some).ok_or_else(|| self.bad(name, "an object or null", value))
            }
        }
    }

    /// The error for a field that must be there.
    pub(super) fn missing(&self, name: &str, expected: &str) -> CheckpointError {
        self.error(name, expected, "no such field".into())
    }

    /// The error for a bad value.
    pub(super) fn bad(&self, name: &str, expected: &str, found: &Value) -> CheckpointError {
        self.error(name, expected, shown(&found.to_string()))
    }

    pub(super) fn error(&self, name: &str, expected: &str, found: String) -> CheckpointError {
        CheckpointError::BadField {
            file: self.file.into(),
            field: format!("{}{}", self.prefix, shown(name)),
            expected: expected.into(),
            found,
        }
    }
}

fn whole_number(bounds: &RangeInclusive<usize>) -> String {
    format!("a whole number from {} to {}", bounds.start(), bounds.end())
}

fn positive_number(most: f64) -> String {
    format!("a number greater than 0 and at most {most}")
}
