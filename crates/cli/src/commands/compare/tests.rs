//! `boca compare` against a scripted daemon.

use super::*;
use crate::fake_daemon::{Desk, FakeDaemon, answering, ok, refusal};
use boca_api::{ErrorDetail, ProviderRecord, SourceAnswer, StrategyRecord, StrategyRecords, Trace, Usage};

fn compared() -> ChatResponse {
    let source = |provider: &str, model: &str, state: &str, ended_ms| SourceTrace {
        provider: provider.into(),
        model: Some(model.into()),
        role: "answer".into(),
        state: state.into(),
        began_ms: 1.0,
        first_token_ms: Some(101.0),
        ended_ms: Some(ended_ms),
        usage: Usage { completion_tokens: 7, ..Usage::default() },
        cost_usd: (provider == "gemini").then_some(0.0012),
        ..SourceTrace::default()
    };
    let mut down = source("farm", "qwen", "failed", 20.0);
    down.first_token_ms = None;
    down.error = Some(ErrorDetail {
        message: "`farm` cannot be reached".into(),
        kind: "server_error".into(),
        param: None,
        code: "provider_failed".into(),
    });
    let answer = |source: &str, text: &str| SourceAnswer {
        source: source.into(),
        response: text.into(),
        ..SourceAnswer::default()
    };
    ChatResponse {
        response: "Paris.".into(),
        request_id: "r-1".into(),
        answers: vec![
            answer("gemini", "The capital of France is Paris,\nas every child knows\u{1b}[2J."),
            answer("local", "Paris."),
        ],
        trace: Trace {
            sources: vec![
                source("gemini", "gemini-3.8-flash", "finished", 1301.0),
                source("local", "GLM-4.5-Air", "finished", 901.0),
                down,
            ],
            mode: "compare".into(),
            ..Trace::default()
        },
        ..ChatResponse::default()
    }
}

#[test]
fn answers_stand_side_by_side_or_below_each_other() {
    insta::assert_snapshot!("wide", side_by_side(&compared(), 100, Style::PLAIN));
    insta::assert_snapshot!("narrow", side_by_side(&compared(), 60, Style::PLAIN));
    let widest = side_by_side(&compared(), 100, Style::PLAIN).lines().map(|l| l.chars().count()).max();
    assert!(widest.unwrap() <= 100);
}

#[test]
fn the_record_is_a_table() {
    let provider = |name: &str, chosen| ProviderRecord {
        provider: name.into(),
        asked: 10,
        answered: 9,
        failed: 1,
        failures: [("provider_failed".to_owned(), 1)].into(),
        median_ms: Some(812.0),
        p95_ms: Some(2301.0),
        candidate: 8,
        chosen,
        share: Some(chosen as f64 / 8.0),
        cost_usd: Some(0.0123),
        ..ProviderRecord::default()
    };
    let verdicts = |good, bad| StrategyRecord {
        answers: 9,
        verdicts: Verdicts { good, bad, good_share: Some(good as f64 / (good + bad) as f64) },
    };
    let stats = CompareStatsResponse {
        n_answers: 10,
        n_decided: 8,
        since_unix_ms: Some(1),
        providers: vec![provider("gemini", 6), provider("local", 2)],
        strategies: StrategyRecords { select: verdicts(3, 1), merge: verdicts(1, 1) },
    };
    insta::assert_snapshot!("record", record(&stats, Style::PLAIN));
}

async fn compare(args: CompareArgs, daemon: &FakeDaemon, desk: &mut Desk) -> Exit {
    match run(args, &daemon.context(), &mut desk.console, &mut desk.interrupts).await {
        Ok(exit) => exit,
        Err(ended) => ended.report(&mut desk.console),
    }
}

#[tokio::test]
async fn everyone_is_asked_in_mode_compare() {
    let body = serde_json::to_value(compared()).unwrap().to_string();
    let answer = ok(&body);
    let daemon = FakeDaemon::start(answering(answer));
    let mut desk = Desk::new();
    let args = CompareArgs { message: vec!["Capital?".into()], private: true, ..CompareArgs::default() };
    assert_eq!(compare(args.clone(), &daemon, &mut desk).await, Exit::Done);
    assert_eq!(
        daemon.questions(),
        [serde_json::json!({"message": "Capital?", "mode": "compare", "private": true})]
    );
    assert!(desk.out.text().contains("GLM-4.5-Air"), "{}", desk.out.text());
    assert!(desk.err.text().contains("boca feedback r-1 good|bad"), "{}", desk.err.text());
    let mut desk = Desk::new();
    assert_eq!(compare(CompareArgs { json: true, ..args }, &daemon, &mut desk).await, Exit::Done);
    assert_eq!(desk.out.text(), format!("{body}\n"));
}

#[tokio::test]
async fn when_everybody_failed_the_reasons_are_told() {
    let message = "nobody answered: gemini: the key is refused; local: weights are loading";
    let answer = refusal("503 Service Unavailable", "", "no_provider_answered", message);
    let daemon = FakeDaemon::start(answering(answer));
    let mut desk = Desk::new();
    let args = CompareArgs { message: vec!["Hi".into()], ..CompareArgs::default() };
    assert_eq!(compare(args, &daemon, &mut desk).await, Exit::TryAgain);
    assert!(desk.err.text().contains(message), "{}", desk.err.text());
}
