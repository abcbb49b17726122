//! The command line, and the commands that need no daemon. Client commands live in `boca-cli`.

mod bench;
mod client;
mod config;
mod engine_worker;
mod follow;
mod model;
mod model_plan;
mod output;
mod serve;

pub(crate) use bench::bench;
pub(crate) use client::client;
pub(crate) use config::config;
pub(crate) use engine_worker::engine_worker;
pub(crate) use follow::follow;
pub(crate) use model::model;
pub(crate) use serve::serve;

use crate::config::{ConfigError, Environment, Flags, Loaded};
use crate::exit::Exit;
use boca_cli::ClientCommand;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A local AI of your own: a GLM-4.5-Air on this machine, answering over a Unix socket.
#[derive(Debug, Parser)]
#[command(name = "boca", version, propagate_version = false, max_term_width = 100)]
#[command(after_help = "Begin with: boca chat \"What can you do?\"")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// The config file [env: BOCA_CONFIG] [default: ~/.config/boca/boca.toml, then /etc/boca/boca.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common options")]
    pub(crate) config: Option<PathBuf>,
    /// The Unix socket [env: BOCA_SOCKET]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Common options")]
    pub(crate) socket: Option<PathBuf>,
    /// The directory for conversations [env: BOCA_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Common options")]
    pub(crate) state_dir: Option<PathBuf>,
}

impl CommonArgs {
    fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            socket: self.socket.clone(),
            state_dir: self.state_dir.clone(),
            ..Flags::default()
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon in the foreground
    Serve(serve::ServeArgs),
    /// Compute a part of the model that the daemon of another host leads (`boca serve --hosts`, MLX only)
    Follow(follow::FollowArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Measure on your own questions, or make a checkpoint to measure with
    Bench(bench::BenchArgs),
    /// Look at a model without a daemon, or load and unload the daemon's
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Run the engine for the daemon that starts this command
    #[command(name = crate::engine::WORKER_COMMAND, hide = true)]
    EngineWorker,
}

/// The configuration, or the exit code after its error was shown.
fn load_config(flags: &Flags, environment: &Environment) -> Result<Loaded, Exit> {
    crate::config::load(flags, environment).map_err(|error| tell_config_error(&error))
}

fn tell_config_error(error: &ConfigError) -> Exit {
    output::error(error);
    Exit::BadConfig
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
