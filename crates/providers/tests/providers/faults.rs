//! Every way in which a provider can fail, and what comes out of it.

use crate::support::{
    KEY, KINDS, Outcome, PATIENCE, ask, ask_plainly, endpoint, in_patience, provider, read, request,
};
use boca_core::{ErrorCode, FinishReason, ProviderKind};
use boca_fake_providers::{Behaviour, FakeProvider, Fault};
use boca_providers::{ApiKey, AskOptions, AttemptClass, HttpProvider};
use std::time::{Duration, Instant};

const TEXT: &str = "This is the answer of a fake provider.";

/// Fails an ask of this kind with this fault, streamed.
async fn fail(kind: ProviderKind, fault: Fault) -> Outcome {
    let fake = FakeProvider::start().await.unwrap();
    fake.set(Behaviour::fault(fault));
    ask_plainly(&provider(kind, &fake)).await
}

#[track_caller]
fn expect(kind: ProviderKind, outcome: &Outcome, class: AttemptClass, code: ErrorCode, part: &str) {
    let error = outcome.error();
    assert_eq!((error.class, error.failure.code), (class, code), "{kind:?}: {error:?}");
    assert!(error.failure.message.starts_with("`tested` "), "{kind:?}: {}", error.failure.message);
    assert!(error.failure.message.contains(part), "{kind:?}: {}", error.failure.message);
    assert!(!error.failure.message.ends_with('.'), "{kind:?}: {}", error.failure.message);
    assert_eq!(error.failure.retry_after, error.retry_after, "{kind:?}");
}

#[tokio::test]
async fn a_slow_first_byte_times_out() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        let mut impatient = endpoint(kind, &fake);
        impatient.timeouts.first_byte = Duration::from_millis(150);
        impatient.timeouts.between_bytes = Duration::from_millis(150);
        let impatient = HttpProvider::new(impatient).unwrap();
        // Whether it comes before the head or after it.
        for (head_delay, first_token_delay) in [(PATIENCE, Duration::ZERO), (Duration::ZERO, PATIENCE)] {
            fake.set(Behaviour { head_delay, first_token_delay, ..Behaviour::default() });
            let outcome = ask_plainly(&impatient).await;
            let part = "did not begin to answer within 150ms";
            expect(kind, &outcome, AttemptClass::Timeout, ErrorCode::ProviderFailed, part);
        }
    }
}

#[tokio::test]
async fn a_stall_in_mid_stream_times_out_and_keeps_the_text() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        let mut impatient = endpoint(kind, &fake);
        impatient.timeouts.between_bytes = Duration::from_millis(300);
        fake.set(Behaviour::fault(Fault::Stall(3)));
        let outcome = ask_plainly(&HttpProvider::new(impatient).unwrap()).await;
        expect(kind, &outcome, AttemptClass::Timeout, ErrorCode::ProviderFailed, "stopped in the middle");
        assert!("This is the".starts_with(&outcome.text()), "{kind:?}: {:?}", outcome.text());
        tokio::time::timeout(PATIENCE, fake.wait_for_hang_up()).await.unwrap();
    }
}

#[tokio::test]
async fn the_deadline_stands_above_all() {
    for kind in KINDS {
        for fault in [Fault::Stall(1), Fault::HalfClose(PATIENCE.as_secs() as usize)] {
            let fake = FakeProvider::start().await.unwrap();
            let slow = Behaviour::fault(fault).with_latency(Duration::from_secs(30));
            fake.set(Behaviour { head_delay: Duration::ZERO, ..slow });
            let provider = provider(kind, &fake);
            let deadline = Instant::now() + Duration::from_millis(200);
            let options = AskOptions::default();
            let asked = async {
                match provider.attempt(&request(), &options, deadline).await {
                    Ok(stream) => read(stream).await,
                    Err(error) => Outcome { events: Vec::new(), end: Err(error) },
                }
            };
            // Sooner than any other limit.
            let outcome = tokio::time::timeout(PATIENCE / 2, asked).await.unwrap();
            expect(kind, &outcome, AttemptClass::Timeout, ErrorCode::DeadlineExceeded, "deadline");
        }
        // Also one that has passed already.
        let fake = FakeProvider::start().await.unwrap();
        let passed = provider(kind, &fake).attempt(&request(), &AskOptions::default(), Instant::now()).await;
        assert_eq!(passed.unwrap_err().failure.code, ErrorCode::DeadlineExceeded);
    }
}

