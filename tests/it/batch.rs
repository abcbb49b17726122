//! Batches: over the API, across restarts and kills, and with the command.

use crate::harness::{Daemon, Home, endless, greedy, stderr, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::process::Stdio;

const ONE_AT_A_TIME: &str = "[model]\nmax_running = 1\n";

fn ndjson(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Sends lines as they are.
fn submit(daemon: &Daemon, query: &str, body: &str) -> crate::harness::Reply {
    let mut connection = daemon.connect();
    let head = format!(
        "POST /api/batch{query} HTTP/1.1\r\nhost: boca\r\nconnection: close\r\ncontent-type: application/x-ndjson\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    connection.send_raw((head + body).as_bytes());
    connection.read_reply()
}

fn results(daemon: &Daemon, id: &str, query: &str) -> Vec<Value> {
    let reply = daemon.get(&format!("/api/batch/{id}/results{query}")).expect(200);
    parsed(&reply.body)
}

fn parsed(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// A line whose answer comes to an end only by its bound.
fn endless_line(message: &str) -> Value {
    let mut line = endless(message);
    line.as_object_mut().unwrap().remove("stream");
    line
}

fn short_line(n: usize) -> Value {
    json!({ "id": format!("q{n}"), "message": format!("Question {n}: what can you do?"), "temperature": 0, "max_tokens": 24 })
}

fn n_asked(daemon: &Daemon) -> u64 {
    // Nothing but batches is asked in these tests.
    daemon.get("/api/metrics").expect(200).json()["requests"]["total"].as_u64().unwrap()
}

#[test]
fn every_line_has_its_answer_or_its_error_in_order() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let body = ndjson(&[
        short_line(1),
        json!({ "id": 2, "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Hello!" },
            { "role": "assistant", "content": "Hello." },
            { "role": "user", "content": "What can you do?" } ], "temperature": 0, "max_tokens": 8 }),
        json!({ "message": "x", "temperature": 9 }),
        json!({ "message": "Hi", "mode": "nobody", "id": "stray" }),
        json!({ "message": "Hi", "max_tokens": 1_000_000 }),
        greedy("Hello!"),
    ]) + "no JSON\n";
    let accepted = submit(&daemon, "", &body).expect(202).json();
    assert_eq!((&accepted["n_lines"], &accepted["n_failed"]), (&json!(7), &json!(2)), "{accepted}");
    let id = accepted["id"].as_str().unwrap();
    let all = results(&daemon, id, "?follow=true");
    let ids: Vec<_> = all.iter().map(|result| result["id"].clone()).collect();
    assert_eq!(ids, [json!("q1"), json!(2), json!(3), json!("stray"), json!(5), json!(6), json!(7)]);
    for (place, code) in [
        (2, "invalid_request"),
        (3, "invalid_request"),
        (4, "context_length_exceeded"),
        (6, "invalid_request"),
    ] {
        assert_eq!(all[place]["error"]["code"], code, "{}", all[place]);
        assert!(all[place]["response"].is_null());
    }
    assert_eq!(all[2]["error"]["param"], "temperature");
    let alone = daemon.chat(&greedy("Hello!"));
    assert_eq!(all[5]["response"], alone["response"], "a batch answers as a chat does");
    assert_eq!(all[0]["model_used"], "boca-demo");
    assert!(all[1]["usage"]["prompt_tokens"].as_u64().unwrap() > 10, "{}", all[1]);

    let status = daemon.get(&format!("/api/batch/{id}")).expect(200).json();
    assert_eq!(
        (&status["state"], &status["n_done"], &status["n_failed"]),
        (&json!("done"), &json!(7), &json!(4))
    );
    assert_eq!(results(&daemon, id, "?offset=5"), all[5..]);
    assert_eq!(daemon.get("/api/batch").expect(200).json()["batches"], json!([status]));
    assert_eq!(daemon.get("/api/sessions").expect(200).json()["sessions"].as_array().unwrap().len(), 1);
    let list = daemon.post("/api/batch", &json!([greedy("Hello!")])).expect(202).json();
    assert_eq!(results(&daemon, list["id"].as_str().unwrap(), "?follow=true").len(), 1);
}

#[test]
fn what_is_no_batch_is_refused() {
    let home = Home::new();
    let daemon = Daemon::start_listening(&home, &[]);
    submit(&daemon, "", "\n").expect_error(400, "invalid_request", None);
    submit(&daemon, "?id=a.b", "{}\n").expect_error(400, "invalid_request", Some("id"));
    daemon.post("/api/batch", &json!({})).expect_error(400, "invalid_request", None);
    daemon.get("/api/batch/none").expect_error(404, "not_found", Some("id"));
    daemon.get("/api/batch/none/results").expect_error(404, "not_found", Some("id"));
    daemon.request("DELETE", "/api/batch/none", None).expect_error(404, "not_found", Some("id"));
    submit(&daemon, "?id=same", "{}\n").expect(202);
    submit(&daemon, "?id=same", "{}\n").expect_error(409, "conflict", Some("id"));
    daemon.get("/api/batch/same/results?offset=2").expect_error(400, "invalid_request", Some("offset"));
    daemon.get("/api/batch/same/results?follow=maybe").expect_error(400, "invalid_request", Some("follow"));
}

#[test]
fn a_cancelled_batch_frees_the_engine_and_tells_every_reader() {
    let home = Home::of_endless_answers();
    home.write_config(ONE_AT_A_TIME);
    let daemon = Daemon::start(&home);
    submit(&daemon, "?id=long", &ndjson(&[endless_line("a"), endless_line("b")])).expect(202);
    let mut follower = daemon.connect();
    follower.send("GET", "/api/batch/long/results?follow=true", None);
    until("a running line", || {
        (daemon.get("/api/metrics").json()["requests"]["running"] == 0).then_some(())?;
        (daemon.get("/api/status").json()["model"]["state"] == "busy").then_some(())
    });
    let cancelled = daemon.request("DELETE", "/api/batch/long", None).expect(200).json();
    assert_eq!(cancelled["state"], "cancelled");
    let told = parsed(&follower.read_reply().body);
    let codes: Vec<_> = told.iter().map(|result| &result["error"]["code"]).collect();
    assert_eq!(codes, ["cancelled", "cancelled"]);
    daemon.chat(&greedy("Hello!"));
    assert_eq!(daemon.get("/api/batch/long").json()["n_done"], 0);
}

#[test]
fn people_do_not_wait_for_a_batch() {
    let home = Home::of_endless_answers();
    home.write_config(ONE_AT_A_TIME);
    let daemon = Daemon::start(&home);
    submit(&daemon, "?id=long", &ndjson(&[endless_line("a"), short_line(2)])).expect(202);
    until("a running line", || (daemon.get("/api/status").json()["model"]["state"] == "busy").then_some(()));
    for _ in 0..3 {
        daemon.chat(&greedy("Hello!"));
    }
    let status = daemon.get("/api/batch/long").json();
    assert_eq!((&status["state"], &status["n_done"]), (&json!("running"), &json!(0)), "it gave way");
    daemon.request("DELETE", "/api/batch/long", None).expect(200);
}

#[test]
fn a_batch_survives_the_kill_of_its_daemon_and_asks_nothing_twice() {
    const N: usize = 24;
    let home = Home::new();
    home.write_config(ONE_AT_A_TIME);
    let daemon = Daemon::start(&home);
    let lines: Vec<Value> = (1..=N).map(short_line).collect();
    submit(&daemon, "?id=b", &ndjson(&lines)).expect(202);
    let n_done = || daemon.get("/api/batch/b").json()["n_done"].as_u64().unwrap();
    until("some results", || (n_done() >= 3).then_some(()));
    let before = results(&daemon, "b", "");
    daemon.signal(Signal::KILL);
    drop(daemon);

    let daemon = Daemon::start(&home);
    let after = results(&daemon, "b", "?follow=true");
    assert_eq!(after.len(), N);
    assert_eq!(after[..before.len()], before);
    assert!(after.iter().all(|result| result["error"].is_null()), "{after:?}");
    let ids: Vec<_> = after.iter().map(|result| result["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (1..=N).map(|n| format!("q{n}")).collect::<Vec<_>>());
    until("the last one to be counted", || {
        (n_asked(&daemon) <= (N - before.len()) as u64
            && daemon.get("/api/batch/b").json()["state"] == "done")
            .then_some(())
    });
}

#[test]
fn the_command_goes_on_after_every_kill() {
    const N: usize = 150;
    let home = Home::new();
    // A command that meets no daemon must not start one of its own, which would outlive the test.
    home.write_config(&format!("{ONE_AT_A_TIME}[client]\nauto_start = false\n"));
    let daemon = Daemon::start(&home);
    let (questions, out) = (home.path("q.jsonl"), home.path("out.jsonl"));
    let lines: Vec<Value> = (1..=N).map(short_line).collect();
    home.write(&questions, &ndjson(&lines));
    let command = || {
        let mut command = home.command(&["batch"]);
        command.arg(&questions).arg("-o").arg(&out).stdin(Stdio::null());
        command
    };
    let n_written = || std::fs::read_to_string(&out).map_or(0, |text| text.lines().count());
    let mut child = command().stderr(Stdio::null()).spawn().unwrap();
    until("some results", || (n_written() >= 2).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();

    let n_before = n_written();
    let mut child = command().stderr(Stdio::piped()).spawn().unwrap();
    until("more results", || (n_written() > n_before + 1).then_some(()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let mut child = command().stderr(Stdio::null()).spawn().unwrap();
    daemon.signal(Signal::KILL);
    // It may have been quicker than the signal.
    child.wait().unwrap();
    drop(daemon);

    let daemon = Daemon::start(&home);
    let done = command().output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let told = stderr(&done);
    assert!(told.contains("150 results") || told.contains("already"), "{told}");
    let written = parsed(&std::fs::read_to_string(&out).unwrap());
    let ids: Vec<_> = written.iter().map(|result| result["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (1..=N).map(|n| format!("q{n}")).collect::<Vec<_>>());
    assert_eq!(
        daemon.get("/api/batch").json()["batches"].as_array().unwrap().len(),
        1,
        "one batch was enough"
    );
    assert!(!home.path("out.jsonl.batch").exists());
    let again = command().output().unwrap();
    assert!(again.status.success() && stderr(&again).contains("already"), "{}", stderr(&again));
}

#[test]
fn without_a_file_results_go_to_standard_output() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let questions = home.path("q.jsonl");
    home.write(&questions, &ndjson(&[short_line(1), json!({ "message": "" })]));
    let done = home.command(&["batch"]).arg(&questions).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let written = parsed(&String::from_utf8(done.stdout.clone()).unwrap());
    assert_eq!((&written[0]["id"], &written[1]["error"]["param"]), (&json!("q1"), &json!("message")));
    assert!(stderr(&done).contains("2 results, 1 of them errors"), "{}", stderr(&done));
    home.write(&questions, "\n");
    assert_eq!(home.command(&["batch"]).arg(&questions).output().unwrap().status.code(), Some(2));
    drop(daemon);
}
