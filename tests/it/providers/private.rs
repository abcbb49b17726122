//! A private question reaches nobody outside this machine, in any mode, not even to be judged or merged.

use super::{Clouds, asking, daemon_with};
use crate::harness::{Daemon, Home, with};
use serde_json::{Value, json};

const MODES: [&str; 9] =
    ["auto", "collaborative", "local", "cloud", "fallback", "race", "compare", "alpha", "beta"];
const SECRET: &str = "the-word-that-nobody-may-hear";

/// Both clouds judge and merge, and are preferred: everything but privacy speaks for asking them.
const TEMPTING: &str = "[fusion]\ndemo_joins = true\njudge = \"alpha\"\nsynthesizer = \"beta\"\npreferred = [\"alpha\", \"beta\"]";

/// What a listener could have noticed so far.
fn noticed(clouds: &Clouds) -> [usize; 4] {
    [&clouds.a, &clouds.b]
        .map(|cloud| [cloud.fake().n_connections(), cloud.seen().len()])
        .concat()
        .try_into()
        .unwrap()
}

/// Asks in every mode, with every strategy and effort; `fields` say what makes it private.
fn ask_in_every_way(daemon: &Daemon, fields: &Value) {
    for mode in MODES {
        for more in [json!({}), json!({ "strategy": "merge" }), json!({ "effort": "best", "stream": true })] {
            let body = with(with(asking(mode), json!({ "message": SECRET })), with(more, fields.clone()));
            let reply = daemon.post("/api/chat", &body);
            match mode {
                // Nobody is left who could be asked.
                "cloud" | "alpha" | "beta" => assert_ne!(reply.status, 200, "{mode}: {reply:?}"),
                _ => assert_eq!(reply.status, 200, "{mode}: {reply:?}"),
            }
        }
    }
}

#[test]
fn a_private_question_opens_no_connection() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let daemon = daemon_with(&home, &clouds.config(TEMPTING));
    let before = noticed(&clouds);
    ask_in_every_way(&daemon, &json!({ "private": true }));
    assert_eq!(noticed(&clouds), before, "somebody was told");

    // A conversation that was private once stays so, whatever a later question says.
    let first = daemon.chat(&with(asking("local"), json!({ "private": true, "session_id": "mine" })));
    assert_eq!(first["trace"]["private"], true, "{first}");
    ask_in_every_way(&daemon, &json!({ "session_id": "mine" }));
    ask_in_every_way(&daemon, &json!({ "session_id": "mine", "private": false }));
    assert_eq!(noticed(&clouds), before, "the conversation was not kept");
    assert_eq!(daemon.get("/api/sessions/mine").expect(200).json()["private"], true);
    let body = json!({ "private": false }).to_string();
    let kept = daemon.request("PATCH", "/api/sessions/mine", Some(&body));
    kept.expect_error(409, "conflict", Some("private"));

    let body = json!({ "id": "made-private", "private": true });
    assert_eq!(daemon.post("/api/sessions", &body).expect(201).json()["private"], true);
    ask_in_every_way(&daemon, &json!({ "session_id": "made-private" }));
    assert_eq!(noticed(&clouds), before, "the conversation's setting was not kept");

    let open = daemon.chat(&asking("alpha"));
    assert_eq!(clouds.a.n_asks(), 1, "a question that is not private is asked: {open}");
}

#[test]
fn privacy_can_be_the_default() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let config = clouds.config(&format!("[chat]\nprivate = true\n{TEMPTING}"));
    let daemon = daemon_with(&home, &config);
    let before = noticed(&clouds);
    ask_in_every_way(&daemon, &json!({}));
    assert_eq!(noticed(&clouds), before, "somebody was told");
    let open = daemon.chat(&with(asking("alpha"), json!({ "private": false })));
    assert_eq!(open["trace"]["private"], false, "{open}");
    assert_eq!(clouds.a.n_asks(), 1, "a question may say that it is not");
}

#[test]
fn a_provider_that_counts_as_local_is_asked() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let config = format!(
        "{}{}",
        clouds.a.config("alpha", "gemini", ""),
        clouds.b.config("beta", "openai", "local = true")
    );
    let daemon = daemon_with(&home, &config);
    let before = clouds.a.seen().len();
    let answer = daemon.chat(&with(asking("collaborative"), json!({ "private": true })));
    assert_eq!(answer["trace"]["chosen"], "beta", "{answer}");
    assert_eq!((clouds.a.seen().len(), clouds.b.n_asks()), (before, 1));
}
