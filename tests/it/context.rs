//! Conversations that outgrow the context: refused, cut, or summarised, and never in silence.

use crate::harness::{Daemon, EventStream, Home, endless, greedy, stderr, stdout, until, with};
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
    let mut number = 0;
    loop {
        number += 1;
        let answer = daemon.chat(&ask("s", number, json!({})));
        // A few of them are markup that the next prompt has no more.
        if answer["usage"]["total_tokens"].as_u64().unwrap() > CONTEXT * 3 / 4 + 16 {
            break;
        }
    }
    // Written when nobody waits; most often before it is needed.
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
    let answer = loop {
        number += 1;
        let answer = daemon.chat(&ask("s", number, json!({})));
        if !cut(&answer).is_null() {
            break answer;
        }
        assert!(number < 100, "the context is small");
    };
    let told = &cut(&answer)["summary"];
    assert!(told["before_turn"].as_u64() >= summary["before_turn"].as_u64(), "{told}");
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() + 40 <= CONTEXT, "{answer}");
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

#[test]
fn a_question_can_be_cancelled_while_its_summary_waits() {
    let home = Home::of_endless_answers();
    home.write_config("[model]\nmax_running = 1\n[thinking]\nenabled = false\n");
    let daemon = Daemon::start(&home);
    let question = |n_words: usize| {
        let body = greedy(&"word ".repeat(n_words));
        with(body, json!({ "session_id": "s", "max_tokens": 4, "context_policy": "summarise" }))
    };
    daemon.chat(&question(2200));
    let mut stream = EventStream::open(&daemon, &endless("Go on."));
    until("text", || stream.next().filter(|(name, _)| name == "token"));

    let mut connection = daemon.connect();
    connection.send("POST", "/api/chat", Some(&question(1500).to_string()));
    let of_session = || {
        let requests = daemon.get("/api/requests").json()["requests"].as_array().unwrap().clone();
        requests.into_iter().find(|request| request["session_id"] == "s")
    };
    let id = until("the question", of_session)["id"].as_str().unwrap().to_owned();
    let queued = || daemon.get("/api/status").json()["requests"]["queued"].as_u64().filter(|n| *n > 0);
    until("the summary in the queue", queued);
    daemon.request("DELETE", &format!("/api/requests/{id}"), None).expect(200);
    let reply = connection.read_reply();
    assert_eq!(reply.json()["error"]["code"], "cancelled", "{}", reply.json());
    assert_eq!(daemon.request("DELETE", "/api/sessions/s", None).status, 200, "nobody uses it any more");
    assert!(stream.next().is_some(), "the other answer goes on");
}
