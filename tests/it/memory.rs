//! What a model takes is said before it is loaded, and what does not fit is not loaded.

use crate::harness::{Daemon, Home, stderr, stdout, until};
use boca_engine::synthetic::{SyntheticCheckpoint, SyntheticShape};
use serde_json::Value;

fn plan_of(home: &Home, args: &[&str]) -> Value {
    let output = home.run(&[&["model", "plan", "--json"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

/// Every header of the real model; its weights are holes.
#[test]
fn the_plan_of_glm_4_5_air_is_made_from_its_headers() {
    let home = Home::new();
    let directory = home.path("air");
    let shape = SyntheticShape::glm_4_5_air(46).unwrap();
    SyntheticCheckpoint { shape, seed: 0, chat_template: String::new() }.write_hollow(&directory).unwrap();
    let path = directory.to_str().unwrap();
    let plan = plan_of(&home, &[path]);
    let model = &plan["model"];
    let weights = model["weights_bytes"].as_u64().unwrap();
    assert!((60_100_000_000..60_200_000_000).contains(&weights), "{weights}");
    let in_kib = |precision: &str| model["kv_bytes_per_token_in"][precision].as_u64().unwrap() / 1024;
    assert_eq!((in_kib("f32"), in_kib("f16"), in_kib("bf16")), (368, 184, 184));
    assert!((92..=104).contains(&in_kib("q8")), "{model}");
    assert_eq!(model["kv_bytes_per_token"], 184 * 1024, "f16 is the default");
    assert_eq!(model["context_tokens"], 131_072);
    assert!(model["buffers_bytes"].as_u64().is_some_and(|bytes| (50 << 20..1 << 30).contains(&bytes)));
    let row = |context: u64, requests: u64| {
        let rows = plan["rows"].as_array().unwrap();
        let found = rows.iter().find(|row| row["context_tokens"] == context && row["requests"] == requests);
        found.unwrap_or_else(|| panic!("no row of {requests} × {context}: {plan}")).clone()
    };
    // The figures that are published for 16 bits.
    assert_eq!(row(32_768, 1)["kv_bytes"], 6_174_015_488_u64);
    assert_eq!(row(131_072, 1)["kv_bytes"], 24_696_061_952_u64);
    // 198 GB of keys and values, which no machine that runs tests has.
    assert_eq!(row(131_072, 8)["cpu"]["fits"], false);
    assert!(row(131_072, 8)["cpu"]["reason"].as_str().is_some_and(|told| told.contains("model.kv_memory")));

    // Each of two hosts has half of the heads and of each expert, but all that is neither.
    let of_two = plan_of(&home, &[path, "--n-hosts", "2"]);
    let weights_of_two = of_two["model"]["weights_bytes"].as_u64().unwrap();
    assert!(weights_of_two > weights / 2 && weights_of_two < weights * 11 / 20, "{weights_of_two}");
    assert_eq!(of_two["model"]["kv_bytes_per_token"], 92 * 1024);
    assert_eq!((&of_two["hosts"], &of_two["configured"]["cpu"]), (&2.into(), &Value::Null));
    let text = stdout(&home.run(&["model", "plan", path, "--n-hosts", "2"]));
    assert!(text.contains("of which each needs") && text.contains("cannot share"), "{text}");
    let of_nine = home.run(&["model", "plan", path, "--n-hosts", "9"]);
    assert_eq!(of_nine.status.code(), Some(1));
    assert!(stderr(&of_nine).contains("num_key_value_heads"), "{}", stderr(&of_nine));

    let table = home.run(&["model", "plan", path]);
    let text = stdout(&table);
    for told in [
        "60.1 GB",
        "184 KiB a token in f16 (f32 368, f16 184, bf16 184",
        "131072",
        "does not fit",
        "as configured",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn the_plan_follows_the_configuration() {
    let home = Home::new();
    home.write_config("[model]\ncontext_tokens = 1024\nmax_running = 2\nkv_memory = \"64 MiB\"\n");
    let configured = &plan_of(&home, &[])["configured"];
    assert_eq!((&configured["context_tokens"], &configured["requests"]), (&1024.into(), &2.into()));
    assert_eq!(configured["cpu"]["kv_limit_bytes"], 64 << 20);
    home.write_config("[engine]\nbackend = \"cpu\"\ndevice = \"gpu\"\n");
    let told = stdout(&home.run(&["model", "plan"]));
    assert!(told.contains("engine.device"), "{told}");
    let missing = home.run(&["model", "plan", "/no/such/model"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("/no/such/model"), "{}", stderr(&missing));
}

#[test]
fn a_model_that_cannot_fit_is_not_loaded_and_says_what_would_fit() {
    let home = Home::new();
    home.write_config("[model]\nkv_memory = \"15 TiB\"\n");
    let daemon = Daemon::start_listening(&home, &[]);
    let reason = until("the refusal", || {
        let status = daemon.get("/api/status").expect(200).json();
        (status["model"]["state"] == "down").then(|| status["model"]["error"]["message"].to_string())
    });
    assert!(reason.contains("16492674416640 of them for keys and values"), "{reason}");
    assert!(reason.contains("bytes are free") && reason.contains("`model.kv_memory` of at most"), "{reason}");
    let refused = daemon.get("/ready").expect(503).json();
    assert_eq!(refused["error"]["code"], "model_unavailable", "{refused}");
    daemon.get("/health").expect(200);
}

#[test]
fn the_tree_of_actors_is_shown() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!(status["supervision"], "one_for_one");
    let agents = status["agents"].as_array().unwrap();
    let names: Vec<&str> = agents.iter().map(|agent| agent["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["metrics", "model", "synthesizer"], "in the order of their start");
    assert_eq!(agents[2]["needs"], serde_json::json!(["metrics", "model"]));
    assert_eq!(agents[2]["restart"], "permanent");
    assert!(agents[2]["in_state_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    let shown = stdout(&home.run(&["status"]));
    for told in ["one for one", "├ metrics", "└ synthesizer", "metrics, model"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
}

#[test]
fn an_idle_model_goes_looking_does_not_wake_it_and_a_question_does() {
    let home = Home::new();
    home.write_config("[model]\nkeep_alive = \"1s\"\n");
    let daemon = Daemon::start(&home);
    let state = || daemon.get("/api/status").expect(200).json()["model"]["state"].clone();
    until("the idle model to go", || (state() == "unloaded").then_some(()));
    for _ in 0..20 {
        for path in ["/api/status", "/api/metrics", "/api/requests", "/health", "/ready"] {
            daemon.get(path).expect(200);
        }
    }
    assert_eq!(home.run(&["status"]).status.code(), Some(0));
    assert_eq!(state(), "unloaded");
    let answer = daemon.chat(&serde_json::json!({ "message": "hello", "max_tokens": 4 }));
    assert_eq!(answer["model_used"], "boca-demo", "{answer}");
    until("the model to go again", || (state() == "unloaded").then_some(()));
}

#[test]
fn by_hand_the_model_goes_and_comes() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let state = || daemon.get("/api/status").expect(200).json()["model"]["state"].clone();
    let unloaded = home.run(&["model", "unload"]);
    assert_eq!(unloaded.status.code(), Some(0), "{}", stderr(&unloaded));
    until("the model to go", || (state() == "unloaded").then_some(()));
    let refused = daemon.post("/api/chat", &serde_json::json!({ "message": "hello" }));
    let told = refused.expect_error(503, "model_unavailable", None);
    assert!(told.contains("boca model load"), "{told}");
    daemon.get("/ready").expect(503);
    assert_eq!(
        daemon.request("POST", "/api/model/unload", None).expect(200).json()["outcome"],
        "already_unloaded"
    );
    let loaded = daemon.request("POST", "/api/model/load", None).expect(200).json();
    assert_eq!(loaded["outcome"], "started", "{loaded}");
    until("the model to come", || (state() == "ready").then_some(()));
    let again = home.run(&["model", "load"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    daemon.chat(&serde_json::json!({ "message": "hello", "max_tokens": 4 }));
}
