//! `boca bench`.

mod fusion;
mod questions;

use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::interrupts::Interrupts;

pub use fusion::BenchFusionArgs;

/// `boca bench …`
#[derive(Debug, Clone, clap::Subcommand)]
pub enum BenchCommand {
    /// Compare the best single provider, selecting and merging on your own questions, at their true cost
    Fusion(BenchFusionArgs),
}

/// Runs a benchmark.
pub(crate) async fn run(
    command: BenchCommand,
    context: &ClientContext,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Exit, Ended> {
    match command {
        BenchCommand::Fusion(args) => fusion::run(&args, context, console, interrupts).await,
    }
}
