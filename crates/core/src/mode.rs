//! Who is asked, and how one answer comes out of several.

use serde::{Deserialize, Serialize};

/// Who is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The default: collaborative when two or more real providers are available, else the one there is.
    #[default]
    Auto,
    /// Every available provider at once, then one answer.
    Collaborative,
    /// The model on this machine.
    Local,
    /// Collaborative among the providers that are not on this machine.
    Cloud,
    /// One provider after the other, until one answers.
    Fallback,
    /// Every available provider at once; the first good answer wins and the others are cancelled.
    Race,
    /// Every available provider at once; all answers, side by side.
    Compare,
    /// A provider by its name.
    Provider(String),
}

impl Mode {
    /// The modes that have a name of their own, so that no provider may be called like one.
    pub const NAMED: [Self; 7] = [
        Self::Auto,
        Self::Collaborative,
        Self::Local,
        Self::Cloud,
        Self::Fallback,
        Self::Race,
        Self::Compare,
    ];

    /// The name in requests, in the config, in metrics and in traces.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Auto => "auto",
            Self::Collaborative => "collaborative",
            Self::Local => "local",
            Self::Cloud => "cloud",
            Self::Fallback => "fallback",
            Self::Race => "race",
            Self::Compare => "compare",
            Self::Provider(name) => name,
        }
    }

    /// The mode of this name; a name that is no mode's is taken for a provider's.
    pub fn from_name(name: &str) -> Self {
        let named = Self::NAMED.into_iter().find(|mode| mode.as_str() == name);
        named.unwrap_or_else(|| Self::Provider(name.to_owned()))
    }
}

/// How an answer comes out of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One of the answers as it is: nothing is generated a second time.
    Select,
    /// A synthesizer model writes one answer from all of them.
    Merge,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 2] = [Self::Select, Self::Merge];

    /// The name in requests, in the config and in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Merge => "merge",
        }
    }
}

/// How much an answer may cost in time and tokens: sets mode, thinking budget and strategy in one word. What a request
/// names itself stands above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// The first good answer, without thinking.
    Fast,
    /// The defaults.
    Balanced,
    /// Everyone is asked and waited for, with room to think.
    Best,
}

impl Effort {
    /// Every effort.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Balanced, Self::Best];

    /// The name in requests, in the config and in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Best => "best",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_modes() {
        for mode in Mode::NAMED {
            assert_eq!(Mode::from_name(mode.as_str()), mode);
        }
        assert_eq!(Mode::from_name("gemini"), Mode::Provider("gemini".into()));
    }
}
