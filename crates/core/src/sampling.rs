//! How tokens are picked: fields, bounds, presets and their precedence.

use crate::FieldError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

const TEMPERATURE: RangeInclusive<f32> = 0.0..=2.0;
const TOP_P: RangeInclusive<f32> = 0.0..=1.0;
const MIN_P: RangeInclusive<f32> = 0.0..=1.0;
const REPETITION_PENALTY: RangeInclusive<f32> = 0.1..=2.0;
const ADDITIVE_PENALTY: RangeInclusive<f32> = -2.0..=2.0;
const LOGIT_BIAS: RangeInclusive<f32> = -100.0..=100.0;
const MAX_LOGIT_BIAS_ENTRIES: usize = 1024;
/// The largest `top_k`; wider than any vocabulary in use.
const MAX_TOP_K: u32 = 1_000_000;

/// A named set of sampling values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Few surprises: facts, code, extraction.
    Accurate,
    /// The middle way.
    Balanced,
    /// Varied wording and ideas.
    Creative,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 3] = [Self::Accurate, Self::Balanced, Self::Creative];

    /// The name in requests and in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accurate => "accurate",
            Self::Balanced => "balanced",
            Self::Creative => "creative",
        }
    }
}

/// Sampling fields of which each may be left open. Every level (request, preset, session, config, checkpoint) is
/// one of these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingOverrides {
    /// 0 picks the most likely token; higher is more varied.
    pub temperature: Option<f32>,
    /// Keep the most likely tokens that together have this probability.
    pub top_p: Option<f32>,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keep tokens at least this likely, relative to the most likely one.
    pub min_p: Option<f32>,
    /// Divide the logit of tokens that occurred before by this (multiply when it is negative); 1 is off.
    pub repetition_penalty: Option<f32>,
    /// Subtract this from the logit of every token that was generated before.
    pub presence_penalty: Option<f32>,
    /// Subtract this from the logit of a token once for each time it was generated.
    pub frequency_penalty: Option<f32>,
    /// Same seed, same request, same text.
    pub seed: Option<u64>,
    /// Added to the logits of these token ids.
    pub logit_bias: Option<BTreeMap<u32, f32>>,
    /// The most tokens to generate.
    pub max_tokens: Option<u32>,
    /// Whether the model may think before it answers.
    pub thinking: Option<bool>,
    /// The most tokens of thinking.
    pub thinking_budget_tokens: Option<u32>,
}

/// Sampling with every field decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// See [`SamplingOverrides::temperature`].
    pub temperature: f32,
    /// See [`SamplingOverrides::top_p`]; 1 is off.
    pub top_p: f32,
    /// See [`SamplingOverrides::top_k`]; 0 is off.
    pub top_k: u32,
    /// See [`SamplingOverrides::min_p`]; 0 is off.
    pub min_p: f32,
    /// See [`SamplingOverrides::repetition_penalty`]; 1 is off.
    pub repetition_penalty: f32,
    /// See [`SamplingOverrides::presence_penalty`]; 0 is off.
    pub presence_penalty: f32,
    /// See [`SamplingOverrides::frequency_penalty`]; 0 is off.
    pub frequency_penalty: f32,
    /// `None`: the engine draws one.
    pub seed: Option<u64>,
    /// Empty is off. Pairs of token id and bias, by id.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Sampling {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            logit_bias: Vec::new(),
        }
    }

    /// What users of GLM-4.5-Air found to work: 0.6 with thinking, 1.0 without, top-p 0.95.
    pub fn recommended(thinking: bool) -> Self {
        Self { temperature: if thinking { 0.6 } else { 1.0 }, top_p: 0.95, ..Self::greedy() }
    }
}

macro_rules! fill_gaps {
    ($upper:expr, $lower:expr, $($field:ident),+) => {
        $( if $upper.$field.is_none() { $upper.$field.clone_from(&$lower.$field); } )+
    };
}

impl SamplingOverrides {
    /// For a request to an engine that goes on from a prompt made with these fields, but without thinking. A template
    /// writes the whole conversation in another way when thinking is switched off, so it stays switched on where it was,
    /// and ends as soon as it begins: the keys and values of the prompt are found again.
    #[must_use]
    pub fn unthinking_on_same_prompt(&self) -> Self {
        if self.thinking == Some(false) || self.thinking_budget_tokens == Some(0) {
            return Self { thinking: Some(false), ..Self::default() };
        }
        Self { thinking: self.thinking, thinking_budget_tokens: Some(1), ..Self::default() }
    }

    /// These fields, with the gaps filled from a lower level.
    #[must_use]
    pub fn over(mut self, lower: &Self) -> Self {
        fill_gaps!(
            self,
            lower,
            temperature,
            top_p,
            top_k,
            min_p,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            seed,
            logit_bias,
            max_tokens,
            thinking,
            thinking_budget_tokens
        );
        self
    }

