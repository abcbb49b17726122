//! What a question is answered with: its own fields over its session's over the configured ones.

use super::question::CheckedQuestion;
use crate::config::ChatSettings;
use boca_core::fusion::effort_sampling;
use boca_core::{Effort, SamplingOverrides};
use boca_store::SessionSettings;

/// Used when even the configuration names no bound.
const FALLBACK_MAX_TOKENS: u32 = 4096;

/// Everything that three levels decide together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Merged {
    /// `None`: no system turn.
    pub(super) system: Option<String>,
    pub(super) sampling: SamplingOverrides,
    /// What the question itself asks for.
    pub(super) max_tokens: Option<u32>,
    /// What the lower levels allow.
    pub(super) default_max_tokens: u32,
    /// Whether it stays on this machine: once a session is private, every question of it is.
    pub(super) private: bool,
}

/// Merges. One preset counts: the question's, else the session's, else the configured one. It stands right below the
/// fields of the level that names it: a session that names a preset and a temperature gets its temperature, a
/// question that names a preset gets that preset's. The configured preset stands above the configured fields, which
/// are the lowest level of all.
///
/// What an effort says about thinking stands right below the fields of the level that names it as well: a question's
/// own effort above everything that is stored, the configured one below the session.
pub(super) fn merge(question: &CheckedQuestion, session: &SessionSettings, config: &ChatSettings) -> Merged {
    let values = |preset| config.presets.get(preset).clone();
    let (own_effort, configured_effort) =
        if question.names_effort { (question.effort, None) } else { (None, question.effort) };
    let lowest = effort_sampling(configured_effort).over(&config.sampling);
    let lower = match (question.preset, session.preset, config.preset) {
        (Some(preset), _, _) => values(preset).over(&session.sampling).over(&lowest),
        (None, Some(preset), _) | (None, None, Some(preset)) => {
            session.sampling.clone().over(&values(preset)).over(&lowest)
        }
        (None, None, None) => session.sampling.clone().over(&lowest),
    };
    let system = question.system.as_ref().or(session.system.as_ref()).or(config.system.as_ref());
    Merged {
        system: system.filter(|text| !text.trim().is_empty()).cloned(),
        max_tokens: question.sampling.max_tokens,
        default_max_tokens: lower.max_tokens.unwrap_or(FALLBACK_MAX_TOKENS),
        sampling: question.sampling.clone().over(&own_thinking(question, own_effort)).over(&lower),
        private: question.private || session.private,
    }
}

