//! What a client sees when a provider fails: alone, beside another one, and with the model here to finish what it
//! began.

use crate::daemon::Daemon;
use crate::tables::{ms, print_table};
use crate::{after, ask};
use boca_api::ChatResponse;
use boca_fake_providers::{Behaviour, FakeProvider, Fault};
use std::time::Duration;

/// Asks under every fault.
pub(crate) async fn table() {
    let mut rows = Vec::new();
    for (name, behaviour) in faults() {
        // A daemon of its own for each, so that no circuit is open already.
        let (faulty, other) = (FakeProvider::start().await.unwrap(), FakeProvider::start().await.unwrap());
        let daemon = Daemon::start(&config(&faulty, &other, false)).await;
        let finishing = Daemon::start(&config(&faulty, &other, true)).await;
        faulty.set(behaviour);
        other.set(after(Duration::from_millis(20)));
        let client = daemon.client();
        let (alone_time, alone) = ask(&client, "faulty").await;
        let (together_time, together) = ask(&client, "collaborative").await;
        let (_, finished) = ask(&finishing.client(), "faulty").await;
        rows.push(vec![
            name.to_owned(),
            seen(&alone),
            ms(alone_time),
            seen(&together),
            ms(together_time),
            seen(&finished),
        ]);
    }
    print_table(
        "fault of one provider × what the client saw (deadlines: head 1 s, between bytes 1 s; one retry)",
        &[
            "fault",
            "asked alone",
            "after",
            "collaborative, beside a good one",
            "after",
            "alone, the model here may finish",
        ],
        &rows,
    );
}

fn config(faulty: &FakeProvider, other: &FakeProvider, demo_joins: bool) -> String {
    let provider = |name: &str, kind: &str, base_url: String| {
        format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"{kind}\"\nmodel = \"fake\"\nbase_url = \"{base_url}\"\n\
             [provider.limits]\nconnect = \"1s\"\nfirst_byte = \"1s\"\nbetween_bytes = \"1s\"\nmax_retries = 1\n\
             max_response_bytes = \"1 MiB\"\ncheck_every = \"1h\"\n"
        )
    };
    format!(
        "[fusion]\nselect_by = \"preferred\"\npreferred = [\"faulty\", \"other\"]\ndemo_joins = {demo_joins}\n{}{}",
        provider("faulty", "gemini", faulty.base_url()),
        provider("other", "openai", format!("{}/v1", other.base_url()))
    )
}

fn faults() -> Vec<(&'static str, Behaviour)> {
    let fault = Behaviour::fault;
    let wait = Some(Duration::from_secs(1));
    vec![
        ("none", Behaviour::default()),
        ("slow first byte", Behaviour { head_delay: Duration::from_secs(5), ..Behaviour::default() }),
        ("stall in mid-stream", fault(Fault::Stall(3))),
        ("reset in mid-stream", fault(Fault::Reset(3))),
        ("half-closed in mid-stream", fault(Fault::HalfClose(3))),
        ("ends without an end", fault(Fault::Truncate(3))),
        ("error in mid-stream", fault(Fault::ErrorInStream(3, "overloaded".into()))),
        ("malformed JSON", fault(Fault::MalformedJson(0))),
        ("safety block", fault(Fault::Safety(0))),
        ("safety stop in mid-answer", fault(Fault::Safety(3))),
        ("empty answer", fault(Fault::Empty)),
        ("500", fault(Fault::Status(500))),
        ("503", fault(Fault::Status(503))),
        ("401", fault(Fault::Status(401))),
        ("429 with RetryInfo", fault(Fault::RateLimited { retry_after: wait, as_date: false })),
        ("429 without", fault(Fault::RateLimited { retry_after: None, as_date: false })),
        ("daily quota", fault(Fault::DailyQuota)),
        ("prompt too long", fault(Fault::ContextTooLong)),
        ("HTML instead of JSON", fault(Fault::WrongContentType)),
        ("huge body", fault(Fault::Huge(4 << 20))),
        ("no HTTP at all", fault(Fault::Garbage)),
        ("closed before the head", fault(Fault::CloseBeforeHead)),
    ]
}

fn seen(answer: &Result<ChatResponse, String>) -> String {
    let cut = |text: &str| {
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/");
        match line.char_indices().nth(110) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line,
        }
    };
    match answer {
        Ok(answer) => {
            let seam = answer.trace.seam.as_ref().map(|seam| format!(", finished by {}", seam.to));
            let by = answer.trace.chosen.as_deref().unwrap_or(&answer.model_used);
            format!("answer by {by}{} ({})", seam.unwrap_or_default(), answer.finish_reason)
        }
        Err(error) => format!("error: {}", cut(error)),
    }
}