    /// Decides every field that is still open by [`Sampling::recommended`].
    pub fn resolve(&self, thinking: bool) -> Sampling {
        let recommended = Sampling::recommended(thinking);
        Sampling {
            temperature: self.temperature.unwrap_or(recommended.temperature),
            top_p: self.top_p.unwrap_or(recommended.top_p),
            top_k: self.top_k.unwrap_or(recommended.top_k),
            min_p: self.min_p.unwrap_or(recommended.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(recommended.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(recommended.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(recommended.frequency_penalty),
            seed: self.seed,
            logit_bias: self.logit_bias.iter().flatten().map(|(id, bias)| (*id, *bias)).collect(),
        }
    }

    /// Checks every field that is set.
    ///
    /// # Errors
    /// The first field out of bounds, with bound and value. `prefix` goes before the field's name (`sampling.` in a
    /// config, empty in a request).
    pub fn check(&self, prefix: &str) -> Result<(), FieldError> {
        let within = |field: &str, value: Option<f32>, bounds: RangeInclusive<f32>| match value {
            Some(v) if !bounds.contains(&v) => {
                let (low, high) = bounds.into_inner();
                let field = format!("{prefix}{field}");
                Err(FieldError::new(&field, format!("`{field}` must be between {low} and {high}, got {v}")))
            }
            _ => Ok(()),
        };
        within("temperature", self.temperature, TEMPERATURE)?;
        within("top_p", self.top_p, TOP_P)?;
        within("min_p", self.min_p, MIN_P)?;
        within("repetition_penalty", self.repetition_penalty, REPETITION_PENALTY)?;
        within("presence_penalty", self.presence_penalty, ADDITIVE_PENALTY)?;
        within("frequency_penalty", self.frequency_penalty, ADDITIVE_PENALTY)?;
        let at_most = |field: &str, value: u64, most: u64| {
            let field = format!("{prefix}{field}");
            (value <= most).then_some(()).ok_or_else(|| {
                FieldError::new(&field, format!("`{field}` must be at most {most}, got {value}"))
            })
        };
        at_most("top_k", u64::from(self.top_k.unwrap_or(0)), u64::from(MAX_TOP_K))?;
        if self.max_tokens == Some(0) {
            let field = format!("{prefix}max_tokens");
            return Err(FieldError::new(&field, format!("`{field}` must be at least 1, got 0")));
        }
        if let Some(bias) = &self.logit_bias {
            at_most("logit_bias", bias.len() as u64, MAX_LOGIT_BIAS_ENTRIES as u64)?;
            for (id, value) in bias {
                within(&format!("logit_bias.{id}"), Some(*value), LOGIT_BIAS)?;
            }
        }
        Ok(())
    }
}

/// The values of each preset.
#[derive(Debug, Clone, PartialEq)]
pub struct PresetTable {
    /// See [`Preset::Accurate`].
    pub accurate: SamplingOverrides,
    /// See [`Preset::Balanced`].
    pub balanced: SamplingOverrides,
    /// See [`Preset::Creative`].
    pub creative: SamplingOverrides,
}

impl PresetTable {
    /// The values of one preset.
    pub fn get(&self, preset: Preset) -> &SamplingOverrides {
        match preset {
            Preset::Accurate => &self.accurate,
            Preset::Balanced => &self.balanced,
            Preset::Creative => &self.creative,
        }
    }
}

impl Default for PresetTable {
    /// The reasons stand in `config/boca.toml`, beside each value.
    fn default() -> Self {
        let preset =
            |temperature, top_p, top_k, repetition, frequency, presence, max_tokens| SamplingOverrides {
                temperature: Some(temperature),
                top_p: Some(top_p),
                top_k: Some(top_k),
                repetition_penalty: Some(repetition),
                frequency_penalty: Some(frequency),
                presence_penalty: Some(presence),
                max_tokens: Some(max_tokens),
                ..SamplingOverrides::default()
            };
        Self {
            accurate: preset(0.2, 0.9, 40, 1.0, 0.0, 0.0, 4096),
            balanced: preset(0.6, 0.95, 0, 1.0, 0.0, 0.0, 4096),
            creative: preset(1.0, 0.98, 0, 1.05, 0.15, 0.05, 8192),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_level_wins_field_by_field() {
        let request = SamplingOverrides { temperature: Some(0.1), ..Default::default() };
        let session =
            SamplingOverrides { temperature: Some(0.9), top_k: Some(7), seed: Some(3), ..Default::default() };
        let preset = PresetTable::default();
        let merged = request.over(preset.get(Preset::Accurate)).over(&session);
        assert_eq!(merged.temperature, Some(0.1));
        assert_eq!(merged.top_k, Some(40));
        assert_eq!(merged.seed, Some(3));
    }

    #[test]
    fn open_fields_follow_the_recommendation() {
        let open = SamplingOverrides::default();
        assert_eq!(open.resolve(true).temperature, 0.6);
        assert_eq!(open.resolve(false).temperature, 1.0);
        assert_eq!(open.resolve(false).top_p, 0.95);
    }

    #[test]
    fn bounds_name_field_bound_and_value() {
        let check = |o: SamplingOverrides| o.check("").unwrap_err().message;
        assert_eq!(
            check(SamplingOverrides { temperature: Some(2.5), ..Default::default() }),
            "`temperature` must be between 0 and 2, got 2.5"
        );
        assert!(
            check(SamplingOverrides { temperature: Some(f32::NAN), ..Default::default() }).contains("NaN")
        );
        assert!(
            check(SamplingOverrides { max_tokens: Some(0), ..Default::default() }).contains("at least 1")
        );
        let bias = BTreeMap::from([(5, 101.0)]);
        assert_eq!(
            check(SamplingOverrides { logit_bias: Some(bias), ..Default::default() }),
            "`logit_bias.5` must be between -100 and 100, got 101"
        );
        assert_eq!(SamplingOverrides::default().check(""), Ok(()));
        for preset in Preset::ALL {
            assert_eq!(PresetTable::default().get(preset).check(""), Ok(()), "{preset:?}");
        }
    }
}
