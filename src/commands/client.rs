//! Hands the client commands what they need to know of this machine.

use super::{CommonArgs, load_config};
use crate::config::{Environment, Loaded, Origin, Os};
use crate::exit::Exit;
use boca_cli::{ClientCommand, ClientContext, DaemonCommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Where a daemon of the whole system listens.
const SYSTEM_SOCKET: &str = "/run/boca/boca.sock";

/// Runs a client command.
pub(crate) fn client(common: &CommonArgs, command: ClientCommand) -> Exit {
    let environment = Environment::capture();
    let loaded = match load_config(&common.flags(), &environment) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    boca_cli::run(command, &context(common, &loaded, &environment)).into()
}

fn context(common: &CommonArgs, loaded: &Loaded, environment: &Environment) -> ClientContext {
    let settings = &loaded.settings;
    let state_dir = &settings.daemon.state_dir;
    let log_dir = match (environment.os, &environment.home) {
        (Os::MacOs, Some(home)) => home.join("Library/Logs/boca"),
        _ => state_dir.clone(),
    };
    ClientContext {
        socket_candidates: socket_candidates(loaded),
        auto_start: settings.client.auto_start,
        daemon_command: DaemonCommand {
            program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("boca")),
            args: daemon_args(common, environment),
        },
        daemon_log: log_dir.join("boca.log"),
        history_file: Some(state_dir.join("chat_history")),
    }
}

/// A socket that somebody named is the only one. Otherwise the daemon may have been started without
/// `XDG_RUNTIME_DIR` (from cron, over ssh), or for the whole system.
fn socket_candidates(loaded: &Loaded) -> Vec<PathBuf> {
    let daemon = &loaded.settings.daemon;
    let mut candidates = vec![daemon.socket.clone()];
    if loaded.origins.get("daemon.socket") == Some(&Origin::Default) {
        for other in [daemon.state_dir.join("boca.sock"), PathBuf::from(SYSTEM_SOCKET)] {
            if !candidates.contains(&other) {
                candidates.push(other);
            }
        }
    }
    candidates
}

/// The daemon gets the options of this command. Paths become absolute, since it outlives this working directory.
fn daemon_args(common: &CommonArgs, environment: &Environment) -> Vec<OsString> {
    let mut args = vec![OsString::from("serve")];
    let named =
        [("--config", &common.config), ("--socket", &common.socket), ("--state-dir", &common.state_dir)];
    for (flag, path) in named {
        if let Some(path) = path {
            args.push(flag.into());
            args.push(environment.absolute(path, &environment.working_dir).into());
        }
    }
    args
}
