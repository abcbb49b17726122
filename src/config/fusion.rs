//! `[fusion]`, validated.

use super::check::{Check, HOUR};
use super::error::ConfigError;
use super::file::FusionSection;
use super::providers::ConfiguredProvider;
use boca_core::fusion::{FusionSettings, SelectBy, SelectWeights};
use boca_core::{Mode, Strategy};

/// Checks the section.
///
/// # Errors
/// The first value out of its bounds, with its origin.
pub(super) fn fusion_settings(
    check: &Check<'_>,
    section: FusionSection,
    providers: &[ConfiguredProvider],
) -> Result<FusionSettings, ConfigError> {
    let share = |key: &str, value: Option<f64>, most: f64| {
        let value = check.number(key, value, 0.0, most)?;
        Ok::<_, ConfigError>(check.present(key, value)? as f32)
    };
    let source = |key: &str, name: Option<String>| match name {
        Some(name) if !is_source(&name, providers) => {
            Err(check.fail(key, format!("must be \"local\" or the name of a provider, got {name:?}")))
        }
        name => Ok(name),
    };
    let preferred = section.preferred.unwrap_or_default();
    for name in &preferred {
        source("fusion.preferred", Some(name.clone()))?;
    }
    let weights = SelectWeights {
        latency: share("fusion.weight_latency", section.weight_latency, 1000.0)?,
        cost: share("fusion.weight_cost", section.weight_cost, 1000.0)?,
        quality: share("fusion.weight_quality", section.weight_quality, 1000.0)?,
    };
    if weights.latency + weights.cost + weights.quality == 0.0 {
        return Err(
            check.fail("fusion.weight_quality", "must be above 0 when the other weights are 0, got 0")
        );
    }
    Ok(FusionSettings {
        // `chat.mode` is resolved before a question gets there, because it can change while the daemon runs.
        default_mode: Mode::Auto,
        strategy: check.one_of(
            "fusion.strategy",
            section.strategy,
            &[("auto", None), ("select", Some(Strategy::Select)), ("merge", Some(Strategy::Merge))],
        )?,
        select_by: check.one_of(
            "fusion.select_by",
            section.select_by,
            &[("judge", SelectBy::Judge), ("preferred", SelectBy::Preferred), ("record", SelectBy::Record)],
        )?,
        weights,
        quorum: check.count("fusion.quorum", section.quorum, 1, 64)?,
        grace: check.duration("fusion.grace", section.grace, 0, HOUR)?,
        collect_for: check.duration("fusion.collect_for", section.collect_for, 1, 24 * HOUR)?,
        agreement_threshold: share("fusion.agreement_threshold", section.agreement_threshold, 1.0)?,
        preferred,
        judge: source("fusion.judge", section.judge)?,
        synthesizer: source("fusion.synthesizer", section.synthesizer)?,
        judge_for: check.duration("fusion.judge_for", section.judge_for, 1, HOUR)?,
        demo_joins: check.present("fusion.demo_joins", section.demo_joins)?,
        finish_broken_answers: check
            .present("fusion.finish_broken_answers", section.finish_broken_answers)?,
    })
}

fn is_source(name: &str, providers: &[ConfiguredProvider]) -> bool {
    name == Mode::Local.as_str() || providers.iter().any(|provider| provider.name() == name)
}
