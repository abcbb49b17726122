//! A conversation with scripted lines, against a scripted daemon.

use super::*;
use crate::fake_daemon::{
    Answer, Call, Desk, FakeDaemon, answering, done, event, ok, refusal, started, token,
};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lines as if typed; the end comes by itself.
struct Script(VecDeque<Line>);

impl LineSource for Script {
    fn read(&mut self, _: &str) -> std::io::Result<Line> {
        Ok(self.0.pop_front().unwrap_or(Line::End))
    }
}

fn typed(lines: &[&str]) -> Box<dyn LineSource> {
    Box::new(Script(lines.iter().map(|line| Line::Text((*line).to_owned())).collect()))
}

async fn talk(daemon: &FakeDaemon, desk: &mut Desk, lines: Box<dyn LineSource>) -> Option<String> {
    let context = daemon.context();
    let mut talk = Talk {
        template: ChatRequest::default(),
        show: Show { stream: true, ..Show::default() },
        deadline: None,
        told_demo: false,
        context: &context,
        console: &mut desk.console,
        interrupts: &mut desk.interrupts,
    };
    talk.until_the_end(lines).await.unwrap();
    talk.template.session_id
}

fn hello() -> Answer {
    Answer::Stream(vec![started(), token("Hello."), done("Hello.")])
}

#[tokio::test]
async fn two_turns_share_a_session_until_a_new_one_begins() {
    let daemon = FakeDaemon::start(answering(hello()));
    let mut desk = Desk::new();
    let session = talk(&daemon, &mut desk, typed(&["Hi", "", "Again", "/new", "Afresh"])).await;
    let sessions: Vec<_> = daemon.questions().iter().map(|q| q["session_id"].clone()).collect();
    assert_eq!(sessions, [serde_json::Value::Null, "s-1".into(), serde_json::Value::Null]);
    assert_eq!(session.as_deref(), Some("s-1"));
    assert_eq!(desk.out.text(), "Hello.\n\nHello.\n\nHello.\n\n");
    assert_eq!(desk.err.text().matches("demo model").count(), 1, "{}", desk.err.text());
}

#[tokio::test]
async fn commands_change_what_is_sent() {
    let daemon = FakeDaemon::start(answering(hello()));
    let mut desk = Desk::new();
    let lines =
        ["/think off", "/preset accurate", "One", "/think auto", "/preset -", "//two", "three \\", "four"];
    talk(&daemon, &mut desk, typed(&lines)).await;
    let questions = daemon.questions();
    assert_eq!((&questions[0]["thinking"], &questions[0]["preset"]), (&false.into(), &"accurate".into()));
    assert_eq!(questions[1]["message"], "/two");
    assert_eq!((&questions[1]["thinking"], &questions[1]["preset"]), (&().into(), &().into()));
    assert_eq!(questions[2]["message"], "three \nfour");
}

#[tokio::test]
async fn ctrl_c_ends_the_answer_and_not_the_conversation() {
    let stalls = AtomicBool::new(true);
    let daemon = FakeDaemon::start(move |call: &Call| match call.line.as_str() {
        "POST /api/chat" if stalls.swap(false, Ordering::Relaxed) => {
            Answer::Stalls(vec![started(), token("Hel")])
        }
        "POST /api/chat" => hello(),
        _ => ok(r#"{"ready":true,"status":"ready"}"#),
    });
    let mut desk = Desk::new();
    let (out, ctrl_c) = (desk.out.clone(), desk.ctrl_c.clone());
    let (session, ()) = tokio::join!(talk(&daemon, &mut desk, typed(&["Hi", "Again"])), async {
        out.shows("Hel").await;
        ctrl_c.send(()).unwrap();
    });
    daemon.client_left().await;
    assert_eq!(daemon.questions().len(), 2);
    assert_eq!(session.as_deref(), Some("s-1"));
    assert!(desk.err.text().starts_with("cancelled\n"), "{}", desk.err.text());
    assert!(desk.out.text().ends_with("Hello.\n\n"), "{}", desk.out.text());
}

#[tokio::test]
async fn errors_and_ctrl_c_at_the_prompt_do_not_end_the_conversation() {
    let daemon =
        FakeDaemon::start(answering(refusal("429 Too Many Requests", "", "overloaded", "the queue is full")));
    let mut desk = Desk::new();
    let lines = [Line::Interrupted, Line::Text("Hi".into()), Line::Text("/nonsense".into()), Line::End];
    talk(&daemon, &mut desk, Box::new(Script(lines.into()))).await;
    insta::assert_snapshot!(desk.err.text());
}

#[tokio::test]
async fn instructions_are_stored_with_the_conversation() {
    let daemon = FakeDaemon::start(|call: &Call| {
        let session = r#"{"id":"s-1","created_unix_ms":1,"updated_unix_ms":1,"system":"Be terse."}"#;
        match call.line.as_str() {
            "POST /api/sessions" | "PATCH /api/sessions/s-1" | "GET /api/sessions/s-1" => ok(session),
            "POST /api/chat" => hello(),
            _ => ok(r#"{"ready":true,"status":"ready"}"#),
        }
    });
    let mut desk = Desk::new();
    let lines = ["/system", "/system Be terse.", "Hi", "/system", "/system -", "/session", "/quit", "never"];
    talk(&daemon, &mut desk, typed(&lines)).await;
    let calls: Vec<(String, String)> =
        daemon.calls().into_iter().map(|call| (call.line, call.body)).collect();
    let expected = [
        ("POST /api/sessions", r#"{"system":"Be terse."}"#),
        ("POST /api/chat", r#"{"message":"Hi","session_id":"s-1","stream":true}"#),
        ("GET /api/sessions/s-1", ""),
        ("PATCH /api/sessions/s-1", r#"{"system":null}"#),
    ];
    assert_eq!(calls, expected.map(|(line, body)| (line.to_owned(), body.to_owned())));
    assert_eq!(desk.out.text(), "Hello.\n\nBe terse.\n");
}

#[tokio::test]
async fn a_session_is_taken_up_by_its_id() {
    let daemon = FakeDaemon::start(|call: &Call| match call.line.as_str() {
        "GET /api/sessions/old" => ok(
            r#"{"id":"old","created_unix_ms":1,"updated_unix_ms":1,"messages":[{"role":"user","content":"x"}]}"#,
        ),
        "GET /api/sessions/fresh" => refusal("404 Not Found", "", "not_found", "no session `fresh`"),
        "POST /api/chat" => Answer::Stream(vec![started(), event("weather", "x"), done("")]),
        _ => ok(r#"{"ready":true,"status":"ready"}"#),
    });
    let mut desk = Desk::new();
    talk(&daemon, &mut desk, typed(&["/session old", "Hi", "/session fresh", "Hi"])).await;
    let sessions: Vec<_> = daemon.questions().iter().map(|q| q["session_id"].clone()).collect();
    assert_eq!(sessions, ["old", "fresh"]);
    assert!(desk.err.text().contains("going on with session old (1 message so far)"), "{}", desk.err.text());
}

#[test]
fn help_fits_a_narrow_terminal() {
    assert!(help().lines().all(|line| line.chars().count() <= 100), "{}", help());
    insta::assert_snapshot!(help());
}
