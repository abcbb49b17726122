//! A conversation on a terminal.

use super::ask::{self, Question, Show};
use super::line_source::{Line, LineSource, Person};
use super::slash::{self, Slash, Typed};
use super::{ChatArgs, daemon, last_session};
use crate::clean;
use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::human;
use crate::interrupts::Interrupts;
use boca_api::{Change, ChatRequest, Client, ClientError, CreateSessionRequest, UpdateSessionRequest};
use std::time::Duration;

const PROMPT: &str = "> ";
const PROMPT_GOES_ON: &str = "… ";

/// Talks until the person leaves.
pub(super) async fn run(
    args: &ChatArgs,
    context: &ClientContext,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Exit, Ended> {
    let (client, _) = daemon(context, args.deadline, console, interrupts).await?;
    let mut template = args.request();
    if args.resume {
        template.session_id = Some(last_session(&client).await?);
    }
    greet(&client, console).await?;
    let person = Person::new(context.history_file.as_deref())
        .map_err(|error| Ended::failed(format!("the terminal cannot be used: {error}"), None))?;
    let mut talk = Talk {
        template,
        show: args.show(),
        deadline: args.deadline,
        told_demo: false,
        context,
        console,
        interrupts,
    };
    talk.until_the_end(Box::new(person)).await?;
    if let Some(id) = &talk.template.session_id {
        let id = clean::for_one_line(id, 80);
        console.note(&format!("go on later with `boca chat --session {id}`"));
    }
    Ok(Exit::Done)
}

async fn greet(client: &Client, console: &mut Console) -> Result<(), Ended> {
    let ready = client.ready().await?.body;
    let model = match &ready.model {
        Some(model) => clean::for_one_line(model, 60),
        None => format!("model: {}", clean::for_one_line(&ready.status, 20)),
    };
    let line = format!("boca · {model} · /help lists the commands, Ctrl-D leaves\n");
    let line = console.out_style.dim(&line);
    console.print(&line)
}

/// A conversation: what is sent with every message, and how answers are shown.
struct Talk<'a> {
    template: ChatRequest,
    show: Show,
    deadline: Option<Duration>,
    told_demo: bool,
    context: &'a ClientContext,
    console: &'a mut Console,
    interrupts: &'a mut Interrupts,
}

