//! `boca chat` with one question, against a scripted daemon.

use super::*;
use crate::fake_daemon::{
    Answer, Call, Desk, FakeDaemon, answering, done, done_body, event, ok, refusal, started, token,
};
use std::io::{self, Write};

fn asking(message: &str) -> ChatArgs {
    ChatArgs { message: vec![message.to_owned()], ..ChatArgs::default() }
}

async fn chat(args: ChatArgs, context: &ClientContext, desk: &mut Desk) -> Exit {
    match run(args, context, &mut desk.console, &mut desk.interrupts).await {
        Ok(exit) => exit,
        Err(ended) => ended.report(&mut desk.console),
    }
}

fn hello() -> Answer {
    Answer::Stream(vec![
        started(),
        ": keep-alive\n\n".into(),
        event("reasoning", r#"{"text":"A greeting."}"#),
        token("Hel"),
        token("lo."),
        done("Hello."),
    ])
}

#[tokio::test]
async fn the_answer_alone_is_on_standard_output() {
    let daemon = FakeDaemon::start(answering(hello()));
    let mut desk = Desk::new();
    assert_eq!(chat(asking("Hi"), &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(desk.out.text(), "Hello.\n");
    insta::assert_snapshot!("demo_note", desk.err.text());
    assert_eq!(daemon.questions(), [serde_json::json!({"message": "Hi", "stream": true})]);
}

#[tokio::test]
async fn options_become_fields() {
    let daemon = FakeDaemon::start(answering(hello()));
    let mut desk = Desk::new();
    let args = ChatArgs {
        message: vec!["two".into(), "words".into()],
        session: Some("s-1".into()),
        system: Some("Be terse.".into()),
        preset: Some("accurate".into()),
        temperature: Some(0.5),
        max_tokens: Some(9),
        seed: Some(7),
        stop: vec!["END".into()],
        no_think: true,
        mode: Some("local".into()),
        effort: Some("best".into()),
        strategy: Some("merge".into()),
        private: true,
        context: Some("sliding".into()),
        deadline: Some(Duration::from_secs(1500)),
        ..ChatArgs::default()
    };
    assert_eq!(chat(args, &daemon.context(), &mut desk).await, Exit::Done);
    let mut sent = daemon.questions().remove(0);
    // What was left when it was sent.
    let deadline_ms = sent.as_object_mut().unwrap().remove("deadline_ms").unwrap().as_u64().unwrap();
    assert!((1..=1_500_000).contains(&deadline_ms), "{deadline_ms}");
    let expected = serde_json::json!({
        "message": "two words", "session_id": "s-1", "mode": "local", "effort": "best", "strategy": "merge",
        "private": true, "context_policy": "sliding", "stream": true,
        "system": "Be terse.", "preset": "accurate", "temperature": 0.5, "seed": 7, "max_tokens": 9,
        "stop": ["END"], "thinking": false
    });
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn standard_input_is_joined_to_the_message() {
    let daemon = FakeDaemon::start(answering(hello()));
    let mut desk = Desk::new();
    desk.console.input = Some(Box::new(io::Cursor::new("line 1\nline 2\n")));
    assert_eq!(chat(asking("Explain:"), &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(daemon.questions()[0]["message"], "Explain:\n\nline 1\nline 2");
}

#[tokio::test]
async fn json_is_the_body_as_the_daemon_sent_it() {
    let daemon = FakeDaemon::start(answering(hello()));
    let mut desk = Desk::new();
    let args = ChatArgs { json: true, ..asking("Hi") };
    assert_eq!(chat(args, &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(desk.out.text(), format!("{}\n", done_body("Hello.")));
}

#[tokio::test]
async fn a_whole_answer_comes_at_the_end() {
    // The text of the end wins: nothing that came before it was shown.
    let stream = Answer::Stream(vec![started(), token("Hel"), done("Hello, whole.")]);
    let daemon = FakeDaemon::start(answering(stream));
    let mut desk = Desk::new();
    let args = ChatArgs { no_stream: true, ..asking("Hi") };
    assert_eq!(chat(args, &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(desk.out.text(), "Hello, whole.\n");
}

#[tokio::test]
async fn thinking_and_figures_are_shown_when_asked_for_on_standard_error() {
    let daemon = FakeDaemon::start(answering(hello()));
    let mut desk = Desk::new();
    let args = ChatArgs { show_thinking: true, stats: true, ..asking("Hi") };
    assert_eq!(chat(args, &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(desk.out.text(), "Hello.\n");
    insta::assert_snapshot!("thinking_and_figures", desk.err.text());
}

#[tokio::test]
async fn who_wrote_is_told_where_several_were_asked() {
    let mut body: serde_json::Value = serde_json::from_str(&done_body("Hello.")).unwrap();
    body["model_is_demo"] = false.into();
    body["trace"] = serde_json::json!({
        "mode": "collaborative", "strategy": "select", "chosen": "gemini", "agreement": 0.75,
        "reasons": ["the answers agree, so nobody judges"], "cost_usd": 0.0002,
        "sources": [
            {"provider": "gemini", "model": "gemini-3.8-flash", "role": "answer", "state": "finished",
             "began_ms": 0.2, "first_token_ms": 300.0, "ended_ms": 900.0, "cost_usd": 0.0002},
            {"provider": "local", "role": "answer", "state": "cancelled", "began_ms": 0.2}
        ]
    });
    let source = event("source", r#"{"provider":"local","role":"continuation","state":"asked"}"#);
    let stream = vec![started(), token("Hel"), source, token("lo."), event("done", &body.to_string())];
    let daemon = FakeDaemon::start(answering(Answer::Stream(stream)));
    let mut desk = Desk::new();
    let args = ChatArgs { trace: true, ..asking("Hi") };
    assert_eq!(chat(args, &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(desk.out.text(), "Hello.\n");
    insta::assert_snapshot!("trace", desk.err.text());
}

#[tokio::test]
async fn an_answer_that_begins_anew_says_so() {
    let restart = || event("restart", r#"{"reason":"`a` broke off; the answer of `b` takes its place"}"#);
    let stream = || vec![started(), token("Bon"), restart(), token("Hello."), done("Hello.")];
    let daemon = FakeDaemon::start(answering(Answer::Stream(stream())));
    let told = "`a` broke off; the answer of `b` takes its place\n";
    let mut desk = Desk::new();
    assert_eq!(chat(asking("Hi"), &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(desk.out.text(), "Bon\nHello.\n");
    let does_not_count = "what was written before does not count; `--no-stream` writes whole answers only\n";
    assert!(desk.err.text().starts_with(&format!("{told}{does_not_count}")), "{}", desk.err.text());
    let mut desk = Desk::new();
    let args = ChatArgs { no_stream: true, ..asking("Hi") };
    assert_eq!(chat(args, &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(desk.out.text(), "Hello.\n");
    assert!(desk.err.text().starts_with(told) && !desk.err.text().contains("does not count"));
}

#[tokio::test]
async fn an_answer_that_was_cut_off_says_so() {
    let body = done_body("Hel").replace(r#""stop""#, r#""length""#);
    let daemon = FakeDaemon::start(answering(Answer::Stream(vec![started(), event("done", &body)])));
    let minute = Some(Duration::from_secs(60));
    for (max_tokens, deadline, why) in [
        (Some(2), minute, "a larger `--max-tokens` allows more"),
        (Some(3), minute, "that is what the deadline, the context and the settings allow"),
        (None, None, "that is what the context and the settings allow"),
    ] {
        let mut desk = Desk::new();
        let args = ChatArgs { max_tokens, deadline, ..asking("Hi") };
        assert_eq!(chat(args, &daemon.context(), &mut desk).await, Exit::Done);
        assert_eq!(desk.out.text(), "Hel\n");
        assert!(
            desk.err.text().starts_with(&format!("cut off after 2 tokens: {why}\n")),
            "{}",
            desk.err.text()
        );
    }
}

#[tokio::test]
async fn a_terminal_never_sees_control_characters_of_the_model() {
    let stream = Answer::Stream(vec![started(), token("\u{1b}]0;owned\u{7}"), token("\u{9b}2J"), done("x")]);
    let daemon = FakeDaemon::start(answering(stream));
    let mut desk = Desk::new();
    desk.console.out_is_terminal = true;
    assert_eq!(chat(asking("Hi"), &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(desk.out.text(), "␛]0;owned␇\u{fffd}2J\n");
}

#[tokio::test]
async fn an_error_in_mid_stream_keeps_the_text_and_fails() {
    let body = r#"{"error":{"message":"the engine failed","type":"server_error","param":null,"code":"engine_failed"},"response_time_ms":5}"#;
    let stream = Answer::Stream(vec![started(), token("Hel"), event("error", body)]);
    let daemon = FakeDaemon::start(answering(stream));
    let mut desk = Desk::new();
    assert_eq!(chat(asking("Hi"), &daemon.context(), &mut desk).await, Exit::Failed);
    assert_eq!(desk.out.text(), "Hel");
    insta::assert_snapshot!("error_in_mid_stream", desk.err.text());
}

#[tokio::test]
async fn a_refusal_with_json_is_on_both_outputs() {
    let refused =
        refusal("400 Bad Request", "", "invalid_request", "`temperature` must be between 0 and 2, got 5");
    let daemon = FakeDaemon::start(answering(refused));
    let mut desk = Desk::new();
    let args = ChatArgs { json: true, ..asking("Hi") };
    assert_eq!(chat(args, &daemon.context(), &mut desk).await, Exit::Usage);
    let body: serde_json::Value = serde_json::from_str(&desk.out.text()).unwrap();
    assert_eq!(body["error"]["code"], "invalid_request");
    assert_eq!(desk.err.text(), "error: `temperature` must be between 0 and 2, got 5\n");
}

#[tokio::test]
async fn refusals_end_by_what_can_be_done() {
    for (status, headers, code, exit) in [
        ("429 Too Many Requests", "retry-after: 2\r\n", "overloaded", Exit::TryAgain),
        ("503 Service Unavailable", "retry-after: 5\r\n", "model_loading", Exit::TryAgain),
        ("503 Service Unavailable", "", "shutting_down", Exit::TryAgain),
        ("503 Service Unavailable", "", "model_unavailable", Exit::Failed),
        ("504 Gateway Timeout", "", "deadline_exceeded", Exit::TryAgain),
        ("400 Bad Request", "", "context_length_exceeded", Exit::Failed),
        ("404 Not Found", "", "not_found", Exit::Failed),
        ("500 Internal Server Error", "x-request-id: r-7\r\n", "internal", Exit::Failed),
    ] {
        let daemon = FakeDaemon::start(answering(refusal(status, headers, code, "it is so")));
        let mut desk = Desk::new();
        assert_eq!(chat(asking("Hi"), &daemon.context(), &mut desk).await, exit, "{code}");
        insta::assert_snapshot!(format!("refusal_{code}"), desk.err.text());
        assert_eq!(desk.out.text(), "");
    }
}

#[tokio::test]
async fn a_daemon_that_dies_in_mid_stream_is_told() {
    let daemon = FakeDaemon::start(answering(Answer::Stream(vec![started(), token("Hel")])));
    let mut desk = Desk::new();
    desk.console.out_is_terminal = true;
    assert_eq!(chat(asking("Hi"), &daemon.context(), &mut desk).await, Exit::Failed);
    assert_eq!(desk.out.text(), "Hel\n");
    insta::assert_snapshot!("daemon_gone", desk.err.text());
}

#[tokio::test]
async fn ctrl_c_cancels_the_generation() {
    let daemon = FakeDaemon::start(answering(Answer::Stalls(vec![started(), token("Hel")])));
    let mut desk = Desk::new();
    let (out, ctrl_c) = (desk.out.clone(), desk.ctrl_c.clone());
    let context = daemon.context();
    let (exit, ()) = tokio::join!(chat(asking("Hi"), &context, &mut desk), async {
        out.shows("Hel").await;
        ctrl_c.send(()).unwrap();
    });
    assert_eq!(exit, Exit::Interrupted);
    daemon.client_left().await;
    assert_eq!(desk.err.text(), "cancelled\n");
}

/// A pipe whose reader leaves after the first text.
struct Head(usize);

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0 -= 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_generation_quietly() {
    let daemon = FakeDaemon::start(answering(Answer::Stalls(vec![started(), token("Hel"), token("lo")])));
    let mut desk = Desk::new();
    desk.console = Console::scripted(Head(1), desk.err.clone(), io::empty());
    assert_eq!(chat(asking("Hi"), &daemon.context(), &mut desk).await, Exit::Done);
    daemon.client_left().await;
    assert_eq!(desk.err.text(), "");
}

#[tokio::test]
async fn without_daemon_and_leave_to_start_one_it_says_what_to_do() {
    let daemon = FakeDaemon::not_yet();
    let mut desk = Desk::new();
    assert_eq!(chat(asking("Hi"), &daemon.context(), &mut desk).await, Exit::Unavailable);
    insta::assert_snapshot!("no_daemon", desk.err_without(&daemon));
}

#[tokio::test]
async fn a_daemon_that_cannot_be_run_is_told() {
    let daemon = FakeDaemon::not_yet();
    let mut desk = Desk::new();
    let context = ClientContext { auto_start: true, ..daemon.context() };
    assert_eq!(chat(asking("Hi"), &context, &mut desk).await, Exit::Unavailable);
    insta::assert_snapshot!("daemon_cannot_be_run", desk.err_without(&daemon));
}

fn starting(daemon: &FakeDaemon, script: &str) -> ClientContext {
    let mut context = ClientContext { auto_start: true, ..daemon.context() };
    context.daemon_command.program = "/bin/sh".into();
    context.daemon_command.args = vec!["-c".into(), script.into()];
    context
}

/// Asks, and lets the daemon listen once the client has begun to start one.
async fn chat_while_it_starts(daemon: &FakeDaemon, context: &ClientContext) -> Desk {
    let mut desk = Desk::new();
    let err = desk.err.clone();
    let (exit, ()) = tokio::join!(chat(asking("Hi"), context, &mut desk), async {
        err.shows("starting one in the background").await;
        daemon.listen(answering(hello()));
    });
    assert_eq!(exit, Exit::Done);
    desk
}

#[tokio::test]
async fn a_daemon_that_ends_at_once_shows_the_end_of_its_log() {
    let daemon = FakeDaemon::not_yet();
    let context = starting(&daemon, "echo reading boca.toml; echo '`model.path` is no text' >&2; exit 78");
    let mut desk = Desk::new();
    assert_eq!(chat(asking("Hi"), &context, &mut desk).await, Exit::Unavailable);
    insta::assert_snapshot!("daemon_ends_at_once", desk.err_without(&daemon));
}

#[tokio::test]
async fn the_slower_of_two_starters_uses_the_other_daemon() {
    let daemon = FakeDaemon::not_yet();
    let context = starting(&daemon, "echo another daemon is running; exit 1");
    let desk = chat_while_it_starts(&daemon, &context).await;
    assert_eq!(desk.out.text(), "Hello.\n");
    assert!(!desk.err.text().contains("another daemon"), "{}", desk.err.text());
}

#[tokio::test]
async fn the_daemon_is_started_in_a_group_of_its_own_with_its_output_in_the_log() {
    let daemon = FakeDaemon::not_yet();
    let script = "ps -o pgid= -p $$ | tr -d ' '; echo $$; echo to stderr >&2; cat; exit 1";
    let context = starting(&daemon, script);
    chat_while_it_starts(&daemon, &context).await;
    let log = wait_for_line(&context.daemon_log, "to stderr").await;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], lines[1], "{log}");
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&context.daemon_log), 0o600);
    assert_eq!(mode(context.daemon_log.parent().unwrap()), 0o700);
}

async fn wait_for_line(path: &std::path::Path, line: &str) -> String {
    let looking = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.contains(line) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::fake_daemon::PATIENCE, looking).await.expect("the line comes in time")
}

#[tokio::test]
async fn a_model_that_is_down_is_not_waited_for() {
    let daemon = FakeDaemon::start(|call: &Call| match call.line.as_str() {
        "GET /ready" => {
            Answer::Json("503 Service Unavailable", "", r#"{"ready":false,"status":"down"}"#.into())
        }
        _ => refusal("503 Service Unavailable", "", "model_unavailable", "/x: no such directory"),
    });
    let mut desk = Desk::new();
    assert_eq!(chat(asking("Hi"), &daemon.context(), &mut desk).await, Exit::Failed);
    assert!(desk.err.text().starts_with("error: /x: no such directory\n"), "{}", desk.err.text());
}

#[tokio::test]
async fn continuing_takes_the_conversation_used_last() {
    let daemon = FakeDaemon::start(|call: &Call| match call.line.as_str() {
        "GET /api/sessions?limit=1" => ok(
            r#"{"sessions":[{"id":"newest","created_unix_ms":1,"updated_unix_ms":2,"n_messages":4}],"next_before":"x"}"#,
        ),
        "POST /api/chat" => hello(),
        _ => ok(r#"{"ready":true,"status":"ready"}"#),
    });
    let mut desk = Desk::new();
    let args = ChatArgs { resume: true, ..asking("Hi") };
    assert_eq!(chat(args, &daemon.context(), &mut desk).await, Exit::Done);
    assert_eq!(daemon.questions()[0]["session_id"], "newest");
}

#[tokio::test]
async fn a_terminal_in_but_none_out_needs_a_message() {
    let daemon = FakeDaemon::not_yet();
    let mut desk = Desk::new();
    desk.console.in_is_terminal = true;
    assert_eq!(chat(ChatArgs::default(), &daemon.context(), &mut desk).await, Exit::Usage);
    assert!(desk.err.text().contains("a message is missing"));
}
