//! Checks of single values, which know where each one stands.

use super::error::ConfigError;
use super::file::SamplingSection;
use super::origin::Origin;
use super::providers::ConfiguredProvider;
use super::units::{ByteSize, HumanDuration};
use boca_core::{ContextPolicy, Effort, FieldError, Mode, Preset, SamplingOverrides};
use boca_engine::shared::Hosts;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

pub(super) const MINUTE: u64 = 60_000;
pub(super) const HOUR: u64 = 60 * MINUTE;

/// Checks values and knows where each one stands.
pub(super) struct Check<'a> {
    pub(super) origins: &'a BTreeMap<String, Origin>,
}

impl Check<'_> {
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    pub(super) fn fail(&self, key: &str, message: impl Display) -> ConfigError {
        ConfigError::invalid(&self.origin(key), format!("`{key}` {message}"))
    }

    pub(super) fn present<T>(&self, key: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| {
            let reason = match key {
                "daemon.socket" | "daemon.state_dir" => {
                    "has no default here, because there is no home directory; it must be set"
                }
                _ => "must be set",
            };
            self.fail(key, reason)
        })
    }

    pub(super) fn hosts(&self, key: &str, hosts: &[String]) -> Result<Hosts, ConfigError> {
        Hosts::new(hosts).map_err(|bad| self.fail(key, bad))
    }

    pub(super) fn optional(
        &self,
        key: &str,
        value: Option<u32>,
        least: u32,
        most: u32,
    ) -> Result<Option<u32>, ConfigError> {
        match value {
            Some(n) if n < least => Err(self.fail(key, format!("must be at least {least}, got {n}"))),
            Some(n) if n > most => Err(self.fail(key, format!("must be at most {most}, got {n}"))),
            _ => Ok(value),
        }
    }

    pub(super) fn count(
        &self,
        key: &str,
        value: Option<u32>,
        least: u32,
        most: u32,
    ) -> Result<usize, ConfigError> {
        let value = self.optional(key, value, least, most)?;
        Ok(self.present(key, value)? as usize)
    }

    pub(super) fn duration(
        &self,
        key: &str,
        value: Option<HumanDuration>,
        least_millis: u64,
        most_millis: u64,
    ) -> Result<Duration, ConfigError> {
        let value = self.present(key, value)?;
        let [least, most] = [least_millis, most_millis].map(|ms| HumanDuration(Duration::from_millis(ms)));
        if value < least {
            return Err(self.fail(key, format!("must be at least {least}, got {value}")));
        }
        if value > most {
            return Err(self.fail(key, format!("must be at most {most}, got {value}")));
        }
        Ok(value.0)
    }

    pub(super) fn size(
        &self,
        key: &str,
        value: Option<ByteSize>,
        least: u64,
        most: u64,
    ) -> Result<usize, ConfigError> {
        let value = self.present(key, value)?;
        if value.0 < least {
            return Err(self.fail(key, format!("must be at least {}, got {value}", ByteSize(least))));
        }
        if value.0 > most {
            return Err(self.fail(key, format!("must be at most {}, got {value}", ByteSize(most))));
        }
        usize::try_from(value.0)
            .map_err(|_| self.fail(key, format!("does not fit this machine, got {value}")))
    }

    /// A number from `least` to `most`.
    pub(super) fn number(
        &self,
        key: &str,
        value: Option<f64>,
        least: f64,
        most: f64,
    ) -> Result<Option<f64>, ConfigError> {
        match value {
            Some(n) if !(least..=most).contains(&n) => {
                Err(self.fail(key, format!("must be between {least} and {most}, got {n}")))
            }
            _ => Ok(value),
        }
    }

    pub(super) fn one_of<T: Clone>(
        &self,
        key: &str,
        value: Option<String>,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let value = self.present(key, value)?;
        let chosen = choices.iter().find(|(name, _)| *name == value);
        chosen.map(|(_, chosen)| chosen.clone()).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            self.fail(key, format!("must be one of {}, got {value:?}", names.join(", ")))
        })
    }

    pub(super) fn preset(&self, value: Option<String>) -> Result<Option<Preset>, ConfigError> {
        let choices = Preset::ALL.map(|preset| (preset.as_str(), preset));
        value.map(|value| self.one_of("chat.preset", Some(value), &choices)).transpose()
    }

    pub(super) fn mode(
        &self,
        value: Option<String>,
        providers: &[ConfiguredProvider],
    ) -> Result<Mode, ConfigError> {
        let name = self.present("chat.mode", value)?;
        let names: Vec<&str> = providers.iter().map(ConfiguredProvider::name).collect();
        match Mode::from_name(&name) {
            Mode::Provider(name) if !names.contains(&name.as_str()) => {
                let modes = Mode::NAMED.map(|mode| format!("\"{}\"", mode.as_str())).join(", ");
                let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
                let message =
                    format!("must be one of {modes} or the name of a provider ({known}), got {name:?}");
                Err(self.fail("chat.mode", message))
            }
            mode => Ok(mode),
        }
    }

    pub(super) fn effort(&self, value: Option<String>) -> Result<Option<Effort>, ConfigError> {
        let choices = Effort::ALL.map(|effort| (effort.as_str(), effort));
        value.map(|value| self.one_of("chat.effort", Some(value), &choices)).transpose()
    }

    pub(super) fn context_policy(&self, value: Option<String>) -> Result<ContextPolicy, ConfigError> {
        let choices = ContextPolicy::ALL.map(|policy| (policy.as_str(), policy));
        self.one_of("chat.context_policy", value, &choices)
    }

    pub(super) fn system(&self, value: Option<String>) -> Result<Option<String>, ConfigError> {
        match value {
            Some(text) if text.contains('\0') => {
                Err(self.fail("chat.system", "must not hold NUL characters"))
            }
            other => Ok(other.filter(|text| !text.trim().is_empty())),
        }
    }

    pub(super) fn log_level(&self, value: Option<String>) -> Result<String, ConfigError> {
        let level = self.present("log.level", value)?;
        match tracing_subscriber::EnvFilter::builder().parse(&level) {
            Ok(_) => Ok(level),
            Err(error) => Err(self.fail(
                "log.level",
                format!(
                    "must be a level (error, warn, info, debug, trace) or directives, got {level:?}: {error}"
                ),
            )),
        }
    }

    pub(super) fn sampling(
        &self,
        prefix: &str,
        section: SamplingSection,
    ) -> Result<SamplingOverrides, ConfigError> {
        let key = format!("{prefix}logit_bias");
        let mut logit_bias = BTreeMap::new();
        for (id, value) in section.logit_bias.iter().flatten() {
            let number = id.parse::<u32>();
            let number =
                number.map_err(|_| self.fail(&key, format!("must map token ids to numbers, got {id:?}")))?;
            logit_bias.insert(number, *value as f32);
        }
        let overrides = SamplingOverrides {
            temperature: section.temperature.map(|n| n as f32),
            top_p: section.top_p.map(|n| n as f32),
            top_k: section.top_k,
            min_p: section.min_p.map(|n| n as f32),
            repetition_penalty: section.repetition_penalty.map(|n| n as f32),
            presence_penalty: section.presence_penalty.map(|n| n as f32),
            frequency_penalty: section.frequency_penalty.map(|n| n as f32),
            seed: section.seed,
            logit_bias: section.logit_bias.is_some().then_some(logit_bias),
            max_tokens: section.max_tokens,
            thinking: None,
            thinking_budget_tokens: None,
        };
        overrides.check(prefix).map_err(|FieldError { field, message }| {
            let key = if field.starts_with(&key) { &key } else { &field };
            ConfigError::invalid(&self.origin(key), message)
        })?;
        Ok(overrides)
    }
}
