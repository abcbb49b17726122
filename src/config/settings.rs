//! The validated configuration: nothing optional but what truly is, every value within its bounds.

use super::check::{Check, HOUR, MINUTE};
use super::error::ConfigError;
use super::file::EngineSection;
use super::fusion::fusion_settings;
use super::merge::Merged;
use super::origin::Origin;
use super::providers::{ConfiguredProvider, configured_providers};
use super::units::ByteSize;
use boca_core::fusion::FusionSettings;
use boca_core::{ContextPolicy, Effort, KvPrecision, Mode, Preset, PresetTable, SamplingOverrides};
use boca_engine::generate::{BackendChoice, DeviceChoice, MlxLimits};
use boca_engine::shared::Hosts;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// macOS keeps 104 bytes for the path of a Unix socket, Linux 108; both count a closing NUL.
const MAX_SOCKET_PATH_BYTES: u64 = 103;

/// Everything that the daemon was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Socket, directories, limits.
    pub daemon: DaemonSettings,
    /// How client commands behave.
    pub client: ClientSettings,
    /// Which model, and how it is run.
    pub(crate) model: ModelSettings,
    /// What computes it.
    pub(crate) engine: EngineSettings,
    /// What an answer is made with when the request leaves it open.
    pub chat: ChatSettings,
    /// Who can be asked besides, in the order of the configuration.
    pub(crate) providers: Vec<ConfiguredProvider>,
    /// How one answer comes out of several.
    pub(crate) fusion: FusionSettings,
    /// When the supervisor gives up.
    pub supervision: SupervisionSettings,
    /// The store.
    pub store: StoreSettings,
    /// Logs.
    pub log: LogSettings,
    /// The files that were read, config file first.
    pub config_files: Vec<PathBuf>,
    /// The directory that the config file lies in, or would lie in.
    pub config_dir: Option<PathBuf>,
}

/// See [`Settings::daemon`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DaemonSettings {
    /// Absolute path of the Unix socket, short enough for every system.
    pub socket: PathBuf,
    /// Absolute path of the directory for state.
    pub state_dir: PathBuf,
    /// How long running requests may go on after a stop was asked for.
    pub drain_grace: Duration,
    /// Open connections; further ones wait.
    pub max_connections: usize,
    /// Requests served at the same time; further ones are answered with 429.
    pub max_concurrent_requests: usize,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Time for a request's header to arrive.
    pub header_timeout: Duration,
    /// Time for a request's body to arrive.
    pub body_timeout: Duration,
    /// Users that may connect, beside the daemon's own and root.
    pub allowed_uids: Vec<u32>,
}

/// See [`Settings::client`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClientSettings {
    /// Whether `boca chat` starts a daemon when none listens.
    pub auto_start: bool,
}

/// A model directory that somebody named.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedModel {
    /// Absolute path of the checkpoint directory. Not looked at yet.
    pub path: PathBuf,
    /// Who named it.
    pub origin: Origin,
}

/// Where the engine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineHome {
    /// In a process of its own: its faults end nothing else.
    Process,
    /// In a thread of the daemon.
    Thread,
}

/// See [`Settings::model`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelSettings {
    /// `None`: look in the usual places, then take the demo model.
    pub named: Option<NamedModel>,
    /// `None`: as long as the model allows.
    pub context_tokens: Option<u32>,
    /// `None`: one for each core that this process may use.
    pub threads: Option<usize>,
    /// Prompt tokens computed in one step.
    pub prefill_chunk_tokens: usize,
    /// Requests that the model answers at the same time.
    pub max_running: usize,
    /// Bytes of keys and values that are kept for prompts that begin alike.
    pub prefix_cache_bytes: u64,
    /// Bytes of them that are kept on disk, so that they survive a restart; 0 keeps none.
    pub prefix_cache_disk_bytes: u64,
    /// In which format keys and values are kept.
    pub kv_precision: KvPrecision,
    /// The most bytes of keys and values in all; `None`: enough for `max_running` whole contexts.
    pub kv_limit_bytes: Option<u64>,
    /// How long the weights stay when nobody asks; `None`: for ever.
    pub keep_alive: Option<Duration>,
    /// Whether answers that repeat themselves over and over are ended.
    pub loop_guard: bool,
    /// Where the engine lives.
    pub home: EngineHome,
    /// How long a step or the end of a generation may take before the engine is taken for stuck.
    pub stuck_after: Duration,
    /// How often a request may try whether an engine has recovered that failed again and again.
    pub probe_every: Duration,
    /// Requests that may wait for the model; further ones are answered with 429.
    pub queue_limit: usize,
}

/// See [`Settings::engine`].
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct EngineSettings {
    /// Which backend.
    pub(crate) backend: BackendChoice,
    /// What it computes on.
    pub(crate) device: DeviceChoice,
    /// Absolute path of an adapter's directory. Not looked at yet.
    pub(crate) adapter: Option<PathBuf>,
    /// The hosts that share the model, this one first; `None` is this one alone.
    pub(crate) hosts: Option<Hosts>,
    /// Bounds of MLX's memory.
    pub(crate) mlx_limits: MlxLimits,
}

