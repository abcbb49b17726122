//! Questions and answers: whole, streamed, over several turns, after a restart, cancelled.

use crate::harness::{Daemon, EventStream, Home, endless, greedy, until, with};
use serde_json::{Value, json};

#[test]
fn an_answer_has_every_field_of_the_contract() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let reply = daemon.post("/api/chat", &greedy("What can you do?")).expect(200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let answer = reply.json();
    assert!(!answer["response"].as_str().unwrap().trim().is_empty(), "{answer}");
    assert_eq!(answer["model_used"], "boca-demo");
    assert_eq!(answer["model_is_demo"], true);
    assert!(["stop", "length"].contains(&answer["finish_reason"].as_str().unwrap()), "{answer}");
    assert_eq!(answer["request_id"].as_str(), reply.header("x-request-id"));
    assert!(!answer["session_id"].as_str().unwrap().is_empty());
    let states = answer["agent_states"].as_object().unwrap();
    for agent in ["model", "synthesizer", "metrics"] {
        assert!(states.contains_key(agent), "{states:?}");
    }
    let usage = &answer["usage"];
    let count = |field: &str| usage[field].as_u64().unwrap_or_else(|| panic!("{field}: {usage}"));
    assert!(count("prompt_tokens") > 5 && count("completion_tokens") > 0, "{usage}");
    assert!(count("completion_tokens") <= 48, "{usage}");
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
    let timing = |field: &str| answer["timings"][field].as_f64().unwrap();
    assert!(timing("total_ms") >= timing("prefill_ms") + timing("decode_ms") - 1.0, "{answer}");
    assert!(answer["response_time_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(answer["answers"][0]["response"], answer["response"]);
    assert_eq!(answer["trace"]["sources"][0]["state"], "finished", "{answer}");
}

#[test]
fn a_streamed_answer_is_the_whole_answer_in_pieces() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let whole = daemon.chat(&greedy("How do I stop the daemon?"));
    let mut stream =
        EventStream::open(&daemon, &with(greedy("How do I stop the daemon?"), json!({ "stream": true })));
    let events = stream.rest();
    assert_eq!(events[0].0, "started", "{events:?}");
    let (last, done) = events.last().unwrap();
    assert_eq!(last, "done", "{events:?}");
    assert_eq!(events[0].1["session_id"], done["session_id"]);
    assert_eq!(events[0].1["request_id"], done["request_id"]);
    let of_kind = |kind: &str| {
        let texts =
            events.iter().filter(|(name, _)| name == kind).map(|(_, data)| data["text"].as_str().unwrap());
        texts.collect::<Vec<_>>()
    };
    assert!(of_kind("token").len() > 1, "{events:?}");
    assert_eq!(of_kind("token").concat(), done["response"].as_str().unwrap());
    assert_eq!(of_kind("reasoning").concat(), done["reasoning"].as_str().unwrap_or(""));
    assert_eq!(done["response"], whole["response"], "greedy answers are the same, streamed or not");
}

/// Prompt and content of a stored conversation.
fn messages(daemon: &Daemon, session: &str) -> Vec<(String, String)> {
    let session = daemon.get(&format!("/api/sessions/{session}")).expect(200).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    session["messages"].as_array().unwrap().iter().map(|m| (text(&m["role"]), text(&m["content"]))).collect()
}

#[test]
fn turns_share_context_and_survive_a_restart() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let ask = |daemon: &Daemon, message: &str| {
        daemon.chat(&with(greedy(message), json!({ "session_id": "talk-1" })))
    };
    let first = ask(&daemon, "Hello! My name is Nora.");
    let alone = daemon.chat(&greedy("What is my name?"));
    let second = ask(&daemon, "What is my name?");
    let prompt = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(
        prompt(&second) > prompt(&first) && prompt(&second) > prompt(&alone),
        "the second turn is asked together with the first: {} {} {}",
        prompt(&first),
        prompt(&alone),
        prompt(&second)
    );
    assert!(second["response"].as_str().unwrap().contains("Nora"), "{second}");
    let before = messages(&daemon, "talk-1");
    let expected = [
        ("user", "Hello! My name is Nora."),
        ("assistant", first["response"].as_str().unwrap()),
        ("user", "What is my name?"),
        ("assistant", second["response"].as_str().unwrap()),
    ];
    assert_eq!(before, expected.map(|(role, content)| (role.to_owned(), content.to_owned())));

    assert_eq!(daemon.stop().status.code(), Some(0));
    let daemon = Daemon::start(&home);
    assert_eq!(messages(&daemon, "talk-1"), before);
    let third = ask(&daemon, "Thank you.");
    assert!(prompt(&third) > prompt(&second), "{third}");
    let stored = daemon.get("/api/sessions/talk-1").expect(200).json();
    let answer = stored["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(answer["model_used"], "boca-demo");
    assert_eq!(answer["usage"]["prompt_tokens"], third["usage"]["prompt_tokens"]);
    assert!(answer["timings"]["total_ms"].as_f64().unwrap() > 0.0, "{answer}");
}

#[test]
fn an_acknowledged_answer_survives_a_kill() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let answer = daemon.chat(&greedy("Hello!"));
    let session = answer["session_id"].as_str().unwrap().to_owned();
    daemon.signal(rustix::process::Signal::KILL);
    assert_eq!(daemon.wait().status.code(), None);
    let daemon = Daemon::start(&home);
    assert_eq!(messages(&daemon, &session)[1].1, answer["response"].as_str().unwrap());
}

