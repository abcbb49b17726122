//! `[[provider]]`, validated: everything but the key, which is fetched when a daemon starts (see [`super::keys`]).

use super::check::{Check, HOUR, MINUTE};
use super::error::ConfigError;
use super::origin::Origin;
use super::provider_file::{
    ProviderLimitsSection, ProviderPricesSection, ProviderRequiresSection, ProviderSection,
};
use boca_actors::ProviderSettings;
use boca_core::resilience::{LongContextPrices, Prices, TokenPrices};
use boca_core::{MicroUsd, ProviderKind, Requirements, SamplingOverrides};
use boca_providers::guarded::GuardSettings;
use boca_providers::{Endpoint, Timeouts};
use std::path::PathBuf;

/// The model of a Gemini provider that names none.
pub(crate) const DEFAULT_GEMINI_MODEL: &str = "gemini-3.8-flash";
/// What [`DEFAULT_GEMINI_MODEL`] costs for a million tokens of prompt and of answer.
const DEFAULT_GEMINI_PRICES: (MicroUsd, MicroUsd) = (MicroUsd(750_000), MicroUsd(3_750_000));
/// Names of our own actors and of what they are called in requests, beside the modes.
const OWN_NAMES: [&str; 12] = [
    "model",
    "metrics",
    "synthesizer",
    "judge",
    "demo",
    "engine",
    "supervisor",
    "workflow",
    "summary",
    "summary_scheduler",
    "store",
    "user",
];
/// A response has to fit into a stored message.
const MAX_RESPONSE_BYTES: u64 = 64 << 20;
const MAX_PRICE_USD: f64 = 100_000.0;

/// A provider of which every field is good.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConfiguredProvider {
    /// Everything but its key.
    pub(crate) settings: ProviderSettings,
    /// Where its key comes from.
    pub(crate) key: KeyReference,
    /// What named it.
    pub(crate) origin: Origin,
}

/// Where a key comes from. What is not named here is looked for among the service's credentials, then in the usual
/// environment variable of a provider of this name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct KeyReference {
    /// An environment variable.
    pub(crate) env: Option<String>,
    /// A file.
    pub(crate) file: Option<PathBuf>,
    /// Whether it may travel unencrypted to another machine.
    pub(crate) may_go_over_http: bool,
}

impl ConfiguredProvider {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.settings.endpoint.name
    }
}

/// Checks every provider.
///
/// # Errors
/// The first value that cannot be used, with its origin.
pub(super) fn configured_providers(
    check: &Check<'_>,
    sections: Vec<ProviderSection>,
) -> Result<Vec<ConfiguredProvider>, ConfigError> {
    sections
        .into_iter()
        .map(|section| One { check, name: section.name().to_owned() }.checked(section))
        .collect()
}

/// The name of a provider, or what is wrong with it.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    const MOST: usize = 32;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_plain) || name.len() > MOST
    {
        return Err(format!(
            "must be 1 to {MOST} lower-case letters, digits, `-` or `_`, beginning with a letter, got {name:?}"
        ));
    }
    let is_mode = boca_core::Mode::NAMED.iter().any(|mode| mode.as_str() == name);
    if is_mode || OWN_NAMES.contains(&name) {
        return Err(format!("must not be the name of a mode or of a part of boca, got {name:?}"));
    }
    Ok(())
}

/// One provider while it is checked.
struct One<'a> {
    check: &'a Check<'a>,
    name: String,
}

