//! What a config file may say: every key optional, no key unknown. One struct a section.
//!
//! `config/boca.toml` documents each key for users; what a key means to the daemon stands in `settings.rs`.

use super::provider_file::{ProviderSection, merge_providers};
use super::section::section;
use super::units::{ByteSize, HumanDuration};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

section! {
    /// `[daemon]`
    DaemonSection {
        /// Path of the Unix socket.
        socket: PathBuf,
        /// Directory of the store.
        state_dir: PathBuf,
        /// How long running requests may go on after a stop was asked for.
        drain_grace: HumanDuration,
        /// Open connections.
        max_connections: u32,
        /// Requests served at the same time.
        max_concurrent_requests: u32,
        /// Largest request body.
        max_body_bytes: ByteSize,
        /// Time for a request's header.
        header_timeout: HumanDuration,
        /// Time for a request's body.
        body_timeout: HumanDuration,
        /// Users beside the daemon's own and root.
        allowed_uids: Vec<u32>,
    }
}

section! {
    /// `[client]`
    ClientSection {
        /// Whether `boca chat` starts a daemon when none listens.
        auto_start: bool,
    }
}

section! {
    /// `[model]`
    ModelSection {
        /// The checkpoint directory.
        path: PathBuf,
        /// Context to use, at most the model's.
        context_tokens: u32,
        /// Compute threads.
        threads: u32,
        /// Prompt tokens computed in one step.
        prefill_chunk_tokens: u32,
        /// Requests that the model answers at the same time.
        max_running: u32,
        /// Memory for prompts that begin alike.
        prefix_cache: ByteSize,
        /// Disk space for prompts that survive a restart.
        prefix_cache_disk: ByteSize,
        /// Format of keys and values.
        kv_precision: String,
        /// Memory for keys and values in all.
        kv_memory: ByteSize,
        /// The weights go when nobody has asked for so long.
        keep_alive: HumanDuration,
        /// Whether answers that repeat themselves are ended.
        loop_guard: bool,
        /// Where the engine lives: `process` or `thread`.
        engine: String,
        /// When the engine is taken for stuck.
        stuck_after: HumanDuration,
        /// How often a model that is down is tried again.
        probe_every: HumanDuration,
        /// Requests that may wait for the model.
        queue_limit: u32,
    }
}

section! {
    /// `[engine]`
    EngineSection {
        /// `auto`, `mlx` or `cpu`.
        backend: String,
        /// `auto`, `gpu` or `cpu`.
        device: String,
        /// The directory of an adapter.
        adapter: PathBuf,
        /// Addresses of the hosts that share the model.
        hosts: Vec<String>,
        /// Freed buffers that MLX keeps.
        buffer_cache: ByteSize,
        /// What MLX may allocate.
        memory_limit: ByteSize,
        /// What the system may not take away from MLX.
        wired_limit: ByteSize,
    }
}

section! {
    /// `[chat]`
    ChatSection {
        /// System prompt of a session that has none.
        system: String,
        /// Preset of a request that names none.
        preset: String,
        /// Who is asked when a request does not say.
        mode: String,
        /// How much an answer may cost when neither a request's mode nor its effort says so.
        effort: String,
        /// Whether questions stay on this machine when neither request nor session says so.
        private: bool,
        /// What may be done with a conversation that does not fit.
        context_policy: String,
        /// Time for an answer when a request names none.
        deadline: HumanDuration,
        /// The longest time that a request may ask for.
        max_deadline: HumanDuration,
        /// Largest `message`.
        max_message_bytes: ByteSize,
    }
}

section! {
    /// `[sampling]` and `[preset.*]`
    SamplingSection {
        /// 0 is greedy.
        temperature: f64,
        /// Nucleus.
        top_p: f64,
        /// 0 keeps all.
        top_k: u32,
        /// Relative to the most likely token.
        min_p: f64,
        /// 1 is off.
        repetition_penalty: f64,
        /// 0 is off.
        presence_penalty: f64,
        /// 0 is off.
        frequency_penalty: f64,
        /// Same seed, same text.
        seed: u64,
        /// Token id (as a key) → added to its logit.
        logit_bias: BTreeMap<String, f64>,
        /// Tokens to generate, thinking included.
        max_tokens: u32,
    }
}

section! {
    /// `[thinking]`
    ThinkingSection {
        /// Whether the model may think before it answers.
        enabled: bool,
        /// The most tokens of thinking.
        budget_tokens: u32,
    }
}

section! {
    /// `[fusion]`
    FusionSection {
        /// How one answer comes out of several.
        strategy: String,
        /// How `select` decides between answers that differ.
        select_by: String,
        /// Good answers after which only `grace` is waited.
        quorum: u32,
        /// How long the others may take after the quorum.
        grace: HumanDuration,
        /// How long answers are collected at most.
        collect_for: HumanDuration,
        /// From this agreement on nobody judges.
        agreement_threshold: f64,
        /// Providers in the order in which their answers are preferred.
        preferred: Vec<String>,
        /// Who judges.
        judge: String,
        /// Who merges.
        synthesizer: String,
        /// How long a judge may take.
        judge_for: HumanDuration,
        /// Whether the demo model joins without being named.
        demo_joins: bool,
        /// Whether the model of this machine finishes what another broke off.
        finish_broken_answers: bool,
        /// How much speed counts.
        weight_latency: f64,
        /// How much money counts.
        weight_cost: f64,
        /// How much quality counts.
        weight_quality: f64,
    }
}

section! {
    /// `[supervision]`
    SupervisionSection {
        /// Restarts of one actor allowed within the window.
        intensity: u32,
        /// The window.
        window: HumanDuration,
        /// Wait before the first restart.
        backoff_first: HumanDuration,
        /// The longest wait.
        backoff_max: HumanDuration,
    }
}

