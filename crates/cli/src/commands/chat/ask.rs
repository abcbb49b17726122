//! One question: sends it, shows the answer as it comes, and can be cancelled.

use crate::commands::trace;
use crate::console::Console;
use crate::deadline;
use crate::ended::Ended;
use crate::human;
use crate::interrupts::Interrupts;
use boca_api::{
    ChatRequest, ChatResponse, Client, ClientError, ContextCut, ErrorBody, SourceTrace, StreamEvent,
};
use indicatif::ProgressBar;
use std::time::Duration;

/// How long the daemon may be silent; it gives a sign of life at least every 10 s.
const SILENCE: Duration = Duration::from_secs(45);
/// How long a question without a deadline may wait for a model. The daemon's own deadline is shorter.
const OPENING: Duration = Duration::from_secs(3600);

const DEMO_NOTE: &str = "answered by boca's small built-in demo model; for real answers set GLM_MODEL_PATH to a \
                         GLM-4.5-Air checkpoint (MLX 4-bit), then `boca stop` and ask again";

/// A question and how its answer is shown.
#[derive(Debug)]
pub(super) struct Question {
    /// What is sent, but for the deadline.
    pub(super) request: ChatRequest,
    /// How the answer is shown.
    pub(super) show: Show,
    /// The time the daemon has.
    pub(super) deadline: Option<Duration>,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Show {
    /// As it comes instead of when it is complete.
    pub(super) stream: bool,
    /// As the API's JSON.
    pub(super) json: bool,
    /// With the thinking, on standard error.
    pub(super) thinking: bool,
    /// With tokens and speed, on standard error.
    pub(super) stats: bool,
    /// With a table of who was asked, on standard error.
    pub(super) trace: bool,
}

/// What came of a question.
#[derive(Debug)]
pub(super) struct Asked {
    /// The conversation that the daemon gave the question to, once it said so.
    pub(super) session_id: Option<String>,
    /// The answer; `None` when Ctrl-C came first.
    pub(super) response: Option<Box<ChatResponse>>,
}

/// Asks, and shows the answer on standard output.
///
/// # Errors
/// When there is no complete answer and nobody cancelled. What was shown until then stays.
pub(super) async fn ask(
    client: &Client,
    question: &Question,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Asked, Ended> {
    let mut answer = Answer::new(question.show, console);
    let mut session_id = None;
    let response = answer.follow(client, question, &mut session_id, interrupts).await;
    answer.end_lines();
    if let Err(Ended::Client(ClientError::Api { body, .. })) = &response
        && question.show.json
        && let Ok(json) = serde_json::to_vec(body)
    {
        console.json(&json)?;
    }
    Ok(Asked { session_id, response: response? })
}

/// Tells on standard error what the text of an answer does not.
pub(super) fn notes(response: &ChatResponse, question: &Question, tell_demo: bool, console: &mut Console) {
    match response.finish_reason.as_str() {
        "length" => {
            let n = response.usage.completion_tokens;
            let why = match question.request.max_tokens {
                Some(most) if n >= most => "a larger `--max-tokens` allows more",
                _ if question.deadline.is_some() => {
                    "that is what the deadline, the context and the settings allow"
                }
                _ => "that is what the context and the settings allow",
            };
            console.note(&format!("cut off after {}: {why}", human::plural(u64::from(n), "token")));
        }
        "deadline" => console.note("cut off by the deadline; `--deadline` allows more time"),
        "repetition" => {
            console.note("cut off: the model repeated itself; `[model] loop_guard = false` lets it go on")
        }
        "cancelled" => console.note("cut off: someone cancelled the request"),
        _ => {}
    }
    for source in &response.trace.sources {
        if let Some(cut) = &source.context_cut {
            console.note(&left_out(source, cut));
        }
    }
    if let Some(line) = attribution(response) {
        console.note(&line);
    }
    if question.show.stats {
        console.note(&stats_line(response));
    }
    if question.show.trace {
        let table = trace::table(&response.trace, console.err_style);
        console.err_raw(&table);
        console.note(&format!("request   {}", crate::clean::for_one_line(&response.request_id, 80)));
    }
    if tell_demo && response.model_is_demo {
        console.note(DEMO_NOTE);
    }
}

/// What somebody was not given of the conversation.
fn left_out(source: &SourceTrace, cut: &ContextCut) -> String {
    let name = crate::clean::for_one_line(&source.provider, 60);
    let turns = human::plural(u64::from(cut.n_turns), "turn");
    let mut line = format!(
        "{name} was given the conversation without its oldest {turns} ({} to {}): it has {} tokens and does not fit",
        cut.first_turn, cut.last_turn, cut.whole_tokens
    );
    match &cut.summary {
        Some(summary) if summary.before_turn > cut.last_turn => line.push_str("; a summary took their place"),
        Some(summary) => {
            line.push_str(&format!("; a summary took the place of those before {}", summary.before_turn));
        }
        None => {}
    }
    if let Some(why) = &cut.no_summary {
        line.push_str(&format!("; no newer summary: {}", crate::clean::for_one_line(why, 200)));
    }
    line
}

/// Who wrote it, where several were asked.
fn attribution(response: &ChatResponse) -> Option<String> {
    let trace = &response.trace;
    let n_asked = trace.sources.iter().filter(|source| source.was_asked_to_answer()).count();
    if n_asked < 2 {
        return None;
    }
    let name = |text: &str| crate::clean::for_one_line(text, 60);
    let mut line = match (&trace.seam, &trace.chosen) {
        (Some(seam), _) => format!("begun by {}, finished by {}", name(&seam.from), name(&seam.to)),
        (None, Some(chosen)) => format!("answered by {}", name(chosen)),
        (None, None) => "merged from several answers".to_owned(),
    };
    line.push_str(&format!(", of {n_asked} asked"));
    if let Some(agreement) = trace.agreement {
        line.push_str(&format!(", agreement {agreement:.2}"));
    }
    Some(line)
}

fn stats_line(response: &ChatResponse) -> String {
    let (usage, timings) = (&response.usage, &response.timings);
    let mut parts = vec![
        response.model_used.clone(),
        format!("{} in", human::plural(u64::from(usage.prompt_tokens), "token")),
        format!("{} out", human::plural(u64::from(usage.completion_tokens), "token")),
        format!("{:.2} s", response.response_time_ms / 1000.0),
        format!("first token after {:.2} s", timings.time_to_first_token_ms / 1000.0),
    ];
    if let Some(rate) = timings.decode_tokens_per_s {
        parts.push(format!("{rate:.1} tokens/s"));
    }
    parts.join(" · ")
}

/// An answer on its way to the terminal or the pipe.
struct Answer<'a> {
    show: Show,
    console: &'a mut Console,
    waiting: ProgressBar,
    /// Text of the answer was written, and how it ended.
    out_open_line: bool,
    out_any: bool,
    err_open_line: bool,
    /// Everyone who works on it, as last heard of.
    sources: Vec<SourceTrace>,
}

impl<'a> Answer<'a> {
    fn new(show: Show, console: &'a mut Console) -> Self {
        let waiting = console.waiting();
        waiting.set_message("waiting for the answer");
        waiting.enable_steady_tick(Duration::from_millis(100));
        Self {
            show,
            console,
            waiting,
            out_open_line: false,
            out_any: false,
            err_open_line: false,
            sources: Vec::new(),
        }
    }

