//! Each mode, one provider down, all of them down, and an answer that breaks off.

use super::{Clouds, PARIS, asking, daemon_with, outcomes, provider_status};
use crate::harness::{Cloud, EventStream, Home, with};
use boca_fake_providers::{Behaviour, Fault};
use serde_json::json;

#[test]
fn everyone_is_asked_at_once_and_the_trace_says_what_became_of_it() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let daemon = daemon_with(
        &home,
        &clouds.config(
            "[fusion]\ndemo_joins = true\nquorum = 3\nselect_by = \"preferred\"\npreferred = [\"beta\"]",
        ),
    );
    let answer = daemon.chat(&asking("collaborative"));
    assert_eq!(answer["response"], PARIS, "{answer}");
    let trace = &answer["trace"];
    assert_eq!((&trace["mode"], &trace["strategy"]), (&json!("collaborative"), &json!("select")), "{answer}");
    assert_eq!(trace["chosen"], "beta", "{answer}");
    let names: Vec<String> = outcomes(&answer).into_iter().map(|(name, _)| name).collect();
    for name in ["alpha", "beta", "local"] {
        assert!(names.contains(&name.to_owned()), "{answer}");
    }
    assert!(!trace["reasons"].as_array().unwrap().is_empty(), "{answer}");
    assert_eq!(answer["model_is_demo"], false);
    let compared = daemon.chat(&asking("compare"));
    let answers = compared["answers"].as_array().unwrap();
    for name in ["alpha", "beta", "local"] {
        assert!(answers.iter().any(|answer| answer["source"] == name), "{compared}");
    }
    assert!(clouds.a.n_asks() > 0 && clouds.b.n_asks() == 2);

    let session = answer["session_id"].as_str().unwrap();
    let stored = daemon.get(&format!("/api/sessions/{session}")).expect(200).json();
    let message = &stored["messages"][1];
    assert_eq!(message["trace"]["sources"], trace["sources"], "the trace is stored with the message");
    assert_eq!(message["answers"], answer["answers"]);
    assert_eq!(stored["private"], false);
    let states = answer["agent_states"].as_object().unwrap();
    assert!(states.contains_key("alpha") && states.contains_key("beta"), "{states:?}");
}

#[test]
fn each_mode_asks_whom_it_says() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let daemon = daemon_with(&home, &clouds.config("[fusion]\npreferred = [\"beta\", \"alpha\", \"local\"]"));
    let mut before = (0, 0);
    let mut asked = |mode: &str| {
        let answer = daemon.chat(&asking(mode));
        let now = (clouds.a.n_asks(), clouds.b.n_asks());
        let difference = (now.0 - before.0, now.1 - before.1);
        before = now;
        (answer, difference)
    };
    let (local, asks) = asked("local");
    assert_eq!((local["model_used"].as_str(), asks), (Some("boca-demo"), (0, 0)), "{local}");
    let (alpha, asks) = asked("alpha");
    assert_eq!((alpha["response"].as_str(), asks), (Some(PARIS), (1, 0)), "{alpha}");
    let (fallback, asks) = asked("fallback");
    assert_eq!((fallback["trace"]["chosen"].as_str(), asks), (Some("beta"), (0, 1)), "{fallback}");
    for mode in ["cloud", "auto", "race", "compare"] {
        let (answer, asks) = asked(mode);
        assert_eq!(answer["response"], PARIS, "{mode}: {answer}");
        assert_eq!(asks, (1, 1), "{mode}");
        assert!(
            !outcomes(&answer).iter().any(|(name, _)| name == "local"),
            "the demo model stays out: {answer}"
        );
    }
    let (compared, _) = asked("compare");
    assert_eq!(compared["answers"].as_array().unwrap().len(), 2, "{compared}");
    let (quick, _) = {
        let body = with(asking("auto"), json!({ "effort": "fast" }));
        (daemon.chat(&body), ())
    };
    assert_eq!(quick["trace"]["mode"], "race", "{quick}");
    let unknown =
        daemon.post("/api/chat", &asking("gpt-9")).expect_error(400, "invalid_request", Some("mode"));
    assert!(unknown.contains("alpha"), "{unknown}");
    for (field, value) in [("effort", "much"), ("strategy", "mix")] {
        let body = with(asking("auto"), json!({ field: value }));
        daemon.post("/api/chat", &body).expect_error(400, "invalid_request", Some(field));
    }
}

#[test]
fn one_that_is_down_does_not_matter_and_all_that_are_down_are_named() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let daemon = daemon_with(&home, &clouds.config(""));
    clouds.a.fake().set(Behaviour::fault(Fault::Status(500)));
    let answer = daemon.chat(&asking("collaborative"));
    assert_eq!(answer["response"], PARIS);
    assert_eq!(answer["trace"]["chosen"], "beta", "{answer}");
    assert!(outcomes(&answer).contains(&("alpha".into(), "failed".into())), "{answer}");

    clouds.b.fake().set(Behaviour::fault(Fault::MalformedJson(0)));
    let body = with(asking("cloud"), json!({ "session_id": "nobody" }));
    let message = daemon.post("/api/chat", &body).expect_error(503, "no_provider_answered", None);
    assert!(message.contains("alpha") && message.contains("beta"), "{message}");
    daemon.get("/api/sessions/nobody").expect_error(404, "not_found", Some("session_id"));
    let stats = daemon.get("/api/compare/stats").expect(200).json();
    let failed = |name: &str| {
        let providers = stats["providers"].as_array().unwrap();
        providers.iter().find(|provider| provider["provider"] == name).unwrap()["failed"].as_u64().unwrap()
    };
    assert_eq!((failed("alpha"), failed("beta")), (2, 1), "{stats}");
}

