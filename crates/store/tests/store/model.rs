//! Random sequences of calls against a model in memory, with restarts in between.

use crate::{NOW, contents, id, new, open, user};
use boca_core::Usage;
use boca_store::{Message, SessionSettings, SessionUpdate, Store, StoreError};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

#[derive(Debug, Clone)]
enum Call {
    Create(u8),
    Append { session: u8, create: bool, texts: Vec<String> },
    Rename(u8, String),
    Delete(u8),
    Reopen,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct ModelSession {
    title: Option<String>,
    updated: u64,
    texts: Vec<String>,
    tokens: u64,
}

type Model = BTreeMap<u8, ModelSession>;

fn call() -> impl Strategy<Value = Call> {
    let session = 0..4u8;
    // Now and then a text that needs several values in the database.
    let text = prop_oneof![4 => "[a-zäö \n]{0,40}", 1 => "[a-z]{8000,30000}"];
    let texts = prop::collection::vec(text, 0..4);
    prop_oneof![
        2 => session.clone().prop_map(Call::Create),
        6 => (session.clone(), any::<bool>(), texts).prop_map(|(session, create, texts)| Call::Append { session, create, texts }),
        1 => (session.clone(), "[a-z]{1,10}").prop_map(|(session, title)| Call::Rename(session, title)),
        1 => session.prop_map(Call::Delete),
        1 => Just(Call::Reopen),
    ]
}

fn name(session: u8) -> String {
    // Names of which one begins another are where keys would mix.
    "s".repeat(usize::from(session) + 1)
}

fn message(text: &str) -> Message {
    let usage = Usage { completion_tokens: text.len() as u32, ..Usage::default() };
    Message { usage: Some(usage), ..user(text) }
}

fn title_of(texts: &[String]) -> Option<String> {
    texts.first().map(|text| boca_store::session_title(text))
}

async fn apply(store: &Store, model: &mut Model, call: Call, now: u64) {
    match call {
        Call::Create(session) => {
            let outcome = store.create_session(new(&name(session)), now).await;
            match model.entry(session) {
                Entry::Occupied(_) => assert!(matches!(outcome, Err(StoreError::SessionExists(_)))),
                Entry::Vacant(place) => {
                    outcome.unwrap();
                    place.insert(ModelSession { updated: now, ..ModelSession::default() });
                }
            }
        }
        Call::Append { session, create, texts } => {
            let otherwise = create.then(|| new(&name(session)));
            let messages = texts.iter().map(|text| message(text)).collect();
            let outcome = store.append_messages(&id(&name(session)), otherwise, messages, now).await;
            if !create && !model.contains_key(&session) {
                assert!(matches!(outcome, Err(StoreError::SessionNotFound(_))));
                return;
            }
            let (_, stored) = outcome.unwrap();
            let known = model.entry(session).or_default();
            assert_eq!(
                stored.first().map(|m| m.index as usize),
                (!texts.is_empty()).then_some(known.texts.len())
            );
            known.updated = now;
            known.title = known.title.take().or_else(|| title_of(&texts));
            known.tokens += texts.iter().map(|text| text.len() as u64).sum::<u64>();
            known.texts.extend(texts);
        }
        Call::Rename(session, title) => {
            let update = SessionUpdate { title: Some(title.clone()), settings: None };
            let outcome = store.update_session(&id(&name(session)), update, now).await;
            match model.get_mut(&session) {
                Some(known) => {
                    outcome.unwrap();
                    known.title = Some(title);
                    known.updated = now;
                }
                None => assert!(matches!(outcome, Err(StoreError::SessionNotFound(_)))),
            }
        }
        Call::Delete(session) => {
            let deleted = store.delete_session(&id(&name(session))).await.unwrap();
            assert_eq!(deleted, model.remove(&session).is_some());
        }
        Call::Reopen => unreachable!("handled by the caller, who owns the store"),
    }
}

async fn check(store: &Store, model: &Model) {
    let page = store.list_sessions(100, None).await.unwrap();
    let mut expected: Vec<_> = model.iter().map(|(session, known)| (known.updated, name(*session))).collect();
    expected.sort_by(|a, b| b.cmp(a));
    let listed: Vec<_> = page.sessions.iter().map(|s| (s.updated_unix_ms, s.id.to_string())).collect();
    assert_eq!(listed, expected);
    assert_eq!(page.next, None);
    for (session, known) in model {
        let found = store.session(&id(&name(*session))).await.unwrap();
        assert_eq!((&found.title, found.completion_tokens), (&known.title, known.tokens));
        assert_eq!(contents(store, &name(*session)).await, known.texts);
    }
    assert_eq!(store.status().await.unwrap().damaged_records, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_the_model_does(calls in prop::collection::vec(call(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut store = open(directory.path()).await;
            let mut model = Model::new();
            for (step, call) in calls.into_iter().enumerate() {
                if let Call::Reopen = call {
                    store.close().await.unwrap();
                    store = open(directory.path()).await;
                } else {
                    apply(&store, &mut model, call, NOW + step as u64).await;
                }
            }
            check(&store, &model).await;
            store.close().await.unwrap();
            check(&open(directory.path()).await, &model).await;
        });
    }
}

#[tokio::test]
async fn pages_cover_every_session_once_while_others_come() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    for number in 0..10 {
        store.create_session(new(&format!("s{number}")), NOW + number / 2).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.list_sessions(3, before).await.unwrap();
        seen.extend(page.sessions.into_iter().map(|session| session.id.to_string()));
        store.create_session(new(&format!("late{}", seen.len())), NOW + 100).await.unwrap();
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["s9", "s8", "s7", "s6", "s5", "s4", "s3", "s2", "s1", "s0"]);
}

#[tokio::test]
async fn settings_are_replaced_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.create_session(new("s"), NOW).await.unwrap();
    let settings = SessionSettings { system: Some("long ".repeat(10_000)), ..SessionSettings::default() };
    let update = SessionUpdate { title: None, settings: Some(settings.clone()) };
    let changed = store.update_session(&id("s"), update, NOW + 1).await.unwrap();
    assert_eq!((&changed.settings, changed.updated_unix_ms), (&settings, NOW + 1));
    store.close().await.unwrap();
    let store = open(directory.path()).await;
    assert_eq!(store.session(&id("s")).await.unwrap(), changed);
}