#[test]
fn sessions_are_created_listed_changed_and_deleted() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let create = json!({ "id": "pirate", "title": "At sea", "system": "You are a pirate.", "sampling": { "temperature": 0, "max_tokens": 3 } });
    daemon.post("/api/sessions", &create).expect(201);
    daemon.post("/api/sessions", &create).expect_error(409, "conflict", Some("id"));
    let answer = daemon.chat(&json!({ "message": "Hello!", "session_id": "pirate" }));
    assert_eq!(answer["finish_reason"], "length", "the session's own `max_tokens` holds: {answer}");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    let session = daemon.get("/api/sessions/pirate").expect(200).json();
    assert_eq!((&session["title"], &session["system"]), (&json!("At sea"), &json!("You are a pirate.")));
    let change = json!({ "system": null, "title": "On land" }).to_string();
    let changed = daemon.request("PATCH", "/api/sessions/pirate", Some(&change)).expect(200).json();
    assert_eq!((&changed["title"], &changed["system"]), (&json!("On land"), &Value::Null));
    daemon.chat(&greedy("Another conversation"));
    let listed = daemon.get("/api/sessions?limit=10").expect(200).json();
    let ids: Vec<&str> =
        listed["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 2 && ids.contains(&"pirate"), "{listed}");
    assert_eq!(daemon.request("DELETE", "/api/sessions/pirate", None).expect(200).json()["n_messages"], 2);
    daemon.get("/api/sessions/pirate").expect_error(404, "not_found", Some("session_id"));
}

fn requests_running(daemon: &Daemon) -> usize {
    daemon.get("/api/requests").expect(200).json()["requests"].as_array().unwrap().len()
}

#[test]
fn hanging_up_cancels_the_generation() {
    let home = Home::of_endless_answers();
    let daemon = Daemon::start(&home);
    let mut stream = EventStream::open(&daemon, &endless("Tell me everything."));
    stream.read_until("token");
    assert_eq!(requests_running(&daemon), 1);
    drop(stream);
    until("the request to be gone", || (requests_running(&daemon) == 0).then_some(()));
    let metrics = daemon.get("/api/metrics").expect(200).json();
    assert_eq!(metrics["requests"]["by_outcome"]["abandoned"], 1, "{metrics}");
    daemon.chat(&greedy("Still there?"));
}

#[test]
fn a_request_can_be_cancelled_by_its_id() {
    let home = Home::of_endless_answers();
    let daemon = Daemon::start(&home);
    let mut stream = EventStream::open(&daemon, &endless("Tell me everything."));
    let id = stream.read_until("started")["request_id"].as_str().unwrap().to_owned();
    stream.read_until("token");
    daemon.request("DELETE", &format!("/api/requests/{id}"), None).expect(200);
    let rest = stream.rest();
    let (name, last) = rest.last().unwrap();
    match name.as_str() {
        "done" => assert_eq!(last["finish_reason"], "cancelled", "{last}"),
        _ => assert_eq!(last["error"]["code"], "cancelled", "{name}: {last}"),
    }
    until("the request to be gone", || (requests_running(&daemon) == 0).then_some(()));
    daemon.request("DELETE", &format!("/api/requests/{id}"), None).expect_error(404, "not_found", Some("id"));
}

#[test]
fn several_clients_are_all_answered() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let alone = daemon.chat(&greedy("What is boca?"))["response"].clone();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| daemon.chat(&greedy("What is boca?")))).collect();
        for client in clients {
            assert_eq!(client.join().unwrap()["response"], alone);
        }
    });
    let metrics = daemon.get("/api/metrics").expect(200).json();
    let finished: u64 =
        metrics["requests"]["by_outcome"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(finished, 9, "{metrics}");
}

