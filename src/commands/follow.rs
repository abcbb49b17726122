//! `boca follow`: this machine computes its part of a model that the daemon of another one leads.
//!
//! MLX learns of the hosts by the environment that its process begins with, and cannot leave a group that is broken: each
//! engine that is followed has a process of its own here too. The one that the user started waits for it, starts the
//! next, and says when there is no use in that.

use super::{CommonArgs, load_config, output};
use crate::config::{Environment, Settings, choose_model};
use crate::demo_model::DEMO_MODEL;
use crate::engine::{environment_of_a_host, own_binary};
use crate::exit::Exit;
use crate::telemetry;
use boca_engine::ModelSource;
use boca_engine::shared::{FollowError, FollowOptions, Hosts, Stage};
use clap::Args;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// Between the end of one process and the start of the next.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a process whose leader is gone may take to end by itself: a sum that nobody finishes has no end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// `boca follow`
#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    /// All hosts, the leading one first, as `boca serve --hosts` has them there [default: `hosts` of [engine]]
    #[arg(long, value_name = "IP:PORT,IP:PORT", value_delimiter = ',')]
    hosts: Option<Vec<String>>,
    /// Which of the hosts this one is: 1 for the second
    #[arg(long, value_name = "N")]
    rank: usize,
    /// The directory of the same checkpoint as the leading host's [env: GLM_MODEL_PATH] [default: the demo model]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The directory of the same LoRA adapter as the leading host's [default: none]
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or directives such as info,boca=debug [env: BOCA_LOG]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// This is the process for one engine; its standard input closes when the one that started it ends
    #[arg(long, hide = true)]
    once: bool,
}

/// Follows one engine after the other until it is interrupted, or cannot.
pub(crate) fn follow(common: &CommonArgs, args: FollowArgs) -> Exit {
    let environment = Environment::capture();
    let mut flags = common.flags();
    flags.model = args.model;
    flags.adapter = args.adapter;
    flags.hosts = args.hosts;
    flags.log_level = args.log_level;
    let settings = match load_config(&flags, &environment) {
        Ok(loaded) => loaded.settings,
        Err(exit) => return exit,
    };
    let Some(hosts) = settings.engine.hosts.clone() else {
        output::error(
            "`--hosts` must name the hosts that share the model, or `hosts` in [engine] of the config",
        );
        return Exit::Usage;
    };
    drop(telemetry::start(&settings.log));
    if args.once {
        let source = choose_model(&settings, &environment, DEMO_MODEL).source;
        return once(&source, &settings, hosts, args.rank);
    }
    match again_and_again(&settings, &hosts, args.rank) {
        Ok(exit) => exit,
        Err(error) => {
            output::error(format_args!("cannot follow: {error}"));
            Exit::Failed
        }
    }
}

/// One process after the other, as long as there is hope.
fn again_and_again(settings: &Settings, hosts: &Hosts, rank: usize) -> io::Result<Exit> {
    let environment = environment_of_a_host(hosts, rank, &settings.daemon.state_dir)?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    loop {
        let mut command = Command::new(own_binary()?);
        command.args(&arguments).arg("--once").envs(environment.iter().map(|(name, value)| (name, value)));
        // It is open for as long as this process lives.
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let open = child.stdin.take();
        let status = child.wait()?;
        drop(open);
        if let Some(exit) = verdict(status) {
            return Ok(exit);
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// How this command ends, if the next process would be no better than the one that ended so.
fn verdict(status: ExitStatus) -> Option<Exit> {
    const DONE: i32 = Exit::Done as i32;
    const TRY_AGAIN: i32 = Exit::TryAgain as i32;
    const USAGE: i32 = Exit::Usage as i32;
    match status.code() {
        Some(DONE | TRY_AGAIN) => None,
        Some(USAGE) => Some(Exit::Usage),
        Some(_) => Some(Exit::Failed),
        None => {
            tracing::warn!(%status, "the process for the last engine was ended");
            None
        }
    }
}

/// Follows one engine.
fn once(source: &ModelSource, settings: &Settings, hosts: Hosts, rank: usize) -> Exit {
    if let Err(error) = end_with_the_starter() {
        output::error(format_args!("cannot follow: {error}"));
        return Exit::Failed;
    }
    let options = FollowOptions {
        hosts,
        rank,
        adapter: settings.engine.adapter.clone(),
        device: settings.engine.device,
        limits: settings.engine.mlx_limits,
    };
    let mut tell = |stage| match stage {
        Stage::Waiting(lead) => tracing::info!(%lead, "waiting for the leading host"),
        Stage::Reading(bytes) => {
            tracing::info!(bytes, "all hosts are there; reading this one's part of the model")
        }
        Stage::Following => tracing::info!("following"),
    };
    let lost = |reason: &str| {
        tracing::debug!(reason, "the leading host says no more");
        std::thread::park_timeout(LAST_WORDS);
        end_at_once();
    };
    match boca_engine::shared::follow(source, &options, &mut tell, lost) {
        Ok(()) => {
            tracing::info!("the leading host's engine has ended");
            Exit::Done
        }
        Err(error) if error.may_pass() => {
            tracing::warn!(%error, "this engine cannot be followed any longer");
            Exit::TryAgain
        }
        Err(error) => {
            output::error(format_args!("cannot follow: {error}"));
            if matches!(error, FollowError::Rank { .. }) { Exit::Usage } else { Exit::Failed }
        }
    }
}

/// Nobody would end this process when the one that started it is killed.
fn end_with_the_starter() -> io::Result<()> {
    std::thread::Builder::new().name("boca-starter".into()).spawn(|| {
        // Nothing is ever written there.
        drop(io::stdin().read(&mut [0]));
        end_at_once();
    })?;
    Ok(())
}

/// Also when native code would keep this process from ending, or is already at that.
fn end_at_once() {
    let own = rustix::process::getpid();
    if let Err(error) = rustix::process::kill_process(own, rustix::process::Signal::KILL) {
        tracing::error!(%error, "this process cannot end itself");
    }
}
