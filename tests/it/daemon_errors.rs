//! What the daemon answers to requests that are wrong, and that it stays up.

use crate::harness::{Daemon, EventStream, Home, endless, greedy, until, with};
use serde_json::json;

#[test]
fn a_bad_body_is_refused_and_the_field_is_named() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let refused = |body: &str| daemon.request("POST", "/api/chat", Some(body));
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(1_100_000));
    for (body, param, part) in [
        ("", None, "empty"),
        ("{", None, "not valid JSON"),
        ("[]", None, "a JSON object"),
        (r#"{"message":"a"} {"#, None, "not valid JSON"),
        ("\u{0}\u{1}", None, "not valid JSON"),
        ("{}", Some("message"), "`message` is missing"),
        (r#"{"message":null}"#, Some("message"), "`message` must be"),
        (r#"{"message":7}"#, Some("message"), "`message` must be"),
        (r#"{"message":""}"#, Some("message"), "`message` must not be blank"),
        (r#"{"message":" \n\t"}"#, Some("message"), "`message` must not be blank"),
        (r#"{"message":"a\u0000b"}"#, Some("message"), "NUL"),
        (r#"{"message":"\ud800"}"#, Some("message"), "`message`"),
        (r#"{"message":"\udc00 x"}"#, Some("message"), "`message`"),
        (&long, Some("message"), "`message` must be at most 1048576 bytes, got 1100000"),
        (r#"{"message":"a","mesage":"b"}"#, Some("mesage"), "`mesage`"),
        (r#"{"message":"a","message":"b"}"#, Some("message"), "`message`"),
        (
            r#"{"message":"a","temperature":2.5}"#,
            Some("temperature"),
            "`temperature` must be between 0 and 2, got 2.5",
        ),
        (r#"{"message":"a","temperature":"hot"}"#, Some("temperature"), "`temperature`"),
        (r#"{"message":"a","top_p":-1}"#, Some("top_p"), "`top_p` must be between 0 and 1"),
        (r#"{"message":"a","max_tokens":0}"#, Some("max_tokens"), "`max_tokens` must be at least 1, got 0"),
        (r#"{"message":"a","max_tokens":-5}"#, Some("max_tokens"), "`max_tokens`"),
        (r#"{"message":"a","seed":1e400}"#, Some("seed"), "`seed`"),
        (r#"{"message":"a","stop":[1]}"#, Some("stop"), "`stop`"),
        (r#"{"message":"a","top_logprobs":21}"#, Some("top_logprobs"), "`top_logprobs`"),
        (r#"{"message":"a","preset":"wild"}"#, Some("preset"), "`preset` must be one of"),
        (r#"{"message":"a","session_id":"../x"}"#, Some("session_id"), "`session_id`"),
        (r#"{"message":"a","deadline_ms":0}"#, Some("deadline_ms"), "`deadline_ms`"),
        (r#"{"message":"a","logit_bias":{"x":1}}"#, Some("logit_bias"), "`logit_bias`"),
    ] {
        let message = refused(body).expect_error(400, "invalid_request", param);
        assert!(message.contains(part), "{message:?} for {:.80}", body);
    }
    let deep = "[".repeat(100_000);
    refused(&deep).expect_error(400, "invalid_request", None);
    let listed = daemon.get("/api/sessions").expect(200).json();
    assert_eq!(listed["sessions"], json!([]), "nothing was stored");
    daemon.chat(&greedy("Still there?"));
}

#[test]
fn size_kind_route_and_method_are_checked() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let body = format!(r#"{{"message":"{}"}}"#, "x".repeat(2 << 20));
    daemon.request("POST", "/api/chat", Some(&body)).expect_error(413, "payload_too_large", None);
    for declared in
        ["content-type: text/plain\r\n", "", "content-type: application/json\r\ncontent-encoding: gzip\r\n"]
    {
        let mut connection = daemon.connect();
        let body = r#"{"message":"hi"}"#;
        let head = format!(
            "POST /api/chat HTTP/1.1\r\nhost: boca\r\n{declared}content-length: {}\r\n\r\n",
            body.len()
        );
        connection.send_raw((head + body).as_bytes());
        connection.read_reply().expect_error(415, "unsupported_media_type", None);
    }
    let refused = daemon.get("/api/chat").expect(405);
    assert_eq!(refused.header("allow"), Some("POST"));
    refused.expect_error(405, "method_not_allowed", None);
    daemon.request("DELETE", "/health", None).expect_error(405, "method_not_allowed", None);
    daemon.get("/api/nope").expect_error(404, "not_found", None);
    daemon.get("/").expect_error(404, "not_found", None);
    daemon.get("/api/sessions/never-was").expect_error(404, "not_found", Some("session_id"));
    daemon.request("DELETE", "/api/sessions/never-was", None).expect_error(
        404,
        "not_found",
        Some("session_id"),
    );
    daemon.get("/api/sessions/..%2F..%2Fetc").expect_error(400, "invalid_request", Some("id"));
    daemon.get("/api/sessions?limit=many").expect_error(400, "invalid_request", Some("limit"));
    daemon.request("DELETE", "/api/requests/never-was", None).expect_error(404, "not_found", Some("id"));
    daemon.get("/health").expect(200);
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_with_both_numbers() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let message = "one two three four five ".repeat(2000);
    let refused = daemon.post("/api/chat", &json!({ "message": message, "session_id": "long" }));
    let refusal = refused.expect(400);
    let error = refusal.json()["error"].clone();
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    let said = error["message"].as_str().unwrap();
    assert!(said.contains("4096"), "{said}");
    let numbers = said.split(|c: char| !c.is_ascii_digit()).filter(|n| n.len() > 3).count();
    assert!(numbers >= 2, "{said}");
    daemon.get("/api/sessions/long").expect_error(404, "not_found", Some("session_id"));
}

#[test]
fn what_is_not_http_is_refused_and_harms_nobody() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is a TLS hello"[..],
        b"GET /health\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"POST /api/chat HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        let mut connection = daemon.connect();
        connection.send_raw(bytes);
        connection.finish_sending();
        let status = connection.try_read_status();
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{status:?} for {bytes:?}");
    }
    let mut headers = String::from("GET /health HTTP/1.1\r\nhost: a\r\n");
    for n in 0..10_000 {
        headers += &format!("x-{n}: {}\r\n", "y".repeat(50));
    }
    let mut connection = daemon.connect();
    connection.send_raw((headers + "\r\n").as_bytes());
    let status = connection.try_read_status();
    assert!(status.is_none_or(|status| (400..500).contains(&status)), "{status:?}");
    daemon.get("/health").expect(200);
}

#[test]
fn a_client_that_is_slow_with_its_header_is_told_so() {
    let home = Home::new();
    home.write_config("[daemon]\nheader_timeout = \"1s\"\n");
    let daemon = Daemon::start_listening(&home, &[]);
    let mut slow = daemon.connect();
    slow.send_raw(b"POST /api/chat HTTP/1.1\r\nhost:");
    assert_eq!(slow.try_read_status(), Some(408));
}

#[test]
fn a_client_that_is_slow_with_its_body_is_told_so() {
    const HALF: &[u8] = b"POST /api/chat HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
        content-length: 50\r\n\r\n{\"mess";
    let home = Home::new();
    home.write_config("[daemon]\nheader_timeout = \"1m\"\nbody_timeout = \"300ms\"\n");
    let daemon = Daemon::start(&home);
    let mut slow = daemon.connect();
    slow.send_raw(HALF);
    slow.read_reply().expect_error(408, "request_timeout", None);
    let mut gone = daemon.connect();
    gone.send_raw(HALF);
    drop(gone);
    daemon.chat(&greedy("Still there?"));
}

#[test]
fn a_full_house_is_said_and_health_still_answers() {
    let home = Home::of_endless_answers();
    home.write_config("[daemon]\nmax_concurrent_requests = 1\n");
    let daemon = Daemon::start(&home);
    let mut stream = EventStream::open(&daemon, &endless("Tell me everything."));
    stream.read_until("token");
    let refused = daemon.post("/api/chat", &greedy("And me?"));
    assert!(
        refused.header("retry-after").is_some_and(|s| s.parse::<u64>().is_ok_and(|s| s >= 1)),
        "{refused:?}"
    );
    refused.expect_error(429, "overloaded", None);
    daemon.get("/health").expect(200);
    daemon.get("/ready").expect(200);
    daemon.get("/api/status").expect(200);
}

#[test]
fn a_full_queue_is_a_429_and_never_a_wait() {
    let home = Home::of_endless_answers();
    home.write_config("[model]\nmax_running = 1\nqueue_limit = 1\n");
    let daemon = Daemon::start(&home);
    let mut running = EventStream::open(&daemon, &endless("Tell me everything."));
    running.read_until("token");
    let body = with(greedy("And me?"), json!({ "deadline_ms": 60_000 }));
    // One runs, one may wait; of three more two are refused at once.
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| daemon.post("/api/chat", &body))).collect();
        until("two refusals", || (clients.iter().filter(|c| c.is_finished()).count() >= 2).then_some(()));
        // Hanging up makes place for the one that waits.
        drop(running);
        let mut statuses: Vec<u16> =
            clients.into_iter().map(|client| client.join().unwrap().status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 429, 429]);
    });
}
