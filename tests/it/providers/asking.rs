//! How a provider is asked: whole or piece by piece, how long a request waits for it, and what the metrics say.

use super::{asking, daemon_with, provider_status};
use crate::harness::{Cloud, Home, until, with};
use boca_fake_providers::{Behaviour, Fault};
use serde_json::json;
use std::time::{Duration, Instant};

/// Whether a question asked for an answer piece by piece.
fn is_streamed(asked: &boca_fake_providers::Seen) -> bool {
    asked.path.ends_with(":streamGenerateContent") || asked.json()["stream"] == true
}

#[test]
fn a_provider_that_does_not_stream_is_asked_for_the_whole_answer() {
    for kind in ["gemini", "openai", "ollama", "anthropic"] {
        let (home, cloud) = (Home::new(), Cloud::saying("All at once."));
        let other = Cloud::saying("Piece by piece.");
        let config =
            format!("{}{}", cloud.config("whole", kind, "stream = false"), other.config("pieces", kind, ""));
        let daemon = daemon_with(&home, &config);
        assert_eq!(daemon.chat(&asking("whole"))["response"], "All at once.", "{kind}");
        assert_eq!(daemon.chat(&asking("pieces"))["response"], "Piece by piece.", "{kind}");
        let (whole, pieces) = (cloud.fake().asks().remove(0), other.fake().asks().remove(0));
        assert!(!is_streamed(&whole), "{kind}: {}", whole.path);
        assert!(is_streamed(&pieces), "{kind}: {}", pieces.path);
    }
}

#[test]
fn a_request_does_not_sleep_for_a_minute_because_a_quota_is_spent() {
    let (home, cloud) = (Home::new(), Cloud::saying("Now."));
    let config = cloud.config("alpha", "gemini", "").replace("max_retries = 0\n", "");
    let daemon = daemon_with(&home, &config);
    cloud.fake().set(Behaviour::fault(Fault::RateLimited { retry_after: None, as_date: false }));
    let body = with(asking("alpha"), json!({ "deadline_ms": 90_000 }));
    let began = Instant::now();
    for n in 0..2 {
        let refused = daemon.post("/api/chat", &body);
        assert_eq!((refused.status, cloud.n_asks()), (503, 1), "question {n}: {refused:?}");
        assert!(refused.body.contains("asked too often"), "{refused:?}");
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((30..=60).contains(&seconds), "{refused:?}");
    }
    // Nobody waited for what the answer says: this bound is far from both.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let status = provider_status(&daemon, "alpha");
    assert_eq!(status["availability"], "circuit_open", "{status}");
    assert!(status["retry_in_ms"].as_f64().unwrap() > 20_000.0, "{status}");
    assert!(status["reason"].as_str().unwrap().contains("asked too often"), "{status}");
}

#[test]
fn status_says_how_long_the_last_probe_took_and_what_it_found() {
    let (home, cloud) = (Home::new(), Cloud::start());
    let slow = Duration::from_millis(60);
    cloud.fake().set_probe(Some(Behaviour { head_delay: slow, ..Behaviour::text("") }));
    let config = cloud.config("alpha", "openai", "").replace("check_every = \"1h\"", "check_every = \"1s\"");
    let daemon = daemon_with(&home, &config);
    let probe = provider_status(&daemon, "alpha")["last_probe"].clone();
    assert_eq!(probe["ok"], true, "{probe}");
    assert!(probe["took_ms"].as_f64().unwrap() >= 60.0 && probe.get("error").is_none(), "{probe}");
    cloud.fake().set_probe(Some(Behaviour::fault(Fault::Status(503))));
    let probe = until("a probe that fails", || {
        let probe = provider_status(&daemon, "alpha")["last_probe"].clone();
        (probe["ok"] == false).then_some(probe)
    });
    assert!(probe["error"].as_str().unwrap().contains("503") && probe["took_ms"].is_number(), "{probe}");
    assert!(probe["age_ms"].as_f64().unwrap() < 60_000.0, "{probe}");
}

#[test]
fn metrics_count_what_providers_answered_and_used() {
    let (home, cloud) = (Home::new(), Cloud::saying("From afar."));
    let daemon = daemon_with(&home, &cloud.config("alpha", "gemini", ""));
    let answer = daemon.chat(&asking("alpha"));
    cloud.fake().set(Behaviour::fault(Fault::Status(500)));
    daemon.post("/api/chat", &asking("alpha")).expect(502);
    let used = answer["usage"]["completion_tokens"].as_u64().unwrap();
    let metrics = until("the metrics", || {
        let metrics = daemon.get("/api/metrics").expect(200).json();
        (metrics["requests"]["total"] == 2).then_some(metrics)
    });
    let outcomes = metrics["requests"]["by_outcome"].as_object().unwrap();
    assert_eq!(outcomes.values().filter_map(|n| n.as_u64()).sum::<u64>(), 2, "{metrics}");
    assert_eq!(outcomes["stop"], 1, "{metrics}");
    assert_eq!(metrics["tokens"]["completion_tokens"], used, "{metrics}");
    assert_eq!(metrics["total_ms"]["count"], 1, "{metrics}");
    let status = provider_status(&daemon, "alpha");
    assert_eq!(
        (&status["requests_today"], status["tokens_today"].as_u64() >= Some(used)),
        (&json!(2), true),
        "{status}"
    );
}
