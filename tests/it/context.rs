//! Conversations that outgrow the context: refused, cut, or summarised, and never in silence.

use crate::harness::{Daemon, EventStream, Home, greedy, stderr, stdout, until, with};
use serde_json::{Value, json};

const CONTEXT: u64 = 320;

fn home(more: &str) -> Home {
    let home = Home::new();
    home.write_config(&format!(
        "[chat]\nsystem = \"Be brief.\"\n{more}\n[model]\ncontext_tokens = {CONTEXT}\n[thinking]\nenabled = false\n"
    ));
    home
}

/// Asks the next question of a session.
fn ask(session: &str, number: usize, more: Value) -> Value {
    let question = format!("What is the number after {number}, and which one is the next after that?");
    with(greedy(&question), with(json!({ "session_id": session, "max_tokens": 40 }), more))
}

/// Asks until the session does not fit any more; gives the number of questions that did.
fn fill(daemon: &Daemon, session: &str) -> usize {
    let refused = |number: &usize| daemon.post("/api/chat", &ask(session, *number, json!({}))).status == 400;
    (1..100).find(refused).expect("the context is small") - 1
}

fn cut(answer: &Value) -> &Value {
    &answer["trace"]["sources"][0]["context_cut"]
}

#[test]
fn what_does_not_fit_is_refused_or_cut_as_the_request_says() {
    let home = home("");
    let daemon = Daemon::start(&home);
    let n = fill(&daemon, "s");
    let refused = daemon.post("/api/chat", &ask("s", n + 1, json!({})));
    let message = refused.expect_error(400, "context_length_exceeded", Some("max_tokens"));
    assert!(message.contains(&CONTEXT.to_string()) && message.contains("40"), "{message}");
    assert!(message.contains("`context_policy`"), "it says what helps: {message}");

    let sliding = json!({ "context_policy": "sliding" });
    let answer = daemon.chat(&ask("s", n + 1, sliding.clone()));
    let left_out = cut(&answer);
    assert_eq!(left_out["first_turn"], 0, "{answer}");
    let last_turn = left_out["last_turn"].as_u64().unwrap();
    assert_eq!(left_out["n_turns"], last_turn + 1);
    assert!(last_turn % 2 == 1 && last_turn < 2 * n as u64 - 1, "whole exchanges, and not all: {left_out}");
    assert!(left_out["whole_tokens"].as_u64().unwrap() + 40 > CONTEXT, "{left_out}");
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() + 40 <= CONTEXT, "{answer}");
    let reasons = answer["trace"]["reasons"].to_string();
    assert!(reasons.contains(&format!("without its turns 0 to {last_turn}")), "{reasons}");

    // A stream says it before the first token, and the store keeps it.
    let mut stream = EventStream::open(&daemon, &ask("s", n + 2, with(sliding, json!({ "stream": true }))));
    let events = stream.rest();
    let told = events.iter().position(|(name, data)| name == "source" && !data["context_cut"].is_null());
    let shown = events.iter().position(|(name, _)| name == "token");
    assert!(told.is_some_and(|told| Some(told) < shown), "{events:?}");
    let session = daemon.get("/api/sessions/s").expect(200).json();
    let messages = session["messages"].as_array().unwrap();
    let last = messages.last().unwrap();
    assert!(last["trace"]["sources"][0]["context_cut"]["n_turns"].as_u64() > Some(0), "{last}");
    assert_eq!(last["index"], messages.len() as u64 - 1);
    assert!(session["summary"].is_null());

    let question = "What is the number after 50, and which one is the next after that?";
    let args = ["chat", "--session", "s", "--context", "sliding", "--max-tokens", "40", question];
    let shown = home.run(&args);
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    assert!(
        stderr(&shown).contains("local was given the conversation without its oldest"),
        "{}",
        stderr(&shown)
    );

    let bad = daemon.post("/api/chat", &ask("s", 1, json!({ "context_policy": "cut" })));
    bad.expect_error(400, "invalid_request", Some("context_policy"));
}

#[test]
fn a_summary_is_stored_with_its_session_shown_and_used_after_a_restart() {
    let home = home("context_policy = \"summarise\"");
    let daemon = Daemon::start(&home);
    for number in 1..=6 {
        daemon.chat(&ask("s", number, json!({})));
    }
    // Written when nobody waits, before it is needed.
    let summary = until("a summary", || {
        let session = daemon.get("/api/sessions/s").expect(200).json();
        session["summary"]["text"].is_string().then(|| session["summary"].clone())
    });
    assert!(!summary["text"].as_str().unwrap().trim().is_empty(), "{summary}");
    assert_eq!(summary["model"], "boca-demo");
    assert!(
        summary["created_unix_ms"].as_u64().unwrap() > 0 && summary["before_turn"].as_u64().unwrap() >= 2
    );
    let shown = home.run(&["sessions", "show", "s"]);
    assert!(stdout(&shown).contains("summary (of messages before number"), "{}", stdout(&shown));

    daemon.stop();
    let daemon = Daemon::start(&home);
    let mut number = 7;
    let answer = loop {
        let answer = daemon.chat(&ask("s", number, json!({})));
        if !cut(&answer).is_null() {
            break answer;
        }
        number += 1;
        assert!(number < 100, "the context is small");
    };
    let told = &cut(&answer)["summary"];
    assert!(told["before_turn"].as_u64() >= summary["before_turn"].as_u64(), "{told}");
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() + 40 <= CONTEXT, "{answer}");
    let metrics = daemon.get("/api/metrics").expect(200).json();
    assert!(metrics["requests"]["failed"].as_u64().unwrap_or(0) == 0, "{metrics}");

    assert_eq!(daemon.request("DELETE", "/api/sessions/s", None).status, 200);
    assert_eq!(daemon.get("/api/sessions/s").status, 404);
}

#[test]
fn a_line_of_a_batch_is_cut_as_it_says() {
    let home = home("");
    let daemon = Daemon::start(&home);
    let turn = |role: &str, content: String| json!({ "role": role, "content": content });
    let mut messages = Vec::new();
    for number in 0..20 {
        messages.push(turn("user", format!("What is the number after {number}?")));
        messages.push(turn("assistant", format!("It is {}.", number + 1)));
    }
    messages.push(turn("user", "And now?".into()));
    let line = |policy: &str| json!({ "messages": messages, "max_tokens": 20, "context_policy": policy });
    let file = home.path("lines.jsonl");
    home.write(&file, &format!("{}\n{}\n", line("refuse"), line("sliding")));
    let output = home.run(&["batch", file.to_str().unwrap()]);
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["error"]["code"], "context_length_exceeded", "{lines:?}");
    assert_eq!(lines[1]["context_cut"]["first_turn"], 0, "{lines:?}");
    assert!(lines[1]["response"].is_string(), "{lines:?}");
    drop(daemon);
}