#[test]
fn the_model_here_finishes_what_a_cloud_began() {
    let (home, cloud) = (Home::new(), Cloud::saying("Hello! I am boca, and I can answer questions."));
    let config = format!("[fusion]\ndemo_joins = true\n{}", cloud.config("alpha", "gemini", ""));
    let daemon = daemon_with(&home, &config);
    let broken = Behaviour::text("Hello! I am boca, and I can answer questions.").with_fault(Fault::Reset(4));
    cloud.fake().set(broken);
    let body = with(asking("alpha"), json!({ "stream": true }));
    let mut stream = EventStream::open(&daemon, &body);
    let events = stream.rest();
    let (last, done) = events.last().unwrap();
    assert_eq!(last, "done", "{events:?}");
    let seam = &done["trace"]["seam"];
    assert_eq!((&seam["from"], &seam["to"]), (&json!("alpha"), &json!("local")), "{done}");
    let at = usize::try_from(seam["at_byte"].as_u64().unwrap()).unwrap();
    let response = done["response"].as_str().unwrap();
    assert!(at > 0 && response.is_char_boundary(at), "{done}");
    assert!("Hello! I am boca, and I can answer questions.".starts_with(&response[..at]), "{done}");
    let shown: String = events
        .iter()
        .filter(|(name, _)| name == "token")
        .map(|(_, data)| data["text"].as_str().unwrap())
        .collect();
    assert_eq!(shown, response);
    let roles: Vec<_> =
        done["trace"]["sources"].as_array().unwrap().iter().map(|s| s["role"].clone()).collect();
    assert!(roles.contains(&json!("continuation")), "{done}");
}

#[test]
fn a_survivor_takes_the_place_of_an_answer_that_nobody_can_finish() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let fusion =
        "[fusion]\nselect_by = \"preferred\"\npreferred = [\"alpha\"]\nfinish_broken_answers = false";
    let daemon = daemon_with(&home, &clouds.config(fusion));
    clouds
        .a
        .fake()
        .set(Behaviour::text("I think that it is Lyon, or perhaps it is not.").with_fault(Fault::Reset(4)));
    let body = with(asking("collaborative"), json!({ "stream": true }));
    let events = EventStream::open(&daemon, &body).rest();
    let (last, done) = events.last().unwrap();
    assert_eq!((last.as_str(), &done["response"]), ("done", &json!(PARIS)), "{events:?}");
    assert_eq!((&done["model_used"], &done["trace"]["chosen"]), (&json!("beta"), &json!("beta")), "{done}");
    let restart = events.iter().position(|(name, _)| name == "restart").unwrap();
    assert!(events[restart].1["reason"].as_str().unwrap().contains("`alpha` broke off"), "{events:?}");
    let texts = |events: &[(String, serde_json::Value)]| -> String {
        let tokens = events.iter().filter(|(name, _)| name == "token");
        tokens.map(|(_, data)| data["text"].as_str().unwrap()).collect()
    };
    let taken_back = texts(&events[..restart]);
    assert!(
        !taken_back.is_empty() && "I think that it is Lyon, or perhaps".starts_with(&taken_back),
        "{events:?}"
    );
    assert_eq!(texts(&events[restart..]), PARIS);
    let session = done["session_id"].as_str().unwrap();
    let stored = daemon.get(&format!("/api/sessions/{session}")).expect(200).json();
    assert_eq!(stored["messages"][1]["content"], PARIS, "{stored}");
    let whole = daemon.chat(&asking("collaborative"));
    assert_eq!(whole["response"], PARIS, "{whole}");
}

#[test]
fn a_local_judge_goes_on_from_the_conversation_that_it_has_just_read() {
    let (home, clouds) = (Home::new(), Clouds::start());
    clouds.b.fake().set(Behaviour::text("It is Lyon, and it was never Paris."));
    let fusion = "[fusion]\ndemo_joins = true\nquorum = 3\njudge = \"local\"";
    let daemon = daemon_with(&home, &clouds.config(fusion));
    let system = "You are asked about cities. ".repeat(5);
    let answer =
        daemon.chat(&with(asking("collaborative"), json!({ "system": system, "strategy": "select" })));
    let sources = answer["trace"]["sources"].as_array().unwrap();
    let usage = |role: &str| {
        let local = |source: &&serde_json::Value| source["provider"] == "local" && source["role"] == role;
        let usage = &sources.iter().find(local).unwrap_or_else(|| panic!("{answer}"))["usage"];
        (usage["prompt_tokens"].as_u64().unwrap(), usage["cached_tokens"].as_u64().unwrap())
    };
    let (conversation, _) = usage("answer");
    let (prompt, cached) = usage("judge");
    assert!(
        prompt > conversation && cached + 8 >= conversation,
        "{cached} of {conversation} were reused: {answer}"
    );
}

#[test]
fn a_stream_tells_who_works_on_it() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let daemon = daemon_with(&home, &clouds.config(""));
    let body = with(asking("collaborative"), json!({ "stream": true }));
    let events = EventStream::open(&daemon, &body).rest();
    let states: Vec<(String, String)> = events
        .iter()
        .filter(|(name, _)| name == "source")
        .map(|(_, data)| {
            (data["provider"].as_str().unwrap().to_owned(), data["state"].as_str().unwrap().to_owned())
        })
        .collect();
    for name in ["alpha", "beta"] {
        let of_one: Vec<&str> = states.iter().filter(|(n, _)| n == name).map(|(_, s)| s.as_str()).collect();
        assert_eq!(of_one.first(), Some(&"asked"), "{states:?}");
        assert_eq!(of_one.last(), Some(&"finished"), "{states:?}");
    }
    let status = provider_status(&daemon, "alpha");
    assert_eq!(
        (&status["availability"], &status["circuit"]),
        (&json!("available"), &json!("closed")),
        "{status}"
    );
}
