//! boca: a local-AI runtime daemon and its command line, in one binary.
//!
//! This file is the table of contents: it reads the command line, hands over to the command, and is the only place
//! that ends the process.

mod batch;
mod chat;
mod commands;
mod comparison;
mod config;
mod daemon;
mod demo_model;
mod engine;
mod exit;
mod http;
mod ledger;
mod service_manager;
mod signals;
mod telemetry;

use clap::Parser;
use commands::{Cli, Command};
use exit::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told_by_clap(&error).into(),
    };
    let exit = match cli.command {
        Command::Serve(args) => commands::serve(&cli.common, args, end_now),
        Command::Follow(args) => commands::follow(&cli.common, args),
        Command::Config(command) => commands::config(&cli.common, &command),
        Command::Model(command) => commands::model(&cli.common, &command),
        Command::Bench(args) => commands::bench(&cli.common, args),
        Command::EngineWorker => commands::engine_worker(),
        Command::Client(command) => commands::client(&cli.common, command),
    };
    exit.into()
}

/// Prints help, version or what is wrong with the command line.
fn told_by_clap(error: &clap::Error) -> Exit {
    // Nobody is left to tell when the stream is closed.
    drop(error.print());
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

/// Ends the process at once; asked for by a second signal while the daemon drains.
#[expect(clippy::exit, reason = "the one place that ends the process before `main` returns")]
fn end_now() {
    std::process::exit(Exit::Failed as i32)
}
