//! The store as its callers see it: what it keeps, what it survives, what it refuses.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod alerts;
mod format;
mod kill;
mod model;
mod recovery;
mod rollups;
mod schedule;

use boca_core::{ContextCut, Role, SessionId, SourceTrace, TurnSummary};
use boca_store::{
    AnswerTrace, Message, NewSession, OpenReport, SessionSettings, Store, StoreError, StoreOptions,
};
use std::path::Path;

const NOW: u64 = 1_790_000_000_000;

fn id(text: &str) -> SessionId {
    text.parse().unwrap()
}

fn new(text: &str) -> NewSession {
    NewSession { id: id(text), title: None, settings: SessionSettings::default() }
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text, NOW)
}

async fn try_open(directory: &Path) -> Result<(Store, OpenReport), StoreError> {
    Store::open(directory, StoreOptions::new("0.1.0-test", NOW)).await
}

async fn open(directory: &Path) -> Store {
    try_open(directory).await.unwrap().0
}

async fn contents(store: &Store, session: &str) -> Vec<String> {
    store.messages(&id(session)).await.unwrap().into_iter().map(|stored| stored.message.content).collect()
}

/// Every file of a directory tree, as it is now.
fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_store_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).await;
    let refused = try_open(directory.path()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    first.close().await.unwrap();
    open(directory.path()).await;
}

#[tokio::test]
async fn a_text_over_the_bound_is_refused_and_one_at_the_bound_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { max_message_bytes: 100_000, ..StoreOptions::new("0", NOW) };
    let (store, _) = Store::open(directory.path(), options).await.unwrap();
    let refused =
        store.append_messages(&id("s"), Some(new("s")), vec![user(&"x".repeat(100_001))], NOW).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "`content` must be at most 100000 bytes to be stored, got 100001"
    );
    assert!(matches!(store.session(&id("s")).await, Err(StoreError::SessionNotFound(_))));
    let largest = "ä".repeat(50_000);
    store.append_messages(&id("s"), Some(new("s")), vec![user(&largest)], NOW).await.unwrap();
    assert_eq!(contents(&store, "s").await, [largest]);
}

#[tokio::test]
async fn many_callers_at_once_are_all_kept_in_one_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let writers = (0..100).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let text = number.to_string();
            store
                .append_messages(&id("s"), Some(new("s")), vec![user(&text), user(&text)], NOW)
                .await
                .unwrap()
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let messages = store.messages(&id("s")).await.unwrap();
    assert_eq!(messages.iter().map(|m| m.index).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    for pair in messages.chunks(2) {
        assert_eq!(pair[0].message.content, pair[1].message.content, "an append was torn apart");
    }
}

#[tokio::test]
async fn a_write_whose_caller_went_away_still_stands() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut write = Box::pin(store.create_session(new("s"), NOW));
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(write.as_mut().poll(context))).await;
    assert!(polled.is_pending());
    drop(write);
    // The queue is in order: when this one is answered, the one before it is done.
    store.create_session(new("t"), NOW).await.unwrap();
    store.session(&id("s")).await.unwrap();
}

#[tokio::test]
async fn after_closing_nothing_is_written_and_the_directory_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let other = store.clone();
    store.close().await.unwrap();
    assert!(matches!(other.create_session(new("s"), NOW).await, Err(StoreError::Closed)));
    assert!(matches!(other.session(&id("s")).await, Err(StoreError::Closed)));
    try_open(directory.path()).await.expect("a clone that is left does not hold the lock");
    drop(other);
}

#[tokio::test]
async fn a_summary_is_kept_with_its_session_and_only_ever_takes_in_more() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { max_message_bytes: 100_000, ..StoreOptions::new("0", NOW) };
    let store = Store::open(directory.path(), options).await.unwrap().0;
    let summary = |before_turn, text: &str| TurnSummary { before_turn, text: text.into(), model: "m".into() };
    assert!(matches!(
        store.put_summary(&id("s"), summary(2, "a"), NOW).await,
        Err(StoreError::SessionNotFound(_))
    ));
    let mut answer = Message::text(Role::Assistant, "b", NOW);
    let cut = ContextCut {
        first_turn: 0,
        last_turn: 3,
        n_turns: 4,
        whole_tokens: 9,
        summary: Some(summary(4, "of the answer")),
        no_summary: None,
    };
    let source =
        SourceTrace { context_cut: Some(Box::new(cut)), ..SourceTrace::asked("local", Default::default()) };
    answer.trace = Some(Box::new(AnswerTrace { sources: vec![source], ..AnswerTrace::default() }));
    store.append_messages(&id("s"), Some(new("s")), vec![user("a"), answer], NOW).await.unwrap();
    let text = async || store.session(&id("s")).await.unwrap().summary.map(|stored| stored.summary.text);
    assert_eq!(text().await.as_deref(), Some("of the answer"));
    store.put_summary(&id("s"), summary(3, "less"), NOW).await.unwrap();
    assert_eq!(text().await.as_deref(), Some("of the answer"));
    store.put_summary(&id("s"), summary(6, "more"), NOW + 5).await.unwrap();
    assert_eq!(text().await.as_deref(), Some("more"));
    store.append_messages(&id("s"), None, vec![user("c")], NOW).await.unwrap();
    assert_eq!(text().await.as_deref(), Some("more"));
    let large = store.put_summary(&id("s"), summary(8, &"x".repeat(200_000)), NOW).await;
    assert!(matches!(large, Err(StoreError::TooLarge { field: "summary", .. })));
}
