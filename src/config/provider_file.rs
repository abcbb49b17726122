//! What a config file may say of a provider: `[[provider]]` and its tables.

use super::file::SamplingSection;
use super::section::section;
use super::units::{ByteSize, HumanDuration};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

section! {
    /// `[[provider]]`, without its tables.
    ProviderSection {
        /// The name in requests, in status and in other keys.
        name: String,
        /// The protocol that it speaks.
        kind: String,
        /// Whether it is used at all.
        enabled: bool,
        /// Where it is.
        base_url: String,
        /// Connect here instead of the base URL's host.
        unix_socket: PathBuf,
        /// The version in Gemini's paths.
        api_version: String,
        /// The model that is asked.
        model: String,
        /// The environment variable that holds its key.
        api_key_env: String,
        /// The file that holds its key.
        api_key_file: PathBuf,
        /// Whether the key may travel unencrypted to another machine.
        allow_key_over_http: bool,
        /// Whether private questions may go to it.
        local: bool,
        /// Whether its model goes on with an answer that somebody else began.
        continues_answers: bool,
        /// Whether answers are asked for piece by piece.
        stream: bool,
        /// `[provider.sampling]`
        sampling: SamplingSection,
        /// `[provider.limits]`
        limits: ProviderLimitsSection,
        /// `[provider.prices]`
        prices: ProviderPricesSection,
        /// `[provider.requires]`
        requires: ProviderRequiresSection,
    }
}

section! {
    /// `[provider.limits]`
    ProviderLimitsSection {
        /// Time for the connection.
        connect: HumanDuration,
        /// Time from the request to the first event of the answer.
        first_byte: HumanDuration,
        /// Time between two pieces of the response.
        between_bytes: HumanDuration,
        /// Largest response.
        max_response_bytes: ByteSize,
        /// Attempts after the first one of a request.
        max_retries: u32,
        /// The longest time that a request waits before such an attempt.
        longest_retry_pause: HumanDuration,
        /// Requests a minute.
        requests_per_minute: u32,
        /// Tokens a minute.
        tokens_per_minute: u32,
        /// Requests at the same time.
        max_concurrency: u32,
        /// Requests that may wait for their turn.
        max_waiting: u32,
        /// Money for one day.
        daily_budget_usd: f64,
        /// Pause between two health checks.
        check_every: HumanDuration,
        /// Time for a health check.
        check_limit: HumanDuration,
    }
}

section! {
    /// `[provider.prices]`, in US dollars for a million tokens.
    ProviderPricesSection {
        /// Of the prompt.
        input: f64,
        /// Of the prompt, from the provider's cache.
        cached_input: f64,
        /// Generated.
        output: f64,
        /// Prompts longer than this pay the prices below.
        long_context_above_tokens: u32,
        /// Of a long prompt.
        long_context_input: f64,
        /// Of a long prompt, from the provider's cache.
        long_context_cached_input: f64,
        /// Generated after a long prompt.
        long_context_output: f64,
    }
}

section! {
    /// `[provider.requires]`
    ProviderRequiresSection {
        /// The operating system.
        system: String,
        /// Memory of the machine.
        memory_bytes: ByteSize,
        /// What computes the engine of this daemon.
        backend: String,
    }
}

impl ProviderSection {
    /// Every key of one provider, dotted.
    pub(crate) fn keys() -> Vec<String> {
        let tables: [(&str, &[&str]); 4] = [
            ("sampling", SamplingSection::KEYS),
            ("limits", ProviderLimitsSection::KEYS),
            ("prices", ProviderPricesSection::KEYS),
            ("requires", ProviderRequiresSection::KEYS),
        ];
        let is_table = |key: &&&str| tables.iter().any(|(table, _)| table == *key);
        let own = Self::KEYS.iter().filter(|key| !is_table(key)).map(|key| (*key).to_owned());
        let below =
            tables.iter().flat_map(|(table, keys)| keys.iter().map(move |key| format!("{table}.{key}")));
        own.chain(below).collect()
    }

    /// The name, which every file must give.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The values that are set, by dotted key under `provider.NAME.`.
    pub(crate) fn values(&self) -> BTreeMap<String, toml::Value> {
        let Ok(whole) = toml::Value::try_from(self) else { return BTreeMap::new() };
        let value_of = |key: String| {
            let value = key.split('.').try_fold(&whole, |value, part| value.get(part))?.clone();
            Some((format!("provider.{}.{key}", self.name()), value))
        };
        Self::keys().into_iter().filter_map(value_of).collect()
    }

    /// These values, with the gaps filled from a lower layer, key by key, in tables too.
    #[must_use]
    pub(crate) fn over_all(mut self, mut lower: Self) -> Self {
        let sampling = both(self.sampling.take(), lower.sampling.take(), SamplingSection::over);
        let limits = both(self.limits.take(), lower.limits.take(), ProviderLimitsSection::over);
        let prices = both(self.prices.take(), lower.prices.take(), ProviderPricesSection::over);
        let requires = both(self.requires.take(), lower.requires.take(), ProviderRequiresSection::over);
        Self { sampling, limits, prices, requires, ..self.over(lower) }
    }
}

fn both<T>(upper: Option<T>, lower: Option<T>, over: fn(T, T) -> T) -> Option<T> {
    match (upper, lower) {
        (Some(upper), Some(lower)) => Some(over(upper, lower)),
        (upper, lower) => upper.or(lower),
    }
}

/// The providers of two layers: those of the lower one in their order, each with the upper one's changes, then those
/// that only the upper one has.
pub(crate) fn merge_providers(
    upper: Vec<ProviderSection>,
    lower: Vec<ProviderSection>,
) -> Vec<ProviderSection> {
    let mut merged = lower;
    for provider in upper {
        match merged.iter_mut().find(|known| known.name() == provider.name()) {
            Some(known) => *known = provider.over_all(std::mem::take(known)),
            None => merged.push(provider),
        }
    }
    merged
}
