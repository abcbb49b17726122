//! One file per command.

mod batch;
mod bench;
mod chat;
mod compare;
mod everyone;
mod feedback;
mod model;
mod sessions;
mod status;
mod stop;
mod trace;

pub use batch::BatchArgs;
pub use bench::{BenchCommand, BenchFusionArgs};
pub use chat::ChatArgs;
pub use compare::{CompareArgs, CompareCommand};
pub use feedback::FeedbackArgs;
pub use model::ModelChangeArgs;
pub use sessions::SessionsCommand;
pub use status::StatusArgs;
pub use stop::StopArgs;

use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::interrupts::Interrupts;

/// The commands that talk to a daemon.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ClientCommand {
    /// Ask a question, or talk: without a message and on a terminal it is a conversation
    Chat(Box<ChatArgs>),
    /// Ask everyone the same, and show the answers side by side; or show the running record
    Compare(CompareArgs),
    /// Answer a file of questions while nobody waits, and write the results; can be gone on with
    Batch(BatchArgs),
    /// Say whether an answer was good
    Feedback(FeedbackArgs),
    /// Measure on your own questions; the binary, which has more to measure, parses the line itself
    #[command(skip)]
    Bench(BenchCommand),
    /// Load or unload the weights; parsed by the binary, like the line above
    #[command(skip)]
    Model(ModelChangeArgs),
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
        ClientCommand::Compare(args) => compare::run(args, context, console, interrupts).await,
        ClientCommand::Batch(args) => batch::run(&args, context, console, interrupts).await,
        ClientCommand::Feedback(args) => unless(interrupts, feedback::run(&args, context, console)).await,
        ClientCommand::Bench(command) => bench::run(command, context, console, interrupts).await,
        ClientCommand::Model(args) => unless(interrupts, model::run(&args, context, console)).await,
        ClientCommand::Stop(args) => stop::run(&args, context, console, interrupts).await,
        ClientCommand::Status(args) => unless(interrupts, status::run(&args, context, console)).await,
        ClientCommand::Sessions(command) => {
            unless(interrupts, sessions::run(command, context, console)).await
        }
    };
    ended.unwrap_or_else(|ended| ended.report(console))
}

/// Runs to the end, or to Ctrl-C.
async fn unless(
    interrupts: &mut Interrupts,
    command: impl Future<Output = Result<Exit, Ended>>,
) -> Result<Exit, Ended> {
    tokio::select! {
        biased;
        () = interrupts.next() => Err(Ended::Interrupted),
        ended = command => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::time::Duration;

    #[derive(Debug, Parser)]
    #[command(name = "boca")]
    struct Line {
        #[command(subcommand)]
        command: ClientCommand,
    }

    fn chat(words: &[&str]) -> Result<ChatArgs, clap::error::ErrorKind> {
        match Line::try_parse_from([&["boca", "chat"], words].concat()) {
            Ok(Line { command: ClientCommand::Chat(args) }) => Ok(*args),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.kind()),
        }
    }

    #[test]
    fn the_definition_holds_together() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    #[test]
    fn chat_is_understood() {
        let args =
            chat(&["-t", "0.5", "-n", "9", "-s", "a", "--stop", "x", "--stop", "y", "two", "words"]).unwrap();
        assert_eq!((args.temperature, args.max_tokens), (Some(0.5), Some(9)));
        assert_eq!((args.session.as_deref(), args.stop.len()), (Some("a"), 2));
        assert_eq!(args.message, ["two", "words"]);
        assert_eq!(chat(&["--", "-5", "+", "3?"]).unwrap().message, ["-5", "+", "3?"]);
        assert_eq!(chat(&["--temperature", "-1"]).unwrap().temperature, Some(-1.0));
        assert_eq!(chat(&["--deadline", "2m", "x"]).unwrap().deadline, Some(Duration::from_secs(120)));
    }

    #[test]
    fn the_later_of_two_contrary_switches_counts() {
        let args = chat(&["--think", "--no-think", "x"]).unwrap();
        assert_eq!((args.think, args.no_think), (false, true));
        let args = chat(&["--no-think", "--think", "x"]).unwrap();
        assert_eq!((args.think, args.no_think), (true, false));
    }

    #[test]
    fn comparing_is_told_from_looking_at_the_record() {
        let compare = |words: &[&str]| match Line::try_parse_from([&["boca", "compare"], words].concat()) {
            Ok(Line { command: ClientCommand::Compare(args) }) => (args.command.is_some(), args.message),
            other => panic!("{other:?}"),
        };
        assert_eq!(compare(&["stats"]), (true, vec![]));
        assert_eq!(compare(&["What", "is", "it?"]), (false, vec!["What".into(), "is".into(), "it?".into()]));
        assert!(Line::try_parse_from(["boca", "feedback", "r-1", "fine"]).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        use clap::error::ErrorKind;
        assert_eq!(chat(&["--continue", "--session", "a"]).unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(chat(&["--deadline", "soon", "x"]).unwrap_err(), ErrorKind::ValueValidation);
        assert_eq!(chat(&["--seed", "-1", "x"]).unwrap_err(), ErrorKind::UnknownArgument);
        assert_eq!(chat(&["--tempreature", "1"]).unwrap_err(), ErrorKind::UnknownArgument);
        let delete = Line::try_parse_from(["boca", "sessions", "delete"]).unwrap_err();
        assert_eq!(delete.kind(), ErrorKind::MissingRequiredArgument);
    }
}
