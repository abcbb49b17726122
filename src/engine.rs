//! How the daemon comes by its engine: what an engine process is told, and what it makes of that.

use crate::config::{EngineHome, LogSettings, Settings};
use crate::demo_model::DEMO_MODEL;
use boca_actors::{EngineHosting, WorkerCommand, WorkerJob};
use boca_engine::generate::{EngineOptions, PrefixCacheDisk};
use boca_engine::shared::Hosts;
use boca_engine::{GeneratorFactory, ModelSource, PromptMaker, PromptMakerFactory};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The hidden command that an engine process runs.
pub(crate) const WORKER_COMMAND: &str = "engine-worker";
/// How long an engine process may be silent before it is taken for dead. It beats twice a second, on a thread of its own;
/// the rest is for machines that swap.
const BEAT_PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to stop: generations end at their next step. Less than its actor may take.
const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// The model of this machine, as the actors need it.
pub(crate) struct LocalModel {
    /// Where the engine lives.
    pub(crate) engine: EngineHosting,
    /// Makes prompts where requests come in.
    pub(crate) prompts: Option<PromptMakerFactory>,
}

/// What an engine process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EngineJob {
    source: JobSource,
    options: EngineOptions,
    /// How it logs, on the standard error that it has from the daemon.
    pub(crate) log: LogSettings,
}

#[derive(Debug, Serialize, Deserialize)]
enum JobSource {
    /// The bytes of its path, which need not be UTF-8.
    Directory(Vec<u8>),
    Demo,
}

impl LocalModel {
    /// The configured one.
    ///
    /// # Errors
    /// When this binary cannot tell where it lies, or the state directory takes no file.
    pub(crate) fn new(settings: &Settings, source: ModelSource) -> io::Result<Self> {
        let options = engine_options(settings);
        let context_tokens = options.context_tokens;
        let for_prompts = source.clone();
        let environment = match &options.hosts {
            Some(hosts) => environment_of_a_host(hosts, 0, &settings.daemon.state_dir)?,
            None => Vec::new(),
        };
        let engine = match settings.model.home {
            EngineHome::Thread => EngineHosting::Thread(factory(source, options)),
            EngineHome::Process => {
                let source = match source {
                    ModelSource::Directory(path) => JobSource::Directory(path.into_os_string().into_vec()),
                    ModelSource::Embedded(_) => JobSource::Demo,
                };
                let job = EngineJob { source, options, log: settings.log.clone() };
                EngineHosting::Process {
                    worker: WorkerCommand {
                        program: own_binary()?,
                        arguments: vec![OsString::from(WORKER_COMMAND)],
                        environment,
                        job: serde_json::to_value(job)?,
                    },
                    beat_patience: BEAT_PATIENCE.min(settings.model.stuck_after),
                    step_patience: settings.model.stuck_after,
                    stop_patience: STOP_PATIENCE,
                }
            }
        };
        let prompts: PromptMakerFactory = Arc::new(move || PromptMaker::open(&for_prompts, context_tokens));
        Ok(Self { engine, prompts: Some(prompts) })
    }
}

impl EngineJob {
    /// Reads a job.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(job: WorkerJob) -> Result<Self, String> {
        serde_json::from_value(job).map_err(|error| error.to_string())
    }

    /// Builds the engine that it asks for.
    pub(crate) fn factory(self) -> GeneratorFactory {
        let source = match self.source {
            JobSource::Directory(path) => {
                ModelSource::Directory(PathBuf::from(std::ffi::OsStr::from_bytes(&path)))
            }
            JobSource::Demo => ModelSource::Embedded(DEMO_MODEL),
        };
        factory(source, self.options)
    }
}

fn engine_options(settings: &Settings) -> EngineOptions {
    let model = &settings.model;
    EngineOptions {
        backend: settings.engine.backend,
        device: settings.engine.device,
        mlx_limits: settings.engine.mlx_limits,
        adapter: settings.engine.adapter.clone(),
        hosts: settings.engine.hosts.clone(),
        context_tokens: model.context_tokens,
        threads: model.threads,
        prefill_chunk_tokens: model.prefill_chunk_tokens,
        max_running: model.max_running,
        prefix_cache_bytes: model.prefix_cache_bytes,
        prefix_cache_disk: (model.prefix_cache_disk_bytes > 0).then(|| PrefixCacheDisk {
            directory: settings.daemon.state_dir.join("prefix-cache"),
            max_bytes: model.prefix_cache_disk_bytes,
        }),
        kv_precision: model.kv_precision,
        kv_limit_bytes: model.kv_limit_bytes,
        loop_guard: model.loop_guard,
        system_prompts: settings.chat.system.iter().cloned().collect(),
    }
}

/// Builds the engine for a model, on whichever thread calls it.
fn factory(source: ModelSource, options: EngineOptions) -> GeneratorFactory {
    Arc::new(move |progress| boca_engine::generate::load(&source, &options, progress))
}

/// What MLX must find in the environment of a process that computes with others. The file that it names is written.
pub(crate) fn environment_of_a_host(
    hosts: &Hosts,
    rank: usize,
    state_dir: &Path,
) -> io::Result<Vec<(OsString, OsString)>> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let hostfile = state_dir.join(format!("hosts-{rank}.json"));
    std::fs::write(&hostfile, hosts.hostfile())?;
    Ok(Hosts::environment(rank, &hostfile))
}

/// The binary that runs now, also when its file has been replaced meanwhile by another build.
pub(crate) fn own_binary() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;

    #[test]
    fn a_job_survives_the_pipe_whatever_the_path_is_made_of() {
        let path = OsString::from_vec(b"/models/\xff\xfe caf\xc3\xa9".to_vec());
        let job = EngineJob {
            source: JobSource::Directory(path.clone().into_vec()),
            options: EngineOptions {
                context_tokens: Some(77),
                adapter: Some(path.clone().into()),
                hosts: Some("10.0.0.1:5001,10.0.0.2:5001".parse().unwrap()),
                prefix_cache_disk: Some(PrefixCacheDisk { directory: path.into(), max_bytes: 9 }),
                ..EngineOptions::default()
            },
            log: LogSettings { level: "off".into(), format: LogFormat::Json, log_prompts: false },
        };
        let text = serde_json::to_vec(&serde_json::to_value(&job).unwrap()).unwrap();
        let read = EngineJob::read(serde_json::from_slice(&text).unwrap()).unwrap();
        assert_eq!(format!("{job:?}"), format!("{read:?}"));
        assert!(EngineJob::read(serde_json::json!({"source": "Nowhere"})).is_err());
    }
}
