//! What a model's number says about the fields that it takes.

/// The rules that a model follows.
///
/// Source: <https://docs.claude.com/en/docs/about-claude/models/migration-guide>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Generation {
    /// Up to 4.5, and models of others behind this protocol: sampling fields, a budget of thinking tokens.
    Budget,
    /// 4.6: sampling fields, adaptive thinking.
    Adaptive,
    /// 4.7 and 4.8: adaptive thinking, no sampling fields, thinking off unless asked for.
    WithoutSampling,
    /// From 5 on: the same, thinking on unless switched off.
    ThinksByDefault,
}

impl Generation {
    /// `claude-opus-4-7`, `claude-sonnet-4-5-20250929`, `claude-3-5-haiku-latest`, `claude-opus-5`.
    pub(super) fn of_model(model: &str) -> Self {
        let Some(at) = model.find("claude-") else { return Self::Budget };
        let numbers: Vec<u32> = model[at..]
            .split(['-', '.', '@'])
            // Dates have more digits.
            .filter(|part| part.len() <= 2)
            .filter_map(|part| part.parse().ok())
            .collect();
        match (numbers.first().copied().unwrap_or(u32::MAX), numbers.get(1).copied().unwrap_or(0)) {
            (0..=3, _) | (4, 0..=5) => Self::Budget,
            (4, 6) => Self::Adaptive,
            (4, _) => Self::WithoutSampling,
            _ => Self::ThinksByDefault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        for (model, generation) in [
            ("claude-3-5-haiku-latest", Generation::Budget),
            ("claude-3-opus-20240229", Generation::Budget),
            ("claude-sonnet-4-20250514", Generation::Budget),
            ("claude-sonnet-4-5-20250929", Generation::Budget),
            ("anthropic.claude-opus-4-6-v1", Generation::Adaptive),
            ("claude-opus-4-7", Generation::WithoutSampling),
            ("claude-opus-5", Generation::ThinksByDefault),
            ("claude-something", Generation::ThinksByDefault),
            ("glm-4.6", Generation::Budget),
        ] {
            assert_eq!(Generation::of_model(model), generation, "{model}");
        }
    }
}
