//! The value of every key that nobody set. `config/boca.toml` shows the same values; a test holds them together.

use super::file::{
    ChatSection, ClientSection, ConfigFile, DaemonSection, EngineSection, FusionSection, LogSection,
    ModelSection, PresetSections, SamplingSection, StoreSection, SupervisionSection, ThinkingSection,
};
use super::places::Environment;
use super::units::{ByteSize, HumanDuration};
use boca_core::fusion::FusionSettings;
use boca_core::{ContextPolicy, KvPrecision, PresetTable, SamplingOverrides};
use std::path::Path;
use std::time::Duration;

/// The persona of a conversation that was given none.
pub(crate) const PERSONA: &str = "You are boca, a local AI assistant that runs on the user's own machine. \
                                  Answer clearly and briefly.";

const fn seconds(seconds: u64) -> Option<HumanDuration> {
    Some(HumanDuration(Duration::from_secs(seconds)))
}

const fn mebibytes(count: u64) -> Option<ByteSize> {
    Some(ByteSize(count << 20))
}

/// All defaults. `state_dir` is the state directory that was named, if one was: the socket may follow it.
pub(crate) fn defaults(environment: &Environment, state_dir: Option<&Path>) -> ConfigFile {
    let default_state_dir = environment.state_dir();
    let socket = environment.socket(state_dir.or(default_state_dir.as_deref()));
    let presets = PresetTable::default();
    ConfigFile {
        daemon: DaemonSection {
            socket,
            state_dir: default_state_dir,
            drain_grace: seconds(20),
            max_connections: Some(256),
            max_concurrent_requests: Some(64),
            max_body_bytes: mebibytes(2),
            header_timeout: seconds(5),
            body_timeout: seconds(30),
            allowed_uids: Some(Vec::new()),
        },
        client: ClientSection { auto_start: Some(true) },
        model: ModelSection {
            path: None,
            context_tokens: None,
            threads: None,
            prefill_chunk_tokens: Some(256),
            max_running: Some(4),
            prefix_cache: mebibytes(1024),
            prefix_cache_disk: mebibytes(1024),
            kv_precision: Some(KvPrecision::default().as_str().to_owned()),
            kv_memory: None,
            keep_alive: None,
            loop_guard: Some(true),
            engine: Some("process".to_owned()),
            stuck_after: seconds(600),
            probe_every: seconds(60),
            queue_limit: Some(32),
        },
        engine: EngineSection {
            backend: Some("auto".to_owned()),
            device: Some("auto".to_owned()),
            adapter: None,
            hosts: None,
            buffer_cache: None,
            memory_limit: None,
            wired_limit: None,
        },
        chat: ChatSection {
            system: Some(PERSONA.to_owned()),
            preset: None,
            mode: Some("auto".to_owned()),
            effort: None,
            private: Some(false),
            context_policy: Some(ContextPolicy::default().as_str().to_owned()),
            deadline: seconds(300),
            max_deadline: seconds(3600),
            max_message_bytes: mebibytes(1),
        },
        sampling: SamplingSection { max_tokens: Some(4096), ..SamplingSection::default() },
        preset: PresetSections {
            accurate: section_of(&presets.accurate),
            balanced: section_of(&presets.balanced),
            creative: section_of(&presets.creative),
        },
        thinking: ThinkingSection { enabled: None, budget_tokens: Some(2048) },
        fusion: fusion(),
        provider: Vec::new(),
        supervision: SupervisionSection {
            intensity: Some(5),
            window: seconds(60),
            backoff_first: Some(HumanDuration(Duration::from_millis(200))),
            backoff_max: seconds(30),
        },
        store: StoreSection { cache_bytes: mebibytes(64) },
        log: LogSection {
            level: Some("info".to_owned()),
            format: Some("auto".to_owned()),
            log_prompts: Some(false),
        },
    }
}

fn fusion() -> FusionSection {
    let usual = FusionSettings::default();
    let text = |time: Duration| Some(HumanDuration(time));
    FusionSection {
        strategy: Some(usual.strategy.map_or("auto", |strategy| strategy.as_str()).to_owned()),
        select_by: Some("judge".to_owned()),
        quorum: u32::try_from(usual.quorum).ok(),
        grace: text(usual.grace),
        collect_for: text(usual.collect_for),
        agreement_threshold: Some(written(usual.agreement_threshold)),
        preferred: Some(usual.preferred),
        judge: None,
        synthesizer: None,
        judge_for: text(usual.judge_for),
        demo_joins: Some(usual.demo_joins),
        finish_broken_answers: Some(usual.finish_broken_answers),
        weight_latency: Some(written(usual.weights.latency)),
        weight_cost: Some(written(usual.weights.cost)),
        weight_quality: Some(written(usual.weights.quality)),
    }
}

fn section_of(values: &SamplingOverrides) -> SamplingSection {
    SamplingSection {
        temperature: values.temperature.map(written),
        top_p: values.top_p.map(written),
        top_k: values.top_k,
        min_p: values.min_p.map(written),
        repetition_penalty: values.repetition_penalty.map(written),
        presence_penalty: values.presence_penalty.map(written),
        frequency_penalty: values.frequency_penalty.map(written),
        seed: values.seed,
        logit_bias: values
            .logit_bias
            .as_ref()
            .map(|bias| bias.iter().map(|(id, value)| (id.to_string(), written(*value))).collect()),
        max_tokens: values.max_tokens,
    }
}

/// The number as it would be written: 0.6, where a plain conversion gives 0.6000000238418579.
fn written(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
