//! Questions that end early: the engine is free again, and the cause is counted.

use crate::harness::{Daemon, EventStream, Home, endless, greedy, until, with};
use serde_json::{Value, json};

fn counted(daemon: &Daemon) -> Value {
    daemon.get("/api/metrics").expect(200).json()["requests"]["by_cancellation"].clone()
}

fn until_free(daemon: &Daemon) {
    until("a free engine", || (daemon.get("/api/status").json()["model"]["state"] == "ready").then_some(()));
}

#[test]
fn each_cause_is_counted_and_frees_the_only_place() {
    let home = Home::of_endless_answers();
    home.write_config("[model]\nmax_running = 1\n");
    let daemon = Daemon::start(&home);
    let begin = |body: &Value| {
        let mut stream = EventStream::open(&daemon, body);
        until("text", || stream.next().filter(|(name, _)| name == "token"));
        stream
    };
    assert_eq!(counted(&daemon), json!({}));

    drop(begin(&endless("one")));
    until_free(&daemon);
    until("the count", || (counted(&daemon) == json!({ "client_gone": 1 })).then_some(()));

    let mut stream = begin(&endless("two"));
    let running = daemon.get("/api/requests").json();
    let id = running["requests"][0]["id"].as_str().unwrap();
    daemon.request("DELETE", &format!("/api/requests/{id}"), None).expect(200);
    assert_eq!(stream.rest().last().unwrap().1["finish_reason"], "cancelled");
    until_free(&daemon);
    until("the count", || (counted(&daemon) == json!({ "client_gone": 1, "requested": 1 })).then_some(()));

    let cut = with(endless("three"), json!({ "deadline_ms": 700, "stream": false }));
    assert_eq!(daemon.chat(&cut)["finish_reason"], "deadline");
    until_free(&daemon);
    let all = json!({ "client_gone": 1, "deadline": 1, "requested": 1 });
    until("the count", || (counted(&daemon) == all).then_some(()));
    daemon.chat(&greedy("Hello!"));
    assert_eq!(counted(&daemon), all, "a good end is no cancellation");
}
