//! Stores of every format that was ever written, kept for ever, are opened by this version.

use crate::{NOW, copy_directory, id, try_open};
use boca_core::{ErrorCode, FinishReason, Preset, Role, SamplingOverrides, Timings, Usage};
use boca_store::{Message, NewSession, SessionSettings, Store, StoreError, StoredMessage};
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

async fn write_everything(store: &Store) {
    let new = NewSession { id: id("full"), title: None, settings: settings() };
    store.append_messages(&id("full"), Some(new), exchange(), CREATED + 3).await.unwrap();
    let bare = NewSession { id: id("bare"), title: Some("Empty".into()), settings: Default::default() };
    store.create_session(bare, CREATED + 4).await.unwrap();
}

async fn check_everything(store: &Store) {
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
    assert_eq!(store.list_sessions(10, None).await.unwrap().sessions.len(), 2);
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
    write_everything(&store).await;
    check_everything(&store).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn format_1_is_read() {
    let directory = tempfile::tempdir().unwrap();
    copy_directory(&fixture("format-1"), directory.path());
    let (store, report) = try_open(directory.path()).await.unwrap();
    assert!(!report.created && !report.degraded(), "{report:?}");
    check_everything(&store).await;
}

#[tokio::test]
async fn a_newer_format_is_refused_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    copy_directory(&fixture("format-1"), directory.path());
    let payload = br#"{"format":2,"app_version":"9.9.9","created_unix_ms":1}"#;
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
        matches!(&refused, StoreError::NewerFormat { found: 2, supported: 1, written_by } if written_by == "9.9.9")
    );
    assert!(!directory.path().join(format!("sled.corrupt-{NOW}")).exists());
    let db = sled::open(directory.path().join("sled")).unwrap();
    assert_eq!(db.open_tree("messages").unwrap().len(), 4);
}
