//! boca's client commands.
//!
//! They know the daemon by its API alone (`boca-api`): no configuration file, no store, no model. What they need to
//! know of the machine, the binary hands them as a [`ClientContext`].

mod autostart;
mod clean;
mod commands;
mod connect;
mod console;
mod context;
mod deadline;
mod ended;
mod exit;
#[cfg(test)]
mod fake_daemon;
mod human;
mod interrupts;
mod ready;
mod style;
mod table;

pub use commands::{
    BatchArgs, BenchCommand, BenchFusionArgs, ChatArgs, ClientCommand, CompareArgs, CompareCommand,
    FeedbackArgs, ModelChangeArgs, SessionsCommand, StatusArgs, StopArgs,
};
pub use context::{ClientContext, DaemonCommand};
pub use exit::Exit;

use console::Console;
use interrupts::Interrupts;

/// Runs a command to its end on the process's own standard streams and says how it ended.
///
/// Blocks the calling thread; it must not be called from inside an async runtime. SIGINT is caught from here on: it
/// cancels what is running.
pub fn run(command: ClientCommand, context: &ClientContext) -> Exit {
    let mut console = Console::of_the_process();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.error(&format!("cannot start the client: {error}"), None);
            return Exit::Failed;
        }
    };
    let exit = runtime.block_on(async {
        let mut interrupts = match Interrupts::of_the_process() {
            Ok(interrupts) => interrupts,
            Err(error) => {
                console.error(&format!("cannot listen for Ctrl-C: {error}"), None);
                return Exit::Failed;
            }
        };
        commands::run(command, context, &mut console, &mut interrupts).await
    });
    // A thread that still reads from standard input cannot be ended; it must not hold up the exit.
    runtime.shutdown_background();
    exit
}