impl One<'_> {
    fn key(&self, below: &str) -> String {
        format!("provider.{}.{below}", self.name)
    }

    fn fail(&self, below: &str, message: &str) -> ConfigError {
        self.check.fail(&self.key(below), message)
    }

    fn checked(&self, section: ProviderSection) -> Result<ConfiguredProvider, ConfigError> {
        check_name(&self.name).map_err(|message| self.fail("name", &message))?;
        let kind = self.kind(section.kind)?;
        let usual = Endpoint::new(self.name.clone(), kind, String::new());
        let is_elsewhere = section.base_url.is_some() || section.unix_socket.is_some();
        if kind == ProviderKind::Openai && self.name != ProviderKind::Openai.as_str() && !is_elsewhere {
            return Err(
                self.fail("base_url", "must be set for kind \"openai\": many servers speak its protocol")
            );
        }
        let local_url = section.unix_socket.as_ref().map(|_| {
            let path = if kind == ProviderKind::Openai { "/v1" } else { "" };
            format!("http://localhost{path}")
        });
        let default_model = (kind == ProviderKind::Gemini).then(|| DEFAULT_GEMINI_MODEL.to_owned());
        let (limits, prices) = (section.limits.unwrap_or_default(), section.prices.unwrap_or_default());
        let sampling = section.sampling.unwrap_or_default();
        let endpoint = Endpoint {
            base_url: section.base_url.or(local_url).unwrap_or(usual.base_url),
            unix_socket: section.unix_socket,
            api_version: section.api_version.unwrap_or(usual.api_version),
            model: self.check.present(&self.key("model"), section.model.or(default_model))?,
            is_local: section.local.unwrap_or(false),
            continues_answers: section.continues_answers.unwrap_or(false),
            timeouts: self.timeouts(&limits, usual.timeouts)?,
            max_response_bytes: self.size(
                "limits.max_response_bytes",
                limits.max_response_bytes,
                usual.max_response_bytes,
            )?,
            sampling: SamplingOverrides {
                thinking: None,
                ..self.check.sampling(&self.key("sampling."), sampling)?
            },
            ..usual
        };
        endpoint.check().map_err(|error| match error {
            boca_providers::EndpointError::BadField { field, problem } => {
                self.fail(&field.replace("timeouts.", "limits."), &problem)
            }
            other => self.fail("name", &other.to_string()),
        })?;
        if endpoint.is_local && is_on_the_internet(&endpoint) {
            return Err(self.fail("local", "must not be true: this address is a service on the internet"));
        }
        let guard = self.guard(&endpoint, &limits, &prices)?;
        let usual = ProviderSettings::new(endpoint);
        let minute = MINUTE * 60;
        let settings = ProviderSettings {
            guard,
            requires: requirements(section.requires.unwrap_or_default()),
            is_enabled: section.enabled.unwrap_or(true),
            streams: section.stream.unwrap_or(usual.streams),
            check_every: self.duration(
                "limits.check_every",
                limits.check_every,
                usual.check_every,
                1000,
                minute,
            )?,
            check_limit: self.duration(
                "limits.check_limit",
                limits.check_limit,
                usual.check_limit,
                10,
                MINUTE,
            )?,
            ..usual
        };
        if section.api_key_env.is_some() && section.api_key_file.is_some() {
            return Err(self.fail("api_key_file", "must not stand beside `api_key_env`: a key has one place"));
        }
        let key = KeyReference {
            env: section.api_key_env,
            file: section.api_key_file,
            may_go_over_http: section.allow_key_over_http.unwrap_or(false),
        };
        Ok(ConfiguredProvider { settings, key, origin: self.check.origin(&self.key("name")) })
    }

    /// The kind that is named, or the one that the name says.
    fn kind(&self, named: Option<String>) -> Result<ProviderKind, ConfigError> {
        let choices: Vec<(&str, ProviderKind)> = ProviderKind::ALL
            .into_iter()
            .filter(|kind| *kind != ProviderKind::Engine)
            .map(|kind| (kind.as_str(), kind))
            .collect();
        let of_name = choices.iter().find(|(name, _)| *name == self.name).map(|(name, _)| (*name).to_owned());
        self.check.one_of(&self.key("kind"), named.or(of_name), &choices)
    }

    fn timeouts(&self, limits: &ProviderLimitsSection, usual: Timeouts) -> Result<Timeouts, ConfigError> {
        Ok(Timeouts {
            connect: self.duration("limits.connect", limits.connect, usual.connect, 1, 5 * MINUTE)?,
            first_byte: self.duration("limits.first_byte", limits.first_byte, usual.first_byte, 1, HOUR)?,
            between_bytes: self.duration(
                "limits.between_bytes",
                limits.between_bytes,
                usual.between_bytes,
                1,
                HOUR,
            )?,
        })
    }

    fn guard(
        &self,
        endpoint: &Endpoint,
        limits: &ProviderLimitsSection,
        prices: &ProviderPricesSection,
    ) -> Result<GuardSettings, ConfigError> {
        let usual = GuardSettings::default();
        let most = u32::MAX;
        let count = |below: &str, value: Option<u32>, least, most| {
            self.check.optional(&self.key(below), value, least, most)
        };
        let mut retry = usual.retry;
        if let Some(n) = count("limits.max_retries", limits.max_retries, 0, 10)? {
            retry.max_retries = n;
        }
        retry.longest_pause = self.duration(
            "limits.longest_retry_pause",
            limits.longest_retry_pause,
            retry.longest_pause,
            0,
            HOUR,
        )?;
        let n_at_once = count("limits.max_concurrency", limits.max_concurrency, 1, 10_000)?;
        let n_waiting = count("limits.max_waiting", limits.max_waiting, 0, 10_000)?;
        let guard = GuardSettings {
            retry,
            requests_per_minute: count("limits.requests_per_minute", limits.requests_per_minute, 1, most)?,
            tokens_per_minute: count("limits.tokens_per_minute", limits.tokens_per_minute, 1, most)?,
            max_concurrency: n_at_once.map_or(usual.max_concurrency, |n| n as usize),
            max_waiting: n_waiting.map_or(usual.max_waiting, |n| n as usize),
            prices: self.prices(endpoint, prices)?,
            daily_budget: self.money("limits.daily_budget_usd", limits.daily_budget_usd)?,
            ..usual
        };
        if guard.daily_budget.is_some() && guard.prices.is_none() {
            let message = "needs [provider.prices]: without them nobody knows what is spent";
            return Err(self.fail("limits.daily_budget_usd", message));
        }
        guard.check().map_err(|message| self.fail("limits", &message))?;
        Ok(guard)
    }

    fn prices(
        &self,
        endpoint: &Endpoint,
        section: &ProviderPricesSection,
    ) -> Result<Option<Prices>, ConfigError> {
        let input = self.money("prices.input", section.input)?;
        let output = self.money("prices.output", section.output)?;
        let cached_input = self.money("prices.cached_input", section.cached_input)?;
        let long_input = self.money("prices.long_context_input", section.long_context_input)?;
        let long_output = self.money("prices.long_context_output", section.long_context_output)?;
        let long_cached =
            self.money("prices.long_context_cached_input", section.long_context_cached_input)?;
        let above = section.long_context_above_tokens;
        let base = match (input, output) {
            (Some(input), Some(output)) => TokenPrices { input, cached_input, output },
            (None, None) if *section == ProviderPricesSection::default() => {
                let is_known =
                    endpoint.kind == ProviderKind::Gemini && endpoint.model == DEFAULT_GEMINI_MODEL;
                let (input, output) = DEFAULT_GEMINI_PRICES;
                let base = TokenPrices { input, cached_input: None, output };
                return Ok(is_known.then_some(Prices { base, long_context: None }));
            }
            (None, _) => return Err(self.fail("prices.input", "must be set when other prices are")),
            (_, None) => return Err(self.fail("prices.output", "must be set when other prices are")),
        };
        let long_context = match (above, long_input, long_output) {
            (Some(above_tokens), Some(input), Some(output)) => Some(LongContextPrices {
                above_tokens,
                prices: TokenPrices { input, cached_input: long_cached, output },
            }),
            (None, None, None) if long_cached.is_none() => None,
            _ => {
                let message = "must stand together with `long_context_input` and `long_context_output`, or none of them";
                return Err(self.fail("prices.long_context_above_tokens", message));
            }
        };
        Ok(Some(Prices { base, long_context }))
    }

    fn money(&self, below: &str, usd: Option<f64>) -> Result<Option<MicroUsd>, ConfigError> {
        let usd = self.check.number(&self.key(below), usd, 0.0, MAX_PRICE_USD)?;
        Ok(usd.map(|usd| MicroUsd((usd * 1e6).round() as u64)))
    }

    fn duration(
        &self,
        below: &str,
        value: Option<super::units::HumanDuration>,
        usual: std::time::Duration,
        least_millis: u64,
        most_millis: u64,
    ) -> Result<std::time::Duration, ConfigError> {
        let value = value.unwrap_or(super::units::HumanDuration(usual));
        self.check.duration(&self.key(below), Some(value), least_millis, most_millis)
    }

    fn size(
        &self,
        below: &str,
        value: Option<super::units::ByteSize>,
        usual: u64,
    ) -> Result<u64, ConfigError> {
        let value = value.unwrap_or(super::units::ByteSize(usual));
        let size = self.check.size(&self.key(below), Some(value), 1 << 10, MAX_RESPONSE_BYTES)?;
        Ok(size as u64)
    }
}

fn requirements(section: ProviderRequiresSection) -> Requirements {
    Requirements {
        system: section.system,
        memory_bytes: section.memory_bytes.map(|size| size.0),
        backend: section.backend,
    }
}

/// Whether this is one of the services that everybody knows, which no config can make local.
fn is_on_the_internet(endpoint: &Endpoint) -> bool {
    const HOSTS: [&str; 3] = ["generativelanguage.googleapis.com", "api.openai.com", "api.anthropic.com"];
    endpoint.unix_socket.is_none() && host_of(&endpoint.base_url).is_some_and(|host| HOSTS.contains(&host))
}

/// The host of an address, without its port.
pub(super) fn host_of(base_url: &str) -> Option<&str> {
    let (_, rest) = base_url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => authority.split(':').next(),
    }
}
