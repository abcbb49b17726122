//! `boca sessions`.

use crate::clean::{for_one_line, for_terminal};
use crate::connect;
use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::human;
use crate::style::Style;
use crate::table::{Paint, Table};
use boca_api::{ListSessionsQuery, SessionListResponse, SessionMessage, SessionResponse};

/// A title in the list is cut to this.
const MAX_TITLE_CHARS: usize = 60;
const MAX_ID_CHARS: usize = 80;

/// The subcommands of `boca sessions`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SessionsCommand {
    /// List stored conversations, the one used last first
    List {
        /// The most conversations to list
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        limit: u32,
        /// Go on after an earlier list
        #[arg(long, value_name = "CURSOR")]
        before: Option<String>,
        /// Print the API's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a conversation with its messages
    Show {
        /// The conversation's id
        id: String,
        /// Show the thinking too
        #[arg(long)]
        show_thinking: bool,
        /// Print the API's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete conversations for good
    Delete {
        /// The conversations' ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// Print the API's answers as JSON, one a line
        #[arg(long)]
        json: bool,
    },
}

/// Runs a subcommand.
pub(crate) async fn run(
    command: SessionsCommand,
    context: &ClientContext,
    console: &mut Console,
) -> Result<Exit, Ended> {
    let client = connect::require(context).await?;
    match command {
        SessionsCommand::List { limit, before, json } => {
            let query = ListSessionsQuery { limit: Some(limit), before };
            let reply = client.list_sessions(&query).await?;
            if json {
                console.json(&reply.json)?;
            } else if reply.body.sessions.is_empty() {
                console.note("no conversations are stored");
            } else {
                console.print(&list(&reply.body, human::now_unix_ms(), console.out_style))?;
                if let Some(before) = &reply.body.next_before {
                    console.note(&format!("more: boca sessions list --before {before}"));
                }
            }
        }
        SessionsCommand::Show { id, show_thinking, json } => {
            let reply = client.session(&id).await?;
            if json {
                console.json(&reply.json)?;
            } else {
                let text = conversation(&reply.body, show_thinking, console.out_style);
                console.print(&text)?;
            }
        }
        SessionsCommand::Delete { ids, json } => {
            // Every one is tried: that one is gone already is no reason to keep the others.
            let mut exit = Exit::Done;
            for id in ids {
                match client.delete_session(&id).await {
                    Ok(reply) if json => console.json(&reply.json)?,
                    Ok(reply) => {
                        let n = human::plural(reply.body.n_messages, "message");
                        console.note(&format!("deleted {id} ({n})"));
                    }
                    Err(error @ boca_api::ClientError::Api { .. }) => {
                        exit = Ended::from(error).report(console);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(exit);
        }
    }
    Ok(Exit::Done)
}

fn list(list: &SessionListResponse, now_unix_ms: u64, style: Style) -> String {
    let mut table = Table::new(&["id", "used", "messages", "title"], style);
    for session in &list.sessions {
        let title = session.title.as_deref().map(|title| for_one_line(title, MAX_TITLE_CHARS));
        table.row(vec![
            (for_one_line(&session.id, MAX_ID_CHARS), Paint::Name),
            (human::ago(session.updated_unix_ms, now_unix_ms), Paint::Plain),
            (session.n_messages.to_string(), Paint::Plain),
            (title.unwrap_or_default(), Paint::Plain),
        ]);
    }
    table.text()
}

fn conversation(session: &SessionResponse, show_thinking: bool, style: Style) -> String {
    let id = for_one_line(&session.id, MAX_ID_CHARS);
    let mut head = style.bold(&match &session.title {
        Some(title) => format!("{} ({id})", for_one_line(title, MAX_TITLE_CHARS)),
        None => id,
    });
    head.push('\n');
    let mut settings = Vec::new();
    if let Some(preset) = &session.preset {
        settings.push(format!("preset {}", for_one_line(preset, MAX_ID_CHARS)));
    }
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(&session.sampling) {
        settings.extend(fields.into_iter().map(|(name, value)| format!("{name} {value}")));
    }
    if !settings.is_empty() {
        head.push_str(&format!("{}\n", style.dim(&for_terminal(&settings.join(", ")))));
    }
    let system = session.system.as_ref().map(|system| part("system", "", system, style));
    let summary = session.summary.as_ref().map(|summary| {
        let about = format!(
            "of messages before number {}, by {}",
            summary.before_turn,
            for_one_line(&summary.model, MAX_ID_CHARS)
        );
        part("summary", &about, &summary.text, style)
    });
    let messages = session.messages.iter().map(|message| said(message, show_thinking, style));
    let parts: Vec<String> = system.into_iter().chain(summary).chain(messages).collect();
    format!("{head}\n{}", parts.join("\n"))
}

fn said(message: &SessionMessage, show_thinking: bool, style: Style) -> String {
    let mut about = Vec::new();
    if let Some(model) = &message.model_used {
        about.push(for_one_line(model, MAX_ID_CHARS));
    }
    if let Some(usage) = &message.usage {
        about.push(human::plural(u64::from(usage.completion_tokens), "token"));
    }
    if let Some(timings) = &message.timings {
        about.push(human::duration(human::seconds(timings.total_ms / 1000.0)));
    }
    if let Some(reason) = message.finish_reason.as_deref().filter(|reason| *reason != "stop") {
        about.push(format!("ended by {}", for_one_line(reason, MAX_ID_CHARS)));
    }
    let about = about.join(", ");
    let thinking = message.reasoning.as_ref().filter(|_| show_thinking);
    let thinking = thinking.map(|text| part("thinking", "", text, style));
    let content = part(&message.role, &about, &message.content, style);
    thinking.map_or(content.clone(), |thinking| format!("{thinking}\n{content}"))
}

fn part(role: &str, about: &str, text: &str, style: Style) -> String {
    let role = for_one_line(role, MAX_ID_CHARS);
    let heading = match role.as_str() {
        "user" => style.cyan(&role),
        "assistant" => style.green(&role),
        _ => style.dim(&role),
    };
    let about = if about.is_empty() { String::new() } else { style.dim(&format!(" ({about})")) };
    format!("{heading}{about}\n{}\n", for_terminal(text).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_daemon::{Desk, FakeDaemon, ok, refusal};
    use boca_api::{SamplingFields, SessionSummary, Timings, TurnSummary, Usage};

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn a_list() {
        let session = |id: &str, title: Option<&str>, ago_s: u64, n_messages| SessionSummary {
            id: id.into(),
            title: title.map(str::to_owned),
            created_unix_ms: NOW,
            updated_unix_ms: NOW - ago_s * 1000,
            n_messages,
        };
        let sessions = vec![
            session("0193-a", Some("What can you do?"), 3, 2),
            session(
                "work",
                Some("A title\nof two lines with \u{1b}[31mcolour and far too many words to fit here"),
                7300,
                128,
            ),
            session("empty", None, 200_000, 0),
        ];
        insta::assert_snapshot!(list(
            &SessionListResponse { sessions, next_before: None },
            NOW,
            Style::PLAIN
        ));
    }

    #[test]
    fn one_conversation() {
        let said = |role: &str, content: &str| SessionMessage {
            role: role.into(),
            content: content.into(),
            ..SessionMessage::default()
        };
        let mut answer = said("assistant", "I answer questions.\nAnd more\u{7}.\n\n");
        answer.reasoning = Some("They want to know what I can do.".into());
        answer.model_used = Some("boca-demo".into());
        answer.finish_reason = Some("length".into());
        answer.usage = Some(Usage { completion_tokens: 12, ..Usage::default() });
        answer.timings = Some(Timings { total_ms: 830.0, ..Timings::default() });
        let session = SessionResponse {
            id: "0193-a".into(),
            title: Some("What can you do?".into()),
            system: Some("Be terse.".into()),
            preset: Some("accurate".into()),
            sampling: SamplingFields { temperature: Some(0.5), seed: Some(7), ..SamplingFields::default() },
            summary: Some(TurnSummary {
                before_turn: 4,
                text: "They asked\nwhat I can do.".into(),
                model: "boca-demo".into(),
                created_unix_ms: Some(NOW),
            }),
            messages: vec![said("user", "What can you do?"), answer],
            ..SessionResponse::default()
        };
        insta::assert_snapshot!("one_conversation", conversation(&session, false, Style::PLAIN));
        insta::assert_snapshot!("one_conversation_with_thinking", conversation(&session, true, Style::PLAIN));
    }

    async fn run_on(daemon: &FakeDaemon, command: SessionsCommand) -> (Exit, String, String) {
        let mut desk = Desk::new();
        let exit = match run(command, &daemon.context(), &mut desk.console).await {
            Ok(exit) => exit,
            Err(ended) => ended.report(&mut desk.console),
        };
        (exit, desk.out.text(), desk.err.text())
    }

    #[tokio::test]
    async fn a_list_names_the_next_one_and_json_is_the_body() {
        let body = r#"{"sessions":[{"id":"a","created_unix_ms":1,"updated_unix_ms":1,"n_messages":1}],"next_before":"c-9","new":1}"#;
        let daemon = FakeDaemon::start(move |_| ok(body));
        let list = |json| SessionsCommand::List { limit: 5, before: Some("c-1".into()), json };
        let (exit, out, err) = run_on(&daemon, list(false)).await;
        assert_eq!(exit, Exit::Done);
        assert!(out.contains("a"), "{out}");
        assert_eq!(err, "more: boca sessions list --before c-9\n");
        assert_eq!(run_on(&daemon, list(true)).await, (Exit::Done, format!("{body}\n"), String::new()));
        assert_eq!(daemon.calls()[0].line, "GET /api/sessions?limit=5&before=c-1");
    }

    #[tokio::test]
    async fn no_conversations_is_said() {
        let daemon = FakeDaemon::start(|_| ok(r#"{"sessions":[]}"#));
        let list = SessionsCommand::List { limit: 5, before: None, json: false };
        let said = (Exit::Done, String::new(), "no conversations are stored\n".to_owned());
        assert_eq!(run_on(&daemon, list).await, said);
    }

    #[tokio::test]
    async fn all_are_deleted_even_when_one_is_gone() {
        let daemon = FakeDaemon::start(|call| match call.line.as_str() {
            "DELETE /api/sessions/gone" => refusal("404 Not Found", "", "not_found", "no session `gone`"),
            _ => ok(r#"{"id":"x","n_messages":3}"#),
        });
        let ids = ["a", "gone", "b"].map(str::to_owned).to_vec();
        let (exit, out, err) = run_on(&daemon, SessionsCommand::Delete { ids, json: false }).await;
        assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
        assert_eq!(err, "deleted a (3 messages)\nerror: no session `gone`\ndeleted b (3 messages)\n");
    }

    #[tokio::test]
    async fn without_daemon_it_says_what_to_do() {
        let daemon = FakeDaemon::not_yet();
        let show = SessionsCommand::Show { id: "a".into(), show_thinking: false, json: true };
        let (exit, out, err) = run_on(&daemon, show).await;
        assert_eq!((exit, out.as_str()), (Exit::Unavailable, ""));
        assert!(err.contains("help: start one with `boca serve`"), "{err}");
    }
}
