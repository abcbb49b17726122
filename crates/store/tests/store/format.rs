//! Stores of every format that was ever written, kept for ever, are opened by this version.

use crate::{NOW, copy_directory, id, new, try_open};
use boca_core::{
    ErrorCode, Failure, FinishReason, FusionTrace, LocalDay, MicroUsd, Preset, ProviderUsage, Role,
    SamplingOverrides, Seam, SourceAnswer, SourceRole, SourceState, SourceTrace, Strategy, Timings, Usage,
};
use boca_store::{
    AnswerRecord, AnswerTrace, Message, NewSession, SessionSettings, SourceRecord, Store, StoreError,
    StoredMessage, Verdict,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CREATED: u64 = 1_763_800_000_000;

fn fixture(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format)
}

fn settings() -> SessionSettings {
    SessionSettings {
        system: Some("You are brief. Ünïcödé.".into()),
        preset: Some(Preset::Accurate),
        sampling: SamplingOverrides {
            temperature: Some(0.1),
            top_p: Some(0.9),
            top_k: Some(40),
            min_p: Some(0.05),
            repetition_penalty: Some(1.1),
            presence_penalty: Some(-0.5),
            frequency_penalty: Some(0.25),
            seed: Some(u64::MAX),
            logit_bias: Some(BTreeMap::from([(7, -100.0), (151_329, 0.5)])),
            max_tokens: Some(512),
            thinking: Some(false),
            thinking_budget_tokens: Some(64),
        },
        private: false,
    }
}

fn exchange() -> Vec<Message> {
    let answer = Message {
        reasoning: Some("They want a greeting.".into()),
        model_used: Some("GLM-4.5-Air-4bit".into()),
        is_demo: false,
        finish_reason: Some(FinishReason::Stop),
        usage: Some(Usage { prompt_tokens: 12, cached_tokens: 4, completion_tokens: 9, reasoning_tokens: 5 }),
        timings: Some(Timings {
            queue: Duration::from_micros(1),
            prefill: Duration::from_micros(2_000),
            decode: Duration::from_micros(3_000_000),
            time_to_first_token: Duration::from_micros(4_001),
            total: Duration::from_micros(5_000_005),
        }),
        request_id: Some(boca_core::RequestId::try_from("req-1".to_owned()).unwrap()),
        ..Message::text(Role::Assistant, "Hello!", CREATED + 1)
    };
    let failed = Message {
        failure: Some(ErrorCode::EngineFailed),
        model_used: Some("boca-demo".into()),
        is_demo: true,
        ..Message::text(Role::Assistant, "", CREATED + 3)
    };
    vec![
        Message::text(Role::User, "Say hello\nto everyone", CREATED),
        answer,
        Message::text(Role::User, "a large question ".repeat(2_000), CREATED + 2),
        failed,
    ]
}

/// What format 2 can say and format 1 could not.
fn private_exchange() -> Vec<Message> {
    let source = SourceTrace {
        model: Some("gemini-3.8-flash".into()),
        state: SourceState::Failed,
        first_token: Some(Duration::from_micros(7)),
        ended: Some(Duration::from_micros(9)),
        cost: Some(MicroUsd(11)),
        failure: Some(Failure::new(ErrorCode::ProviderFailed, "`gemini` broke off")),
        ..SourceTrace::asked("gemini", Duration::from_micros(1))
    };
    let trace = AnswerTrace {
        fusion: FusionTrace {
            mode: "collaborative".into(),
            strategy: Some(Strategy::Select),
            chosen: Some("local".into()),
            judged_by: None,
            agreement: Some(0.5),
            reasons: vec!["`local` finished what `gemini` began".into()],
            seam: Some(Seam { at_byte: 5, from: "gemini".into(), to: "local".into() }),
        },
        sources: vec![source],
        answers: vec![SourceAnswer {
            provider: "local".into(),
            text: "Hello, Ünïcödé.".into(),
            finish_reason: FinishReason::Stop,
            usage: Usage { completion_tokens: 3, ..Usage::default() },
        }],
    };
    let question = Message { private: true, ..Message::text(Role::User, "A secret", CREATED) };
    let answer = Message {
        private: true,
        failure: Some(ErrorCode::NoProviderAnswered),
        trace: Some(Box::new(trace)),
        ..Message::text(Role::Assistant, "Hello", CREATED + 1)
    };
    vec![question, answer]
}

fn answer_record() -> AnswerRecord {
    AnswerRecord {
        request_id: boca_core::RequestId::try_from("req-2".to_owned()).unwrap(),
        created_unix_ms: CREATED,
        mode: "collaborative".into(),
        strategy: Some(Strategy::Merge),
        chosen: None,
        sources: vec![SourceRecord {
            provider: "gemini".into(),
            role: SourceRole::Answer,
            state: SourceState::Finished,
            failure: None,
            first_token: Some(Duration::from_micros(3)),
            total: Some(Duration::from_micros(4)),
            usage: Usage { prompt_tokens: 5, ..Usage::default() },
            cost: Some(MicroUsd(6)),
        }],
        verdict: None,
    }
}