    async fn follow(
        &mut self,
        client: &Client,
        question: &Question,
        session_id: &mut Option<String>,
        interrupts: &mut Interrupts,
    ) -> Result<Option<Box<ChatResponse>>, Ended> {
        // Streamed even when the answer is shown as a whole: a stream tells a slow daemon from a dead one.
        let opening = question.deadline.map_or(OPENING, |deadline| deadline.saturating_add(SILENCE));
        let deadline_ms = deadline::field(question.deadline);
        let request = ChatRequest { deadline_ms, ..question.request.clone() };
        let mut stream = tokio::select! {
            biased;
            () = interrupts.next() => return Ok(None),
            opened = client.chat_stream(&request, opening, SILENCE) => opened?,
        };
        loop {
            let event = tokio::select! {
                biased;
                // Leaving drops the stream, and the daemon stops the generation when its reader is gone.
                () = interrupts.next() => return Ok(None),
                event = stream.next() => event?,
            };
            match event {
                Some(StreamEvent::Started(started)) => *session_id = Some(started.session_id),
                Some(StreamEvent::Source(source)) => self.source(source),
                Some(StreamEvent::Reasoning(delta)) => self.thinking(&delta.text),
                Some(StreamEvent::Token(delta)) => self.text(&delta.text)?,
                Some(StreamEvent::Restart(restart)) => self.restart(&restart.reason)?,
                Some(StreamEvent::Done(response)) => {
                    *session_id = Some(response.session_id.clone());
                    self.done(&response, stream.last_json())?;
                    return Ok(Some(response));
                }
                Some(StreamEvent::Error(body)) => return Err(mid_stream(body)),
                None => return Err(ClientError::Closed { source: None }.into()),
            }
        }
    }