/// What the question's own effort says about thinking. A question that names a budget wants to see it used.
fn own_thinking(question: &CheckedQuestion, effort: Option<Effort>) -> SamplingOverrides {
    let by_effort = effort_sampling(effort);
    let names_budget = question.sampling.thinking_budget_tokens.is_some_and(|tokens| tokens > 0);
    if names_budget && by_effort.thinking == Some(false) {
        return SamplingOverrides { thinking: Some(true), ..by_effort };
    }
    by_effort
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::question::Question;
    use crate::chat::tests::chat_settings;
    use boca_core::Preset;

    fn temperature(value: f32) -> SamplingOverrides {
        SamplingOverrides { temperature: Some(value), ..SamplingOverrides::default() }
    }

    fn checked(question: Question) -> CheckedQuestion {
        CheckedQuestion::new(Question { message: "x".into(), ..question }, &chat_settings()).unwrap()
    }

    fn session(preset: Option<Preset>, sampling: SamplingOverrides) -> SessionSettings {
        SessionSettings { preset, sampling, ..SessionSettings::default() }
    }

    #[test]
    fn each_level_fills_what_the_one_above_leaves_open() {
        let config = ChatSettings {
            preset: Some(Preset::Creative),
            sampling: SamplingOverrides { seed: Some(9), max_tokens: Some(100), ..temperature(1.9) },
            ..chat_settings()
        };
        let open = checked(Question::default());
        let own = checked(Question { sampling: temperature(0.05), ..Question::default() });
        let accurate = checked(Question { preset: Some("accurate".into()), ..Question::default() });
        let plain = session(None, SamplingOverrides::default());
        let balanced = session(Some(Preset::Balanced), SamplingOverrides::default());
        let warm = session(Some(Preset::Balanced), temperature(1.5));
        let of = |question: &CheckedQuestion, session: &SessionSettings| {
            merge(question, session, &config).sampling.temperature
        };
        assert_eq!(of(&open, &plain), Some(1.0), "the configured preset stands above configured fields");
        assert_eq!(of(&open, &balanced), Some(0.6), "the session's preset instead of the configured one");
        assert_eq!(of(&open, &warm), Some(1.5), "a session's field over its preset");
        assert_eq!(of(&accurate, &warm), Some(0.2), "the question's preset over the session");
        assert_eq!(of(&own, &warm), Some(0.05), "the question's field over everything");
        assert_eq!(merge(&accurate, &warm, &config).sampling.seed, Some(9), "the lowest level fills gaps");
        let bare = ChatSettings { preset: None, ..config.clone() };
        assert_eq!(merge(&open, &plain, &bare).sampling.temperature, Some(1.9));
    }

    #[test]
    fn a_questions_own_effort_stands_above_what_is_stored_and_below_its_fields() {
        let thinking = |thinking, thinking_budget_tokens| SamplingOverrides {
            thinking,
            thinking_budget_tokens,
            ..SamplingOverrides::default()
        };
        let config = ChatSettings { sampling: thinking(Some(true), Some(2048)), ..chat_settings() };
        let hasty = ChatSettings { effort: Some(Effort::Fast), ..config.clone() };
        let plain = session(None, SamplingOverrides::default());
        let deep = session(None, thinking(Some(true), Some(100)));
        let silent = session(Some(Preset::Accurate), thinking(Some(false), None));
        let of = |effort: Option<&str>,
                  own: SamplingOverrides,
                  session: &SessionSettings,
                  config: &ChatSettings| {
            let effort = effort.map(str::to_owned);
            let question = Question { message: "x".into(), effort, sampling: own, ..Question::default() };
            let merged = merge(&CheckedQuestion::new(question, config).unwrap(), session, config).sampling;
            (merged.thinking, merged.thinking_budget_tokens)
        };
        let nothing = SamplingOverrides::default;
        const BEST: (Option<bool>, Option<u32>) = (Some(true), Some(16_384));
        assert_eq!(of(Some("best"), nothing(), &plain, &config), BEST);
        assert_eq!(of(Some("best"), nothing(), &deep, &config), BEST, "more than the session's budget");
        assert_eq!(of(Some("best"), nothing(), &silent, &config), BEST);
        assert_eq!(
            of(Some("best"), nothing(), &plain, &hasty),
            BEST,
            "its own effort, not the configured one"
        );
        assert_eq!(of(Some("fast"), nothing(), &deep, &config).0, Some(false));
        assert_eq!(of(Some("balanced"), nothing(), &deep, &config), (Some(true), Some(100)), "says nothing");

        assert_eq!(of(Some("best"), thinking(None, Some(7)), &deep, &config), (Some(true), Some(7)));
        assert_eq!(of(Some("best"), thinking(Some(false), None), &deep, &config).0, Some(false));
        assert_eq!(of(Some("fast"), thinking(Some(true), None), &plain, &config).0, Some(true));
        assert_eq!(of(Some("fast"), thinking(None, Some(7)), &plain, &config), (Some(true), Some(7)));

        assert_eq!(of(None, nothing(), &deep, &hasty), (Some(true), Some(100)), "a session above the config");
        assert_eq!(
            of(None, nothing(), &plain, &hasty).0,
            Some(false),
            "and the configured effort above its fields"
        );
    }

    #[test]
    fn a_budget_that_was_asked_for_is_told_from_one_that_was_not() {
        let config = ChatSettings { preset: None, ..chat_settings() };
        let lower = session(None, SamplingOverrides { max_tokens: Some(70), ..Default::default() });
        let open = merge(&checked(Question::default()), &lower, &config);
        assert_eq!((open.max_tokens, open.default_max_tokens), (None, 70));
        let sampling = SamplingOverrides { max_tokens: Some(5), ..Default::default() };
        let asked = merge(&checked(Question { sampling, ..Question::default() }), &lower, &config);
        assert_eq!((asked.max_tokens, asked.default_max_tokens), (Some(5), 70));
    }

    #[test]
    fn the_nearest_system_prompt_counts_and_a_blank_one_switches_it_off() {
        let config = ChatSettings { system: Some("config".into()), ..chat_settings() };
        let of = |question: Option<&str>, session: Option<&str>| {
            let question = checked(Question { system: question.map(str::to_owned), ..Question::default() });
            let session = SessionSettings { system: session.map(str::to_owned), ..Default::default() };
            merge(&question, &session, &config).system
        };
        assert_eq!(of(None, None).as_deref(), Some("config"));
        assert_eq!(of(None, Some("session")).as_deref(), Some("session"));
        assert_eq!(of(Some("question"), Some("session")).as_deref(), Some("question"));
        assert_eq!(of(Some(""), Some("session")), None);
        assert_eq!(of(None, Some(" ")), None);
    }
}