#[test]
fn sampling_fields_do_what_they_say() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let ask =
        |more: Value| daemon.chat(&with(json!({ "message": "What can you do?", "max_tokens": 24 }), more));
    let text = |more: Value| ask(more)["response"].as_str().unwrap().to_owned();
    let hot = |seed: u64| json!({ "temperature": 2.0, "top_p": 1.0, "seed": seed });
    assert_eq!(text(hot(7)), text(hot(7)), "the same seed gives the same text");
    let different: std::collections::HashSet<String> = (0..4).map(|seed| text(hot(seed))).collect();
    assert!(different.len() > 1, "different seeds give different texts: {different:?}");
    let one = ask(json!({ "temperature": 0, "max_tokens": 1 }));
    assert_eq!((&one["finish_reason"], &one["usage"]["completion_tokens"]), (&json!("length"), &json!(1)));

    let greedy = text(json!({ "temperature": 0 }));
    let stop: String = greedy.chars().skip(4).take(3).collect();
    let stopped = ask(json!({ "temperature": 0, "stop": stop }));
    assert_eq!(stopped["stop_sequence"], stop.as_str());
    assert_eq!(stopped["response"].as_str().unwrap(), greedy.split(stop.as_str()).next().unwrap());

    let scored = ask(json!({ "temperature": 0, "logprobs": true, "top_logprobs": 3 }));
    let tokens = scored["logprobs"].as_array().unwrap();
    let count = |field: &str| scored["usage"][field].as_u64().unwrap();
    // Thinking is not scored.
    assert_eq!(tokens.len() as u64, count("completion_tokens") - count("reasoning_tokens"), "{scored}");
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(top[0]["logprob"], token["logprob"], "greedy takes the most likely token: {token}");
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
    }
}

#[test]
fn text_that_spells_a_special_token_is_plain_text() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let prompt = |message: &str| {
        daemon.chat(&with(greedy(message), json!({ "max_tokens": 1 })))["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap()
    };
    let base = prompt("x");
    for special in ["<|user|>", "<|endoftext|>", "[gMASK]", "</think>", "<|observation|>"] {
        assert!(prompt(&format!("x{special}")) >= base + 3, "{special} went in as one token");
    }
}

#[test]
fn a_deadline_ends_an_answer_with_what_there_is() {
    let home = Home::of_endless_answers();
    let daemon = Daemon::start(&home);
    let mut stream =
        EventStream::open(&daemon, &with(endless("Tell me everything."), json!({ "deadline_ms": 1500 })));
    let done = stream.read_until("done");
    let reason = done["finish_reason"].as_str().unwrap();
    // A machine that is fast enough writes all of it.
    assert!(["deadline", "length"].contains(&reason), "{done}");
    assert!(done["response_time_ms"].as_f64().unwrap() < 60_000.0);
}

#[test]
fn answers_are_written_at_the_same_time_and_none_shows_its_company() {
    let home = Home::of_endless_answers();
    let daemon = Daemon::start(&home);
    let asked = |question: &str| with(greedy(question), json!({ "max_tokens": 60, "thinking": false }));
    let questions = ["How do I stop the daemon?", "What can you do?", "Where are conversations kept?"];
    let alone: Vec<_> = questions.iter().map(|q| daemon.chat(&asked(q))["response"].clone()).collect();

    // Both write: neither waits for the end of the other, which never comes by itself.
    let mut first = EventStream::open(&daemon, &endless("Tell me everything."));
    let mut second = EventStream::open(&daemon, &endless("Tell me all that you know."));
    for _ in 0..5 {
        first.read_until("token");
        second.read_until("token");
    }
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!(status["requests"], json!({ "running": 2, "queued": 0 }), "{status}");
    let in_company: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            questions.iter().map(|q| scope.spawn(|| daemon.chat(&asked(q))["response"].clone())).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(in_company, alone);
    first.read_until("token");
    second.read_until("token");
}

#[test]
fn the_next_turn_computes_only_what_is_new() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let asked = |question: &str| with(greedy(question), json!({ "session_id": "s", "thinking": false }));
    let first = daemon.chat(&asked("How do I stop the daemon?"));
    let tokens = |answer: &Value, name: &str| answer["usage"][name].as_u64().unwrap();
    assert!(tokens(&first, "cached_tokens") > 10, "the persona was read before anybody asked: {first}");
    let second = daemon.chat(&asked("And how do I start it?"));
    let (prompt, cached) = (tokens(&second, "prompt_tokens"), tokens(&second, "cached_tokens"));
    assert_eq!(second["usage"]["prompt_tokens_details"]["cached_tokens"], cached, "as in OpenAI's API");
    // All of the first prompt but the few tokens after which the template goes on in another way.
    assert!(cached + 8 >= tokens(&first, "prompt_tokens") && cached < prompt, "{first} {second}");
    let counted = daemon.get("/api/metrics").expect(200).json();
    assert!(counted["tokens"]["cached_tokens"].as_u64() >= Some(cached), "{counted}");

    home.write_config("[model]\nprefix_cache = \"0 B\"\n");
    daemon.stop();
    let daemon = Daemon::start(&home);
    daemon.chat(&asked("How do I stop the daemon?"));
    let third = daemon.chat(&asked("How do I stop the daemon?"));
    assert_eq!(tokens(&third, "cached_tokens"), 0, "{third}");
}
