//! One file per command.

mod chat;
mod sessions;
mod status;
mod stop;

pub use chat::ChatArgs;
pub use sessions::SessionsCommand;
pub use status::StatusArgs;
pub use stop::StopArgs;

use crate::console::Console;
use crate::context::ClientContext;
use crate::exit::Exit;
use crate::interrupts::Interrupts;

/// The commands that talk to a daemon.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ClientCommand {
    /// Ask a question, or talk: without a message and on a terminal it is a conversation
    Chat(Box<ChatArgs>),
    /// Stop the running daemon
    Stop(StopArgs),
    /// Show the running daemon, its model and its parts
    Status(StatusArgs),
    /// List, show and delete stored conversations
    #[command(subcommand)]
    Sessions(SessionsCommand),
}

/// Runs a command and reports how it ended.
pub(crate) async fn run(
    command: ClientCommand,
    context: &ClientContext,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Exit {
    let ended = match command {
        ClientCommand::Chat(args) => chat::run(*args, context, console, interrupts).await,
        ClientCommand::Stop(args) => stop::run(&args, context, console, interrupts).await,
        ClientCommand::Status(args) => status::run(&args, context, console).await,
        ClientCommand::Sessions(command) => sessions::run(command, context, console).await,
    };
    ended.unwrap_or_else(|ended| ended.report(console))
}