section! {
    /// `[store]`
    StoreSection {
        /// Memory for the store's page cache.
        cache_bytes: ByteSize,
    }
}

section! {
    /// `[log]`
    LogSection {
        /// Level or filter directives.
        level: String,
        /// `auto`, `pretty` or `json`.
        format: String,
        /// Whether prompts and answers may be logged.
        log_prompts: bool,
    }
}

/// `[preset]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PresetSections {
    /// `[preset.accurate]`
    pub accurate: SamplingSection,
    /// `[preset.balanced]`
    pub balanced: SamplingSection,
    /// `[preset.creative]`
    pub creative: SamplingSection,
}

/// A whole config file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// `[daemon]`
    pub daemon: DaemonSection,
    /// `[client]`
    pub client: ClientSection,
    /// `[model]`
    pub(crate) model: ModelSection,
    /// `[engine]`
    pub(crate) engine: EngineSection,
    /// `[chat]`
    pub chat: ChatSection,
    /// `[sampling]`
    pub sampling: SamplingSection,
    /// `[preset]`
    pub preset: PresetSections,
    /// `[thinking]`
    pub thinking: ThinkingSection,
    /// `[fusion]`
    pub fusion: FusionSection,
    /// Every `[[provider]]`, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provider: Vec<ProviderSection>,
    /// `[supervision]`
    pub supervision: SupervisionSection,
    /// `[store]`
    pub store: StoreSection,
    /// `[log]`
    pub log: LogSection,
}

impl ConfigFile {
    /// These values, with the gaps filled from a lower layer, key by key.
    #[must_use]
    pub(crate) fn over(self, lower: Self) -> Self {
        Self {
            daemon: self.daemon.over(lower.daemon),
            client: self.client.over(lower.client),
            model: self.model.over(lower.model),
            engine: self.engine.over(lower.engine),
            chat: self.chat.over(lower.chat),
            sampling: self.sampling.over(lower.sampling),
            preset: PresetSections {
                accurate: self.preset.accurate.over(lower.preset.accurate),
                balanced: self.preset.balanced.over(lower.preset.balanced),
                creative: self.preset.creative.over(lower.preset.creative),
            },
            thinking: self.thinking.over(lower.thinking),
            fusion: self.fusion.over(lower.fusion),
            provider: merge_providers(self.provider, lower.provider),
            supervision: self.supervision.over(lower.supervision),
            store: self.store.over(lower.store),
            log: self.log.over(lower.log),
        }
    }

    /// Every key but those of providers, dotted, in the order of the file.
    pub(crate) fn keys() -> Vec<String> {
        let sections: [(&str, &[&str]); 14] = [
            ("daemon", DaemonSection::KEYS),
            ("client", ClientSection::KEYS),
            ("model", ModelSection::KEYS),
            ("engine", EngineSection::KEYS),
            ("chat", ChatSection::KEYS),
            ("sampling", SamplingSection::KEYS),
            ("preset.accurate", SamplingSection::KEYS),
            ("preset.balanced", SamplingSection::KEYS),
            ("preset.creative", SamplingSection::KEYS),
            ("thinking", ThinkingSection::KEYS),
            ("fusion", FusionSection::KEYS),
            ("supervision", SupervisionSection::KEYS),
            ("store", StoreSection::KEYS),
            ("log", LogSection::KEYS),
        ];
        let dotted = |(section, keys): (&str, &'static [&'static str])| {
            let section = section.to_owned();
            keys.iter().map(move |key| format!("{section}.{key}"))
        };
        sections.into_iter().flat_map(dotted).collect()
    }

    /// The values that are set, by dotted key.
    pub(crate) fn values(&self) -> BTreeMap<String, toml::Value> {
        let Ok(whole) = toml::Value::try_from(self) else {
            // Only maps with keys that are not text fail, and there are none.
            return BTreeMap::new();
        };
        let value_of = |key: &String| {
            let value = key.split('.').try_fold(&whole, |value, part| value.get(part))?;
            Some((key.clone(), value.clone()))
        };
        let of_providers = self.provider.iter().flat_map(ProviderSection::values);
        Self::keys().iter().filter_map(value_of).chain(of_providers).collect()
    }

    /// Every key, those of the providers that it has included: `provider.NAME.key`.
    pub(crate) fn all_keys(&self) -> Vec<String> {
        let of_provider = |provider: &ProviderSection| {
            let name = provider.name().to_owned();
            ProviderSection::keys().into_iter().map(move |key| format!("provider.{name}.{key}"))
        };
        Self::keys().into_iter().chain(self.provider.iter().flat_map(of_provider)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_layer_wins_key_by_key() {
        let upper: ConfigFile =
            toml::from_str("[daemon]\nsocket = \"/a\"\n[preset.creative]\ntop_k = 5").unwrap();
        let lower: ConfigFile =
            toml::from_str("[daemon]\nsocket = \"/b\"\nmax_connections = 9\n[preset.creative]\ntop_p = 0.5")
                .unwrap();
        let merged = upper.over(lower).values();
        let shown: Vec<String> = merged.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            shown,
            [
                "daemon.max_connections=9",
                "daemon.socket=\"/a\"",
                "preset.creative.top_k=5",
                "preset.creative.top_p=0.5"
            ]
        );
    }

    #[test]
    fn numbers_are_shown_as_they_were_written() {
        let file: ConfigFile = toml::from_str("[sampling]\ntemperature = 0.6\ntop_p = 1").unwrap();
        let values = file.values();
        assert_eq!(values["sampling.temperature"].to_string(), "0.6");
        assert_eq!(values["sampling.top_p"].to_string(), "1.0");
    }
}
