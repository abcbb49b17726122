//! What one word about effort stands for.

use super::{FusionSettings, SelectBy};
use crate::{Effort, Mode, SamplingOverrides, Strategy};

/// Tokens of thinking that `best` leaves room for.
const BEST_THINKING_TOKENS: u32 = 16_384;

/// How a question is answered, once its own fields, its effort and the settings are laid over each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Manner {
    /// Who is asked.
    pub mode: Mode,
    /// How one answer comes out of several; `None` selects, and merges open questions whose answers differ.
    pub strategy: Option<Strategy>,
    /// How `select` decides.
    pub select_by: SelectBy,
    /// Whether everyone is waited for, and not only a quorum and its grace.
    pub waits_for_all: bool,
}

impl Manner {
    /// What holds for a question. Its own mode (unless it is `auto`, which stands for none) and strategy stand above
    /// its effort, and that above the settings.
    pub fn of(
        mode: &Mode,
        strategy: Option<Strategy>,
        effort: Option<Effort>,
        settings: &FusionSettings,
    ) -> Self {
        let by_effort = match effort {
            Some(Effort::Fast) => Some(Mode::Race),
            Some(Effort::Best) => Some(Mode::Collaborative),
            Some(Effort::Balanced) | None => None,
        };
        let mode = match mode {
            Mode::Auto => by_effort.unwrap_or_else(|| settings.default_mode.clone()),
            named => named.clone(),
        };
        let (strategy, select_by) = match effort {
            // Nobody is asked a second time.
            Some(Effort::Fast) => (strategy.or(Some(Strategy::Select)), SelectBy::Preferred),
            Some(Effort::Best) => (strategy, SelectBy::Judge),
            Some(Effort::Balanced) | None => (strategy.or(settings.strategy), settings.select_by),
        };
        Self { mode, strategy, select_by, waits_for_all: effort == Some(Effort::Best) }
    }
}

/// The thinking that an effort allows, to be laid under the fields that a request names itself.
pub fn effort_sampling(effort: Option<Effort>) -> SamplingOverrides {
    let nothing = SamplingOverrides::default();
    match effort {
        Some(Effort::Fast) => SamplingOverrides { thinking: Some(false), ..nothing },
        Some(Effort::Best) => SamplingOverrides {
            thinking: Some(true),
            thinking_budget_tokens: Some(BEST_THINKING_TOKENS),
            ..nothing
        },
        Some(Effort::Balanced) | None => nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_stands_above_the_effort_and_that_above_the_settings() {
        let settings = FusionSettings {
            default_mode: Mode::Local,
            strategy: Some(Strategy::Merge),
            ..FusionSettings::default()
        };
        let of = |mode: Mode, strategy, effort| Manner::of(&mode, strategy, effort, &settings);
        assert_eq!(of(Mode::Auto, None, None).mode, Mode::Local);
        assert_eq!(of(Mode::Auto, None, None).strategy, Some(Strategy::Merge));
        assert_eq!(of(Mode::Auto, None, Some(Effort::Balanced)).mode, Mode::Local);
        assert_eq!(of(Mode::Auto, None, Some(Effort::Fast)).mode, Mode::Race);
        assert_eq!(of(Mode::Auto, None, Some(Effort::Fast)).strategy, Some(Strategy::Select));
        assert_eq!(of(Mode::Auto, None, Some(Effort::Best)).mode, Mode::Collaborative);
        assert!(of(Mode::Auto, None, Some(Effort::Best)).waits_for_all);
        let named = of(Mode::Compare, Some(Strategy::Merge), Some(Effort::Fast));
        assert_eq!((named.mode, named.strategy), (Mode::Compare, Some(Strategy::Merge)));
        assert_eq!(effort_sampling(Some(Effort::Fast)).thinking, Some(false));
        assert_eq!(effort_sampling(Some(Effort::Balanced)), SamplingOverrides::default());
    }
}
