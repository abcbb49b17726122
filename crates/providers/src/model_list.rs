//! The lists of models that servers answer with, read for their names alone.

use crate::decode::or_default;
use serde::Deserialize;

/// Gemini's list, and Ollama's `/api/tags`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListByName {
    #[serde(deserialize_with = "or_default")]
    models: Vec<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(deserialize_with = "or_default")]
    name: String,
}

/// The list of OpenAI-compatible servers and of Anthropic.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListById {
    #[serde(deserialize_with = "or_default")]
    data: Vec<Identified>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Identified {
    #[serde(deserialize_with = "or_default")]
    id: String,
}

impl ListByName {
    /// The names, without the collection that Gemini puts in front of them.
    pub(crate) fn names(self) -> Vec<String> {
        let short = |model: Named| model.name.strip_prefix("models/").unwrap_or(&model.name).to_owned();
        self.models.into_iter().map(short).filter(|name| !name.is_empty()).collect()
    }
}

impl ListById {
    /// The names.
    pub(crate) fn names(self) -> Vec<String> {
        self.data.into_iter().map(|model| model.id).filter(|id| !id.is_empty()).collect()
    }
}