    /// Shows who works on the answer, and who goes on when its writer broke off.
    fn source(&mut self, source: SourceTrace) {
        if source.role == "continuation" && source.state == "asked" && !self.show.json {
            self.end_thinking();
            if std::mem::take(&mut self.out_open_line) && self.console.out_is_terminal {
                self.console.err_raw("\n");
            }
            let name = crate::clean::for_one_line(&source.provider, 60);
            self.console.note(&format!("{name} goes on where the answer broke off"));
        }
        let known = |old: &&mut SourceTrace| old.provider == source.provider && old.role == source.role;
        match self.sources.iter_mut().find(known) {
            Some(old) => *old = source,
            None => self.sources.push(source),
        }
        if self.sources.len() > 1 {
            let states = self.sources.iter().map(|source| {
                let name = crate::clean::for_one_line(&source.provider, 40);
                let what = match (source.role.as_str(), source.state.as_str()) {
                    ("judge", "asked" | "answering") => "judges",
                    ("synthesizer", "asked" | "answering") => "merges",
                    (_, "asked") => "asked",
                    (_, "answering") => "writes",
                    (_, "finished") => "done",
                    (_, "cancelled") => "stopped",
                    _ => "failed",
                };
                format!("{name}: {what}")
            });
            self.waiting.set_message(states.collect::<Vec<_>>().join(", "));
        }
    }

    fn thinking(&mut self, text: &str) {
        if !self.show.thinking || self.show.json {
            self.waiting.set_message("thinking");
            return;
        }
        self.waiting.finish_and_clear();
        let text = crate::clean::for_terminal(text).into_owned();
        let painted = self.console.err_style.dim(&text);
        self.console.err_raw(&painted);
        self.err_open_line = !text.ends_with('\n');
    }

    fn text(&mut self, text: &str) -> Result<(), Ended> {
        if text.is_empty() || self.show.json || !self.show.stream {
            return Ok(());
        }
        self.write(text)
    }

    /// What was written cannot be taken back from a terminal or a pipe, so it is told that it does not count.
    fn restart(&mut self, reason: &str) -> Result<(), Ended> {
        if self.show.json {
            return Ok(());
        }
        self.waiting.finish_and_clear();
        self.end_thinking();
        if std::mem::take(&mut self.out_open_line) {
            self.console.print("\n")?;
        }
        self.console.note(&crate::clean::for_one_line(reason, 200));
        if std::mem::take(&mut self.out_any) && !self.console.out_is_terminal {
            self.console
                .note("what was written before does not count; `--no-stream` writes whole answers only");
        }
        Ok(())
    }

    fn done(&mut self, response: &ChatResponse, json: &str) -> Result<(), Ended> {
        self.waiting.finish_and_clear();
        if self.show.json {
            return self.console.json(json.as_bytes());
        }
        if !self.out_any && !response.response.is_empty() {
            self.write(&response.response)?;
        }
        if self.out_open_line {
            self.console.print("\n")?;
            self.out_open_line = false;
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), Ended> {
        self.waiting.finish_and_clear();
        self.end_thinking();
        self.out_any = true;
        self.out_open_line = !text.ends_with('\n');
        self.console.answer(text)
    }

    fn end_thinking(&mut self) {
        if std::mem::take(&mut self.err_open_line) {
            self.console.err_raw("\n");
        }
    }

    /// After an answer that broke off: what is said next begins on a line of its own.
    fn end_lines(&mut self) {
        self.waiting.finish_and_clear();
        self.end_thinking();
        if std::mem::take(&mut self.out_open_line) && self.console.out_is_terminal {
            // The reason why it broke off is told by the caller; that this line cannot be written changes nothing.
            drop(self.console.print("\n"));
        }
    }
}

/// A refusal inside a stream has no HTTP status of its own; its code says as much.
fn mid_stream(body: ErrorBody) -> Ended {
    let status = match body.error.code.as_str() {
        "invalid_request" | "context_length_exceeded" => 400,
        "overloaded" => 429,
        "model_loading"
        | "model_unavailable"
        | "restarting"
        | "shutting_down"
        | "provider_unavailable"
        | "no_provider_answered" => 503,
        "provider_failed" | "provider_refused" => 502,
        "content_blocked" => 422,
        "deadline_exceeded" => 504,
        _ => 500,
    };
    ClientError::Api { status, body: Box::new(body), retry_after: None, request_id: None }.into()
}
