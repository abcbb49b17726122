//! `boca chat`.

mod ask;
mod input;
mod interactive;
mod line_source;
mod slash;

use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::interrupts::Interrupts;
use crate::{autostart, connect, human, ready};
use ask::{Question, Show};
use boca_api::{ChatRequest, Client, ClientError, ListSessionsQuery, StopTexts};
use std::time::{Duration, Instant};

/// How long to wait for weights when the question has no deadline: a large model on a slow disk.
const LOAD_WITHIN: Duration = Duration::from_secs(3600);

/// Options of `boca chat`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ChatArgs {
    /// What to ask; text on standard input is appended. Without both it is a conversation
    pub message: Vec<String>,

    /// Go on with this conversation (it is created when it does not exist)
    #[arg(short, long, value_name = "ID", conflicts_with = "resume")]
    pub session: Option<String>,

    /// Go on with the conversation that was used last
    #[arg(short = 'c', long = "continue")]
    pub resume: bool,

    /// Instructions for the model, instead of the conversation's and the configuration's
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,

    /// A set of sampling values: accurate, balanced or creative
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,

    /// How varied the wording is: 0 always takes the most likely word, up to 2
    #[arg(short, long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub temperature: Option<f32>,

    /// The most tokens to generate, thinking included
    #[arg(short = 'n', long, value_name = "N")]
    pub max_tokens: Option<u32>,

    /// Same seed, same question, same answer
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// End the answer before this text (may be given several times)
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,

    /// Let the model think before it answers
    #[arg(long, overrides_with = "no_think")]
    pub think: bool,

    /// Answer without thinking
    #[arg(long, overrides_with = "think")]
    pub no_think: bool,

    /// Show the thinking, on standard error
    #[arg(long)]
    pub show_thinking: bool,

    /// Who answers: auto, collaborative, local, cloud, fallback, race, compare or the name of a provider
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,

    /// How much it may cost in time and tokens: fast, balanced or best
    #[arg(long, value_name = "EFFORT")]
    pub effort: Option<String>,

    /// How one answer comes out of several: select or merge
    #[arg(long, value_name = "STRATEGY")]
    pub strategy: Option<String>,

    /// Show the question to no provider outside this machine; its conversation stays private
    #[arg(long)]
    pub private: bool,

    /// What to do when the conversation does not fit the model's context: refuse, sliding (leave out the oldest turns) or
    /// summarise (let a summary take their place)
    #[arg(long, value_name = "POLICY")]
    pub context: Option<String>,

    /// Give up after this time, such as 30s or 2m
    #[arg(long, value_name = "TIME", value_parser = human::parse_duration)]
    pub deadline: Option<Duration>,

    /// Print the answer when it is complete, not as it comes
    #[arg(long)]
    pub no_stream: bool,

    /// Print the API's answer as JSON
    #[arg(long)]
    pub json: bool,

    /// Print tokens and speed on standard error
    #[arg(long)]
    pub stats: bool,

    /// Print who was asked, when, at what cost and why, on standard error
    #[arg(long)]
    pub trace: bool,
}

impl ChatArgs {
    /// The request that these options make, without its message.
    fn request(&self) -> ChatRequest {
        ChatRequest {
            session_id: self.session.clone(),
            mode: self.mode.clone(),
            effort: self.effort.clone(),
            strategy: self.strategy.clone(),
            private: self.private.then_some(true),
            context_policy: self.context.clone(),
            system: self.system.clone(),
            preset: self.preset.clone(),
            temperature: self.temperature,
            seed: self.seed,
            max_tokens: self.max_tokens,
            stop: (!self.stop.is_empty()).then(|| StopTexts(self.stop.clone())),
            thinking: if self.think { Some(true) } else { self.no_think.then_some(false) },
            ..ChatRequest::default()
        }
    }

    fn show(&self) -> Show {
        Show {
            stream: !self.no_stream,
            json: self.json,
            thinking: self.show_thinking,
            stats: self.stats,
            trace: self.trace,
        }
    }
}

/// Asks once, or talks.
pub(crate) async fn run(
    args: ChatArgs,
    context: &ClientContext,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Exit, Ended> {
    let interactive = args.message.is_empty() && console.in_is_terminal;
    if interactive && (args.json || !console.out_is_terminal) {
        return Err(Ended::usage("a message is missing: give one, or pipe one into standard input"));
    }
    if interactive {
        return interactive::run(&args, context, console, interrupts).await;
    }
    let message = input::message(&args.message, console, interrupts).await?;
    let (client, deadline) = daemon(context, args.deadline, console, interrupts).await?;
    let mut request = ChatRequest { message, ..args.request() };
    if args.resume {
        request.session_id = Some(last_session(&client).await?);
    }
    let question = Question { request, show: args.show(), deadline };
    match ask::ask(&client, &question, console, interrupts).await?.response {
        Some(response) => {
            ask::notes(&response, &question, true, console);
            Ok(Exit::Done)
        }
        None => {
            console.note("cancelled");
            Ok(Exit::Interrupted)
        }
    }
}

/// The daemon, started if need be and allowed, with its model loaded if there is one to load; and what is left of
/// the deadline.
pub(crate) async fn daemon(
    context: &ClientContext,
    deadline: Option<Duration>,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<(Client, Option<Duration>), Ended> {
    let began = Instant::now();
    let client = match connect::find(context).await? {
        Some(client) => client,
        None if context.auto_start => autostart::start(context, console, interrupts).await?,
        None => return Err(Ended::NoDaemon(context.socket_candidates.clone())),
    };
    // A daemon that is not ready after this answers the question with its reason.
    ready::wait(&client, deadline.unwrap_or(LOAD_WITHIN), console, interrupts).await?;
    // The least deadline makes the daemon say why there is no answer yet.
    let left = deadline.map(|time| time.saturating_sub(began.elapsed()).max(Duration::from_millis(1)));
    Ok((client, left))
}

/// The id of the conversation that was used last.
async fn last_session(client: &Client) -> Result<String, Ended> {
    let query = ListSessionsQuery { limit: Some(1), before: None };
    let list = client.list_sessions(&query).await.map_err(|error: ClientError| Ended::from(error))?;
    let newest = list.body.sessions.into_iter().next();
    newest
        .map(|session| session.id)
        .ok_or_else(|| Ended::failed("there is no conversation to go on with", None))
}

#[cfg(test)]
mod tests;