impl Talk<'_> {
    async fn until_the_end(&mut self, mut lines: Box<dyn LineSource>) -> Result<(), Ended> {
        loop {
            let (line, back) = read_line(lines).await?;
            lines = back;
            let typed = match line {
                Line::End => return Ok(()),
                Line::Interrupted => {
                    self.console.note("Ctrl-D or /quit leaves");
                    continue;
                }
                Line::Text(text) => slash::parse(&text),
            };
            let done = match typed {
                Typed::Blank => continue,
                Typed::Slash(Slash::Quit) => return Ok(()),
                Typed::Unknown(told) => {
                    self.console.note(&told);
                    continue;
                }
                Typed::Message(message) => self.ask(message).await,
                Typed::Slash(slash) => self.obey(slash).await,
            };
            match done {
                Ok(()) => {}
                Err(ended @ (Ended::OutputClosed | Ended::OutputFailed(_))) => return Err(ended),
                Err(Ended::Interrupted) => self.console.note("cancelled"),
                // The person may say something else, or the same again.
                Err(ended) => drop(ended.report(self.console)),
            }
        }
    }

    async fn ask(&mut self, message: String) -> Result<(), Ended> {
        let (client, deadline) = daemon(self.context, self.deadline, self.console, self.interrupts).await?;
        let request = ChatRequest { message, ..self.template.clone() };
        let question = Question { request, show: self.show, deadline };
        let asked = ask::ask(&client, &question, self.console, self.interrupts).await?;
        if asked.session_id.is_some() {
            self.template.session_id = asked.session_id;
        }
        let Some(response) = asked.response else { return Err(Ended::Interrupted) };
        ask::notes(&response, &question, !self.told_demo, self.console);
        self.told_demo |= response.model_is_demo;
        self.console.print("\n")
    }

    async fn obey(&mut self, slash: Slash) -> Result<(), Ended> {
        match slash {
            Slash::Help => return self.console.print(&help()),
            Slash::Quit => {}
            Slash::New => {
                self.template.session_id = None;
                self.console.note("a new conversation");
            }
            Slash::Session(None) => match &self.template.session_id {
                Some(id) => self.console.note(&format!("this is session {id}")),
                None => self.console.note("nothing is said yet in this conversation"),
            },
            Slash::Session(Some(id)) => self.go_on_with(id).await?,
            Slash::Think(thinking) => {
                self.template.thinking = thinking;
                self.console.note(match thinking {
                    Some(true) => "the model thinks before it answers",
                    Some(false) => "the model answers without thinking",
                    None => "the settings decide whether the model thinks",
                });
            }
            Slash::ShowThinking(shown) => {
                self.show.thinking = shown;
                self.console.note(if shown { "thinking is shown" } else { "thinking is not shown" });
            }
            Slash::Stats(shown) => {
                self.show.stats = shown;
                self.console.note(if shown { "figures are shown" } else { "figures are not shown" });
            }
            Slash::Preset(preset) => {
                self.console.note(&match &preset {
                    Some(name) => format!("preset {name}"),
                    None => "no preset".to_owned(),
                });
                self.template.preset = preset;
            }
            Slash::System => self.show_system().await?,
            Slash::SetSystem(system) => self.set_system(system).await?,
        }
        Ok(())
    }

    async fn go_on_with(&mut self, id: String) -> Result<(), Ended> {
        let (client, _) = daemon(self.context, self.deadline, self.console, self.interrupts).await?;
        match client.session(&id).await {
            Ok(reply) => {
                let n = human::plural(reply.body.messages.len() as u64, "message");
                self.console.note(&format!("going on with session {id} ({n} so far)"));
            }
            Err(error) if error.code() == Some("not_found") => {
                self.console.note(&format!("session {id} begins with the next message"));
            }
            Err(error) => return Err(error.into()),
        }
        self.template.session_id = Some(id);
        Ok(())
    }

    async fn show_system(&mut self) -> Result<(), Ended> {
        let mut system = self.template.system.clone();
        if let (None, Some(id)) = (&system, &self.template.session_id) {
            let (client, _) = daemon(self.context, self.deadline, self.console, self.interrupts).await?;
            system = match client.session(id).await {
                Ok(reply) => reply.body.system,
                Err(error) if error.code() == Some("not_found") => None,
                Err(error) => return Err(error.into()),
            };
        }
        match system {
            Some(text) => self.console.answer(&format!("{text}\n")),
            None => {
                self.console.note("this conversation has the configuration's instructions");
                Ok(())
            }
        }
    }

    /// Stored with the conversation, so that they hold when it is taken up again.
    async fn set_system(&mut self, system: Option<String>) -> Result<(), Ended> {
        let (client, _) = daemon(self.context, self.deadline, self.console, self.interrupts).await?;
        let session = match &self.template.session_id {
            Some(id) => {
                let system = system.clone().map_or(Change::Clear, Change::Set);
                let update = UpdateSessionRequest { system, ..Default::default() };
                match client.update_session(id, &update).await {
                    Err(error) if error.code() == Some("not_found") => None,
                    updated => Some(updated?.body.id),
                }
            }
            None => None,
        };
        let id = match session {
            Some(id) => id,
            None => self.create_session(&client, system.clone()).await?,
        };
        self.template.session_id = Some(id);
        self.template.system = None;
        self.console.note(match system {
            Some(_) => "the instructions hold for this conversation from now on",
            None => "this conversation has the configuration's instructions",
        });
        Ok(())
    }

    async fn create_session(&self, client: &Client, system: Option<String>) -> Result<String, ClientError> {
        let id = self.template.session_id.clone();
        let create = CreateSessionRequest { id, system, ..Default::default() };
        Ok(client.create_session(&create).await?.body.id)
    }
}

/// Reads a line; one that ends in a backslash goes on with the next.
async fn read_line(mut lines: Box<dyn LineSource>) -> Result<(Line, Box<dyn LineSource>), Ended> {
    let read = tokio::task::spawn_blocking(move || {
        let mut whole = String::new();
        loop {
            let prompt = if whole.is_empty() { PROMPT } else { PROMPT_GOES_ON };
            match lines.read(prompt)? {
                Line::Text(text) => match text.strip_suffix('\\') {
                    Some(part) => {
                        whole.push_str(part);
                        whole.push('\n');
                    }
                    None => return Ok((Line::Text(whole + &text), lines)),
                },
                other => return Ok((other, lines)),
            }
        }
    });
    let unusable = |what: String| Ended::failed(format!("the terminal cannot be used: {what}"), None);
    match read.await {
        Ok(read) => read.map_err(|error: std::io::Error| unusable(error.to_string())),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn help() -> String {
    let mut text: String =
        slash::HELP.iter().map(|(usage, what)| format!("  {usage:<20} {what}\n")).collect();
    text.push_str("  A line that ends in \\ goes on with the next. Ctrl-C stops an answer.\n");
    text
}

#[cfg(test)]
mod tests;
