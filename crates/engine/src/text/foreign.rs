//! Values from messages and tools, as the template sees them: their text is disguised, and lookups see through it.

use super::disguise::Disguise;
use minijinja::Value;
use minijinja::value::{Enumerator, Object};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;

/// The roles that a chat template compares with and may build its markers from (`'<|' ~ message.role ~ '|>'`): a
/// role comes from the request's structure, not from anyone's text, and is the one value that is never disguised.
const ROLES: [&str; 7] = ["system", "developer", "user", "assistant", "tool", "function", "observation"];

/// A JSON value with all its text disguised.
pub(super) fn to_value(json: &Json, disguise: &Disguise) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(signed), _) => Value::from(signed),
            (None, Some(unsigned)) => Value::from(unsigned),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(disguise.conceal(text)),
        Json::Array(items) => items.iter().map(|item| to_value(item, disguise)).collect(),
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, item)| (key.as_str(), to_value(item, disguise)));
            Value::from_object(ForeignMap::new(entries, disguise))
        }
    }
}

/// A message: as [`to_value`], with its role in plain text.
pub(super) fn message_to_value(json: &Json, disguise: &Disguise) -> Value {
    let Json::Object(entries) = json else { return to_value(json, disguise) };
    let entries = entries.iter().map(|(key, item)| match item {
        Json::String(role) if key == "role" && ROLES.contains(&role.as_str()) => {
            (key.as_str(), Value::from(role.as_str()))
        }
        item => (key.as_str(), to_value(item, disguise)),
    });
    Value::from_object(ForeignMap::new(entries, disguise))
}

/// An object whose keys are disguised where they are listed and found by their plain text.
#[derive(Debug)]
struct ForeignMap {
    disguise: Disguise,
    /// Disguised keys, in the order in which they were written.
    keys: Vec<Value>,
    /// By plain key.
    values: HashMap<String, Value>,
}

impl ForeignMap {
    fn new<'a>(entries: impl Iterator<Item = (&'a str, Value)>, disguise: &Disguise) -> Self {
        let mut map = Self { disguise: disguise.clone(), keys: Vec::new(), values: HashMap::new() };
        for (key, value) in entries {
            map.keys.push(Value::from(disguise.conceal(key)));
            map.values.insert(key.to_owned(), value);
        }
        map
    }
}

impl Object for ForeignMap {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.values.get(&*self.disguise.reveal(key)).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.keys.clone())
    }
}