/// See [`Settings::chat`]. All of it can change while the daemon runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatSettings {
    /// System prompt of a session that has none; `None` sends no system turn.
    pub system: Option<String>,
    /// Preset of a request and session that name none.
    pub preset: Option<Preset>,
    /// Who is asked when a request does not say.
    pub(crate) mode: Mode,
    /// How much an answer may cost when neither a request's mode nor its effort says so.
    pub(crate) effort: Option<Effort>,
    /// Whether questions stay on this machine when neither request nor session says so.
    pub(crate) private: bool,
    /// What may be done with a conversation that does not fit when a request does not say.
    pub context_policy: ContextPolicy,
    /// Time for an answer when a request names none.
    pub deadline: Duration,
    /// The longest time that a request may ask for.
    pub max_deadline: Duration,
    /// Largest `message`.
    pub max_message_bytes: usize,
    /// The lowest level of sampling fields, below request, preset and session. Its `max_tokens` is always set.
    pub sampling: SamplingOverrides,
    /// The values of each preset.
    pub presets: PresetTable,
}

/// See [`Settings::supervision`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SupervisionSettings {
    /// Restarts of one actor within `window` that are still taken for bad luck.
    pub intensity: u32,
    /// See `intensity`.
    pub window: Duration,
    /// Wait before the first restart; doubles with each further one.
    pub backoff_first: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

/// See [`Settings::store`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoreSettings {
    /// Memory for the store's page cache.
    pub cache_bytes: u64,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// One object a line.
    Json,
}

/// See [`Settings::log`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogSettings {
    /// A level, or directives such as `info,boca=debug`; checked.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Whether prompts and answers may be logged.
    pub log_prompts: bool,
}