#[tokio::test]
async fn a_broken_connection_keeps_the_text_and_is_told() {
    for kind in KINDS {
        for fault in [Fault::Reset(3), Fault::HalfClose(3), Fault::Truncate(3)] {
            let outcome = fail(kind, fault.clone()).await;
            expect(kind, &outcome, AttemptClass::Connect, ErrorCode::ProviderFailed, "answer");
            assert_eq!(outcome.text(), "This is the", "{kind:?} {fault:?}");
        }
        // Before the head nothing is lost, and the same request may be sent again.
        let outcome = fail(kind, Fault::CloseBeforeHead).await;
        expect(kind, &outcome, AttemptClass::Connect, ErrorCode::ProviderFailed, "before it answered");
        assert!(outcome.error().class.is_worth_a_retry());
    }
}

#[tokio::test]
async fn nobody_at_home_is_told() {
    for kind in KINDS {
        let gone = FakeProvider::start().await.unwrap();
        let endpoint = endpoint(kind, &gone);
        drop(gone);
        // The listener's task ends at its next turn.
        tokio::task::yield_now().await;
        let provider = HttpProvider::new(endpoint).unwrap();
        let outcome = ask_plainly(&provider).await;
        assert_eq!(outcome.error().class, AttemptClass::Connect, "{kind:?}: {:?}", outcome.error());
        assert_eq!(provider.probe(PATIENCE).await.unwrap_err().class, AttemptClass::Connect);
    }
    let mut nowhere = boca_providers::Endpoint::new("tested", ProviderKind::Ollama, "m");
    nowhere.unix_socket = Some("/nonexistent/socket".into());
    let outcome = ask_plainly(&HttpProvider::new(nowhere).unwrap()).await;
    expect(
        ProviderKind::Ollama,
        &outcome,
        AttemptClass::Connect,
        ErrorCode::ProviderFailed,
        "No such file or directory",
    );
}