fn day_usage() -> (LocalDay, ProviderUsage) {
    let usage = ProviderUsage { requests: 2, failures: 1, cost: MicroUsd(9), ..ProviderUsage::default() };
    (LocalDay { year: 2026, month: 11, day: 22 }, usage)
}

async fn write_everything_of_format_2(store: &Store) {
    write_everything(store).await;
    let turns = private_exchange();
    store.append_messages(&id("private"), Some(new("private")), turns, CREATED + 5).await.unwrap();
    store.add_answer(answer_record()).await.unwrap();
    let judged = store.judge_answer(&answer_record().request_id, Verdict::Good).await.unwrap();
    assert_eq!(judged, Some(answer_record()));
    let (day, usage) = day_usage();
    store.add_usage("gemini", day, usage).await.unwrap();
}

async fn check_everything_of_format_2(store: &Store) {
    check_everything(store, 3).await;
    assert!(store.session(&id("private")).await.unwrap().settings.private, "a private message makes it so");
    let messages = store.messages(&id("private")).await.unwrap();
    assert_eq!(messages.into_iter().map(|m| m.message).collect::<Vec<_>>(), private_exchange());
    let expected = AnswerRecord { verdict: Some(Verdict::Good), ..answer_record() };
    assert_eq!(store.answers().await.unwrap(), [expected]);
    let (day, usage) = day_usage();
    assert_eq!(store.usage_on(day).await.unwrap(), BTreeMap::from([("gemini".to_owned(), usage)]));
    assert!(store.usage_on(LocalDay { day: 23, ..day }).await.unwrap().is_empty());
}

async fn write_everything(store: &Store) {
    let new = NewSession { id: id("full"), title: None, settings: settings() };
    store.append_messages(&id("full"), Some(new), exchange(), CREATED + 3).await.unwrap();
    let bare = NewSession { id: id("bare"), title: Some("Empty".into()), settings: Default::default() };
    store.create_session(bare, CREATED + 4).await.unwrap();
}

async fn check_everything(store: &Store, n_sessions: usize) {
    let full = store.session(&id("full")).await.unwrap();
    assert_eq!(full.title.as_deref(), Some("Say hello"));
    assert_eq!(full.settings, settings());
    assert_eq!((full.created_unix_ms, full.updated_unix_ms), (CREATED + 3, CREATED + 3));
    assert_eq!((full.n_messages, full.prompt_tokens, full.completion_tokens), (4, 12, 9));
    let expected: Vec<_> =
        (0..).zip(exchange()).map(|(index, message)| StoredMessage { index, message }).collect();
    assert_eq!(store.messages(&id("full")).await.unwrap(), expected);
    let bare = store.session(&id("bare")).await.unwrap();
    assert_eq!((bare.title.as_deref(), bare.n_messages), (Some("Empty"), 0));
    assert_eq!(store.list_sessions(10, None).await.unwrap().sessions.len(), n_sessions);
}

/// To add a fixture after a change of format: run this test with `BOCA_STORE_WRITE_FIXTURE` set to a directory that
/// does not exist, and commit what it leaves under the format's number.
#[tokio::test]
async fn what_is_written_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let target = match std::env::var_os("BOCA_STORE_WRITE_FIXTURE") {
        Some(target) => PathBuf::from(target),
        None => directory.path().join("store"),
    };
    let (store, report) = try_open(&target).await.unwrap();
    assert!(report.created);
    write_everything_of_format_2(&store).await;
    check_everything_of_format_2(&store).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn format_1_is_read() {
    let directory = tempfile::tempdir().unwrap();
    copy_directory(&fixture("format-1"), directory.path());
    let (store, report) = try_open(directory.path()).await.unwrap();
    assert!(!report.created && !report.degraded(), "{report:?}");
    assert_eq!(report.migrated_from, Some(1));
    check_everything(&store, 2).await;
    assert!(!store.session(&id("full")).await.unwrap().settings.private);
    assert!(store.answers().await.unwrap().is_empty());
}

#[tokio::test]
async fn format_2_is_read() {
    let directory = tempfile::tempdir().unwrap();
    copy_directory(&fixture("format-2"), directory.path());
    let (store, report) = try_open(directory.path()).await.unwrap();
    assert!(!report.created && !report.degraded(), "{report:?}");
    assert_eq!(report.migrated_from, None);
    check_everything_of_format_2(&store).await;
}

#[tokio::test]
async fn a_newer_format_is_refused_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    copy_directory(&fixture("format-1"), directory.path());
    let payload = br#"{"format":3,"app_version":"9.9.9","created_unix_ms":1}"#;
    let mut record = vec![0, 1];
    record.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&record);
    checksum.update(payload);
    record.extend_from_slice(&checksum.finalize().to_be_bytes());
    record.extend_from_slice(payload);
    {
        let db = sled::open(directory.path().join("sled")).unwrap();
        db.open_tree("meta").unwrap().insert("meta", record).unwrap();
        db.flush().unwrap();
    }
    let refused = try_open(directory.path()).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::NewerFormat { found: 3, supported: 2, written_by } if written_by == "9.9.9")
    );
    assert!(!directory.path().join(format!("sled.corrupt-{NOW}")).exists());
    let db = sled::open(directory.path().join("sled")).unwrap();
    assert_eq!(db.open_tree("messages").unwrap().len(), 4);
}