impl Settings {
    /// Validates merged values.
    ///
    /// # Errors
    /// The first value out of its bounds, with its origin.
    pub(crate) fn new(merged: Merged) -> Result<Self, ConfigError> {
        let Merged { values, origins, files, config_dir } = merged;
        let check = Check { origins: &origins };
        let daemon = values.daemon;
        let socket = check.present("daemon.socket", daemon.socket)?;
        let socket_bytes = socket.as_os_str().len() as u64;
        if socket_bytes > MAX_SOCKET_PATH_BYTES {
            let path = socket.display();
            return Err(check.fail(
                "daemon.socket",
                format!("must be at most {MAX_SOCKET_PATH_BYTES} bytes long, got {socket_bytes} ({path})"),
            ));
        }
        let max_body_bytes =
            check.size("daemon.max_body_bytes", daemon.max_body_bytes, 1 << 10, 256 << 20)?;
        let daemon = DaemonSettings {
            socket,
            state_dir: check.present("daemon.state_dir", daemon.state_dir)?,
            drain_grace: check.duration("daemon.drain_grace", daemon.drain_grace, 0, HOUR)?,
            max_connections: check.count("daemon.max_connections", daemon.max_connections, 1, 65_536)?,
            max_concurrent_requests: check.count(
                "daemon.max_concurrent_requests",
                daemon.max_concurrent_requests,
                1,
                65_536,
            )?,
            max_body_bytes,
            header_timeout: check.duration(
                "daemon.header_timeout",
                daemon.header_timeout,
                // The server's clock ticks twice a second: less would refuse clients that are not slow.
                1000,
                5 * MINUTE,
            )?,
            body_timeout: check.duration("daemon.body_timeout", daemon.body_timeout, 100, HOUR)?,
            allowed_uids: daemon.allowed_uids.unwrap_or_default(),
        };
        let model = ModelSettings {
            named: values.model.path.map(|path| NamedModel { path, origin: check.origin("model.path") }),
            context_tokens: check.optional(
                "model.context_tokens",
                values.model.context_tokens,
                16,
                1 << 24,
            )?,
            threads: check.optional("model.threads", values.model.threads, 1, 1024)?.map(|n| n as usize),
            prefill_chunk_tokens: check.count(
                "model.prefill_chunk_tokens",
                values.model.prefill_chunk_tokens,
                1,
                65_536,
            )?,
            max_running: check.count("model.max_running", values.model.max_running, 1, 256)?,
            prefix_cache_bytes: check.size("model.prefix_cache", values.model.prefix_cache, 0, 1 << 40)?
                as u64,
            prefix_cache_disk_bytes: check.size(
                "model.prefix_cache_disk",
                values.model.prefix_cache_disk,
                0,
                1 << 42,
            )? as u64,
            kv_precision: {
                let choices = KvPrecision::ALL.map(|precision| (precision.as_str(), precision));
                check.one_of("model.kv_precision", values.model.kv_precision, &choices)?
            },
            kv_limit_bytes: match values.model.kv_memory {
                None => None,
                given => Some(check.size("model.kv_memory", given, 1 << 20, 1 << 44)? as u64),
            },
            keep_alive: match values.model.keep_alive {
                None => None,
                given => Some(check.duration("model.keep_alive", given, 1000, 7 * 24 * HOUR)?),
            },
            loop_guard: check.present("model.loop_guard", values.model.loop_guard)?,
            home: check.one_of(
                "model.engine",
                values.model.engine,
                &[("process", EngineHome::Process), ("thread", EngineHome::Thread)],
            )?,
            stuck_after: check.duration("model.stuck_after", values.model.stuck_after, 1000, 24 * HOUR)?,
            probe_every: check.duration("model.probe_every", values.model.probe_every, 100, 24 * HOUR)?,
            queue_limit: check.count("model.queue_limit", values.model.queue_limit, 1, 65_536)?,
        };
        let engine = engine_settings(&check, values.engine)?;
        if engine.hosts.is_some() && model.home == EngineHome::Thread {
            let reason =
                "needs `model.engine = \"process\"`: MLX learns of the hosts by its process' environment";
            return Err(check.fail("engine.hosts", reason));
        }
        let providers = configured_providers(&check, values.provider)?;
        let fusion = fusion_settings(&check, values.fusion, &providers)?;
        let sampling = SamplingOverrides {
            thinking: values.thinking.enabled,
            thinking_budget_tokens: check.optional(
                "thinking.budget_tokens",
                values.thinking.budget_tokens,
                1,
                1 << 24,
            )?,
            ..check.sampling("sampling.", values.sampling)?
        };
        check.present("sampling.max_tokens", sampling.max_tokens)?;
        let max_deadline = check.duration("chat.max_deadline", values.chat.max_deadline, 1, 24 * HOUR)?;
        let most_millis = u64::try_from(max_deadline.as_millis()).unwrap_or(u64::MAX);
        let chat = ChatSettings {
            system: check.system(values.chat.system)?,
            preset: check.preset(values.chat.preset)?,
            mode: check.mode(values.chat.mode, &providers)?,
            effort: check.effort(values.chat.effort)?,
            private: check.present("chat.private", values.chat.private)?,
            context_policy: check.context_policy(values.chat.context_policy)?,
            deadline: check.duration("chat.deadline", values.chat.deadline, 1, most_millis)?,
            max_deadline,
            max_message_bytes: check.size(
                "chat.max_message_bytes",
                values.chat.max_message_bytes,
                1,
                max_body_bytes as u64,
            )?,
            sampling,
            presets: PresetTable {
                accurate: check.sampling("preset.accurate.", values.preset.accurate)?,
                balanced: check.sampling("preset.balanced.", values.preset.balanced)?,
                creative: check.sampling("preset.creative.", values.preset.creative)?,
            },
        };
        let supervision = values.supervision;
        let backoff_max = check.duration("supervision.backoff_max", supervision.backoff_max, 1, HOUR)?;
        let supervision = SupervisionSettings {
            intensity: check.optional("supervision.intensity", supervision.intensity, 0, 1000)?.unwrap_or(0),
            window: check.duration("supervision.window", supervision.window, 1000, 24 * HOUR)?,
            backoff_first: check.duration(
                "supervision.backoff_first",
                supervision.backoff_first,
                1,
                u64::try_from(backoff_max.as_millis()).unwrap_or(u64::MAX),
            )?,
            backoff_max,
        };
        let cache_bytes = check.size("store.cache_bytes", values.store.cache_bytes, 1 << 20, 1 << 40)? as u64;
        let log = LogSettings {
            level: check.log_level(values.log.level)?,
            format: check.one_of(
                "log.format",
                values.log.format,
                &[("auto", LogFormat::Auto), ("pretty", LogFormat::Pretty), ("json", LogFormat::Json)],
            )?,
            log_prompts: check.present("log.log_prompts", values.log.log_prompts)?,
        };
        Ok(Self {
            daemon,
            client: ClientSettings {
                auto_start: check.present("client.auto_start", values.client.auto_start)?,
            },
            model,
            engine,
            chat,
            providers,
            fusion,
            supervision,
            store: StoreSettings { cache_bytes },
            log,
            config_files: files,
            config_dir,
        })
    }
}

fn engine_settings(check: &Check<'_>, section: EngineSection) -> Result<EngineSettings, ConfigError> {
    let size = |key: &str, given: Option<ByteSize>, least| {
        given.map(|given| check.size(key, Some(given), least, 1 << 44).map(|bytes| bytes as u64)).transpose()
    };
    Ok(EngineSettings {
        backend: check.one_of(
            "engine.backend",
            section.backend,
            &[("auto", BackendChoice::Auto), ("mlx", BackendChoice::Mlx), ("cpu", BackendChoice::Cpu)],
        )?,
        device: check.one_of(
            "engine.device",
            section.device,
            &[("auto", DeviceChoice::Auto), ("gpu", DeviceChoice::Gpu), ("cpu", DeviceChoice::Cpu)],
        )?,
        adapter: section.adapter,
        hosts: section.hosts.map(|hosts| check.hosts("engine.hosts", &hosts)).transpose()?,
        mlx_limits: MlxLimits {
            cache_bytes: size("engine.buffer_cache", section.buffer_cache, 0)?,
            memory_bytes: size("engine.memory_limit", section.memory_limit, 1 << 20)?,
            wired_bytes: size("engine.wired_limit", section.wired_limit, 0)?,
        },
    })
}