#[tokio::test]
async fn too_many_requests_say_how_long_to_wait() {
    let wait = Duration::from_secs(37);
    for kind in KINDS {
        for (retry_after, as_date) in [(None, false), (Some(wait), false), (Some(wait), true)] {
            let outcome = fail(kind, Fault::RateLimited { retry_after, as_date }).await;
            expect(kind, &outcome, AttemptClass::RateLimited, ErrorCode::ProviderUnavailable, "429");
            assert_eq!(outcome.error().status, Some(429));
            let expected = match (kind, retry_after) {
                // The quota's name says how long, when nothing else does.
                (ProviderKind::Gemini, None) => Some(Duration::from_secs(60)),
                (_, expected) => expected,
            };
            let found = outcome.error().retry_after;
            if as_date && kind != ProviderKind::Gemini {
                // Dates count whole seconds, and some time passes.
                assert!(found.is_some_and(|found| found <= wait && found + PATIENCE > wait), "{found:?}");
            } else {
                assert_eq!(found, expected, "{kind:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_spent_quota_is_not_a_busy_minute() {
    for kind in [ProviderKind::Gemini, ProviderKind::Openai, ProviderKind::Anthropic] {
        let outcome = fail(kind, Fault::DailyQuota).await;
        expect(kind, &outcome, AttemptClass::QuotaSpent, ErrorCode::ProviderUnavailable, "has no quota left");
        assert!(!outcome.error().class.is_worth_a_retry());
        assert_eq!(outcome.error().retry_after, None, "{kind:?}: the body's 47 s would be a lie");
    }
}

#[tokio::test]
async fn a_burst_of_server_errors_passes() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        let statuses = [500, 502, 503, 504, 408, 529];
        fake.enqueue(statuses.map(|status| Behaviour::fault(Fault::Status(status))));
        let provider = provider(kind, &fake);
        for status in statuses {
            let outcome = ask_plainly(&provider).await;
            expect(kind, &outcome, AttemptClass::Server, ErrorCode::ProviderFailed, &status.to_string());
            assert_eq!(outcome.error().status, Some(status));
        }
        assert_eq!(ask_plainly(&provider).await.text(), TEXT, "{kind:?}");
        assert_eq!(fake.asks().len(), statuses.len() + 1, "nothing is sent twice: {kind:?}");
    }
}

#[tokio::test]
async fn other_statuses_are_refusals() {
    for kind in KINDS {
        for status in [400, 403, 404, 418] {
            let outcome = fail(kind, Fault::Status(status)).await;
            let class = outcome.error().class;
            // Some bodies of this fake speak of a server's error whatever the status is.
            let spoken =
                matches!(kind, ProviderKind::Openai | ProviderKind::Anthropic | ProviderKind::Gemini);
            assert!(
                class == AttemptClass::Refused || (spoken && class == AttemptClass::Server),
                "{kind:?} {status}"
            );
        }
        let outcome = fail(kind, Fault::ContextTooLong).await;
        expect(kind, &outcome, AttemptClass::Refused, ErrorCode::ContextLengthExceeded, "refused");
        let fake = FakeProvider::start().await.unwrap();
        fake.set_models(["another"]);
        let outcome = ask_plainly(&provider(kind, &fake)).await;
        expect(kind, &outcome, AttemptClass::Refused, ErrorCode::ProviderRefused, "404");
    }
}

#[tokio::test]
async fn errors_in_mid_stream_are_read() {
    for kind in KINDS {
        let outcome = fail(kind, Fault::ErrorInStream(2, "the model is overloaded".into())).await;
        expect(kind, &outcome, AttemptClass::Server, ErrorCode::ProviderFailed, "the model is overloaded");
        assert_eq!(outcome.text(), "This is", "{kind:?}");
    }
}

#[tokio::test]
async fn nonsense_is_told_from_an_answer() {
    for kind in KINDS {
        let outcome = fail(kind, Fault::MalformedJson(2)).await;
        expect(kind, &outcome, AttemptClass::Malformed, ErrorCode::ProviderFailed, "JSON");
        assert_eq!(outcome.text(), "This is", "{kind:?}");
        let outcome = fail(kind, Fault::WrongContentType).await;
        expect(kind, &outcome, AttemptClass::Malformed, ErrorCode::ProviderFailed, "`text/html`");
        let outcome = fail(kind, Fault::Empty).await;
        expect(kind, &outcome, AttemptClass::Malformed, ErrorCode::ProviderFailed, "gave an empty answer");
        let outcome = fail(kind, Fault::Garbage).await;
        expect(kind, &outcome, AttemptClass::Connect, ErrorCode::ProviderFailed, "before it answered");
    }
}

#[tokio::test]
async fn content_rules_are_a_clear_outcome() {
    for kind in [ProviderKind::Gemini, ProviderKind::Openai, ProviderKind::Anthropic] {
        let outcome = fail(kind, Fault::Safety(0)).await;
        expect(kind, &outcome, AttemptClass::Blocked, ErrorCode::ContentBlocked, "blocked");
        // Text that was shown stays, and is marked.
        let outcome = fail(kind, Fault::Safety(2)).await;
        assert_eq!(outcome.text(), "This is", "{kind:?}");
        assert_eq!(outcome.summary().finish_reason, FinishReason::ContentFilter, "{kind:?}");
    }
    let blocked = fail(ProviderKind::Gemini, Fault::Safety(0)).await;
    assert_eq!(blocked.error().failure.message, "`tested` blocked the prompt: SAFETY (HARASSMENT HIGH)");
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    for kind in KINDS {
        for options in [AskOptions::default(), AskOptions { unary: true, ..AskOptions::default() }] {
            let fake = FakeProvider::start().await.unwrap();
            fake.set(Behaviour::fault(Fault::Huge(4 << 20)));
            let mut small = endpoint(kind, &fake);
            small.max_response_bytes = 256 << 10;
            let outcome = ask(&HttpProvider::new(small).unwrap(), &request(), &options).await;
            expect(kind, &outcome, AttemptClass::TooLarge, ErrorCode::ProviderFailed, "262144 bytes");
        }
    }
}

#[tokio::test]
async fn redirects_are_never_followed() {
    for kind in KINDS {
        let elsewhere = FakeProvider::start().await.unwrap();
        let outcome = fail(kind, Fault::Redirect(format!("{}/v1/models", elsewhere.base_url()))).await;
        expect(kind, &outcome, AttemptClass::Refused, ErrorCode::ProviderRefused, "redirect");
        assert_eq!(elsewhere.n_connections(), 0, "{kind:?}");
    }
}

#[tokio::test]
async fn whole_answers_fail_in_the_same_words() {
    let unary = AskOptions { unary: true, ..AskOptions::default() };
    for kind in KINDS {
        for (fault, class) in [
            (Fault::MalformedJson(0), AttemptClass::Malformed),
            (Fault::Truncate(0), AttemptClass::Connect),
            (Fault::Reset(0), AttemptClass::Connect),
            (Fault::Empty, AttemptClass::Malformed),
            (Fault::ErrorInStream(0, "x".into()), AttemptClass::Server),
        ] {
            let fake = FakeProvider::start().await.unwrap();
            fake.set(Behaviour::fault(fault.clone()));
            let outcome = ask(&provider(kind, &fake), &request(), &unary).await;
            assert_eq!(outcome.error().class, class, "{kind:?} {fault:?}: {:?}", outcome.error());
            assert!(outcome.events.is_empty() || class == AttemptClass::Malformed);
        }
    }
}

#[tokio::test]
async fn the_key_is_never_shown() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        fake.require_key("another-key");
        let provider = provider(kind, &fake);
        let outcome = ask_plainly(&provider).await;
        expect(kind, &outcome, AttemptClass::Refused, ErrorCode::ProviderRefused, "40");
        let probe = provider.probe(PATIENCE).await.unwrap_err();
        let shown = format!("{provider:?} {:?} {} {probe:?} {probe}", outcome.error(), outcome.error());
        assert!(!shown.contains(KEY), "{kind:?}: {shown}");
        for seen in fake.seen() {
            assert!(!format!("{}{}", seen.path, seen.query).contains(KEY), "{kind:?}");
            assert!(!String::from_utf8_lossy(&seen.body).contains(KEY), "{kind:?}");
        }
        // A server that echoes the key wherever it can is not believed either.
        let echo = format!("{{\"error\":{{\"message\":\"key {KEY} is bad\",\"code\":400}}}}");
        fake.require_key(KEY);
        for fault in [
            Fault::Raw { status: 400, content_type: "application/json".into(), body: echo.clone() },
            Fault::Raw { status: 200, content_type: format!("text/{KEY}"), body: echo.clone() },
            Fault::ErrorInStream(1, format!("key {KEY} is bad")),
        ] {
            fake.set(Behaviour::fault(fault));
            let outcome = ask_plainly(&provider).await;
            let shown = format!("{:?}", outcome.error());
            assert!(!shown.contains(KEY) && !shown.contains(&KEY.to_ascii_lowercase()), "{kind:?}: {shown}");
        }
    }
    assert_eq!(format!("{:?}", ApiKey::new(KEY)), "Some(<hidden>)");
}

