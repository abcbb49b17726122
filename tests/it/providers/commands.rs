//! `boca chat --trace`, `compare`, `feedback` and `bench fusion` against a real daemon.

use super::{Clouds, PARIS, asking, daemon_with};
use crate::harness::{Cloud, Home, stderr, stdout};
use serde_json::Value;

#[test]
fn chat_shows_the_trace() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let _daemon = daemon_with(&home, &clouds.config(""));
    let output = home.run(&["chat", "--mode", "collaborative", "--trace", "Capital of France?"]);
    assert_eq!(stdout(&output), format!("{PARIS}\n"), "{}", stderr(&output));
    let told = stderr(&output);
    for part in
        ["asked", "first token", "alpha", "beta", "mode      collaborative", "strategy  select", "why"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn answers_are_compared_judged_and_counted() {
    let (home, clouds) = (Home::new(), Clouds::start());
    let daemon = daemon_with(&home, &clouds.config(""));
    let output = home.run(&["compare", "Capital of France?"]);
    let shown = stdout(&output);
    assert!(shown.lines().next().unwrap().contains("alpha · fake-model"), "{shown}");
    assert!(shown.contains("beta") && shown.contains("Paris"), "{shown}");
    let json: Value = serde_json::from_str(&stdout(&home.run(&["compare", "--json", "Capital?"]))).unwrap();
    assert_eq!(json["answers"].as_array().unwrap().len(), 2, "{json}");

    let answer = daemon.chat(&asking("collaborative"));
    let id = answer["request_id"].as_str().unwrap();
    let noted = home.run(&["feedback", id, "good"]);
    assert_eq!((stderr(&noted).as_str(), noted.status.code()), ("noted: good\n", Some(0)));
    assert_eq!(stderr(&home.run(&["feedback", id, "bad"])), "noted: bad instead of good\n");
    let unknown = home.run(&["feedback", "nobody-asked", "good"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", stderr(&unknown));
    let body = serde_json::json!({ "request_id": id, "verdict": "fine" });
    daemon.post("/api/feedback", &body).expect_error(400, "invalid_request", Some("verdict"));

    let stats: Value = serde_json::from_str(&stdout(&home.run(&["compare", "stats", "--json"]))).unwrap();
    let chosen = answer["trace"]["chosen"].as_str().unwrap();
    let providers = stats["providers"].as_array().unwrap();
    let record = providers.iter().find(|provider| provider["provider"] == chosen).unwrap();
    assert_eq!((record["asked"].as_u64(), record["answered"].as_u64()), (Some(3), Some(3)), "{stats}");
    assert_eq!(record["verdicts"]["bad"], 1, "{stats}");
    assert!(record["median_ms"].as_f64().unwrap() > 0.0 && record["p95_ms"].is_number(), "{stats}");
    assert_eq!(stats["strategies"]["select"]["verdicts"]["bad"], 1, "{stats}");
    let table = stdout(&home.run(&["compare", "stats"]));
    assert!(table.contains("share") && table.contains("select: "), "{table}");

    daemon.stop();
    let daemon = daemon_with(&home, &clouds.config(""));
    assert_eq!(daemon.get("/api/compare/stats").expect(200).json()["providers"], stats["providers"]);
}

#[test]
fn fusion_is_measured_on_ones_own_questions() {
    let home = Home::new();
    let clouds = Clouds { a: Cloud::saying(PARIS), b: Cloud::saying("I do not know.") };
    let daemon =
        daemon_with(&home, &clouds.config("[fusion]\nselect_by = \"preferred\"\npreferred = [\"alpha\"]"));
    let file = home.path("questions.jsonl");
    home.write(
        &file,
        "{\"message\": \"Capital of France?\", \"must\": [[\"paris\"]], \"must_not\": [\"lyon\"]}\n",
    );
    let output = home.run(&["bench", "fusion", "--json", "questions.jsonl"]);
    let json: Value =
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", stderr(&output)));
    let row =
        |way: &str| json["rows"].as_array().unwrap().iter().find(|row| row["way"] == way).unwrap().clone();
    assert_eq!(json["rows"][0]["way"], "alpha", "the best single one comes first: {json}");
    assert_eq!(
        (row("alpha")["passed"].as_u64(), row("beta")["passed"].as_u64()),
        (Some(1), Some(0)),
        "{json}"
    );
    assert_eq!(row("select")["passed"], 1, "{json}");
    assert!(row("merge")["n"] == 1 && row("select")["median_ms"].as_f64().unwrap() > 0.0, "{json}");
    let table = stdout(&home.run(&["bench", "fusion", "questions.jsonl"]));
    assert!(table.contains("alpha (best single)") && table.contains("merge"), "{table}");
    let sessions = daemon.get("/api/sessions").expect(200).json();
    assert!(sessions["sessions"].as_array().unwrap().is_empty(), "it leaves no conversations: {sessions}");

    home.write(&file, "{\"message\": \"a\"}\n{\"mesage\": \"b\"}\n");
    let bad = home.run(&["bench", "fusion", "questions.jsonl"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(stderr(&bad).contains("line 2: `mesage` is not a field"), "{}", stderr(&bad));
}