#[tokio::test]
async fn an_end_that_is_known_survives_what_follows() {
    // The reason has come; that the connection then breaks or stalls costs nothing.
    let frame = r#"data: {"candidates":[{"content":{"parts":[{"text":"whole"}]},"finishReason":"STOP"}]}"#;
    let fake = FakeProvider::start().await.unwrap();
    let body = format!("{frame}\r\n\r\n{{ \"error\":");
    fake.set(Behaviour::fault(Fault::Raw { status: 200, content_type: "text/event-stream".into(), body }));
    let options = AskOptions::default();
    let provider = provider(ProviderKind::Gemini, &fake);
    let stream = provider.attempt(&request(), &options, in_patience()).await.unwrap();
    let outcome = read(stream).await;
    assert_eq!(outcome.text(), "whole");
    assert_eq!(outcome.summary().finish_reason, FinishReason::Stop);
}

#[tokio::test]
async fn a_whole_answer_does_not_wait_for_the_end_of_the_stream() {
    for kind in KINDS {
        let answered = tokio::time::timeout(PATIENCE / 2, fail(kind, Fault::StallAtEnd)).await;
        let outcome = answered.expect("the limit between bytes is longer than this");
        assert_eq!(outcome.text(), TEXT, "{kind:?}");
        assert_eq!(outcome.summary().finish_reason, FinishReason::Stop, "{kind:?}");
    }
}
