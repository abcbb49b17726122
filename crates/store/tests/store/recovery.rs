//! Damage of every kind: what can be served is served, what cannot is kept and reported.

use crate::{NOW, contents, id, new, open, try_open, user};
use boca_store::{Store, StoreError};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// A closed store with one session `s` of `texts` and one empty session `t`.
async fn store_with(directory: &Path, texts: &[&str]) {
    let store = open(directory).await;
    let messages = texts.iter().map(|text| user(text)).collect();
    store.append_messages(&id("s"), Some(new("s")), messages, NOW).await.unwrap();
    store.create_session(new("t"), NOW + 1).await.unwrap();
    store.close().await.unwrap();
}

/// Changes a closed store behind its back.
pub(crate) fn with_database(directory: &Path, change: impl FnOnce(&sled::Db)) {
    // A test beside this one may be starting a process, which holds all locks until it has become another program.
    let mut attempts = std::iter::repeat_with(|| {
        sled::open(directory.join("sled"))
            .inspect_err(|_| std::thread::park_timeout(Duration::from_millis(20)))
    });
    let db = attempts.by_ref().take(100).find_map(Result::ok).expect("a closed store can be opened");
    change(&db);
    db.flush().unwrap();
}

pub(crate) fn flip_last_byte(tree: &sled::Tree, key: &[u8]) {
    let mut value = tree.get(key).unwrap().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    tree.insert(key, value).unwrap();
}

async fn listed(store: &Store) -> Vec<String> {
    let page = store.list_sessions(100, None).await.unwrap();
    page.sessions.into_iter().map(|session| session.id.to_string()).collect()
}

#[tokio::test]
async fn a_fresh_store_and_a_clean_one_report_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, report) = try_open(&directory.path().join("a/b")).await.unwrap();
    assert!(report.created && !report.degraded());
    store.close().await.unwrap();
    let (_, report) = try_open(&directory.path().join("a/b")).await.unwrap();
    assert_eq!(report, boca_store::OpenReport::default());
}

#[tokio::test]
async fn a_damaged_message_is_set_aside_and_the_rest_is_served() {
    let directory = tempfile::tempdir().unwrap();
    store_with(directory.path(), &["zero", "one", &"two".repeat(9000), "three"]).await;
    with_database(directory.path(), |db| {
        flip_last_byte(&db.open_tree("messages").unwrap(), b"s\0\0\0\0\x01");
        let parts = db.open_tree("parts").unwrap();
        let first = parts.first().unwrap().unwrap().0;
        flip_last_byte(&parts, &first);
    });
    let store = open(directory.path()).await;
    assert_eq!(contents(&store, "s").await, ["zero", "three"]);
    assert_eq!(store.status().await.unwrap().damaged_records, 2);
    let (_, appended) = store.append_messages(&id("s"), None, vec![user("four")], NOW).await.unwrap();
    assert_eq!(appended[0].index, 4, "the place of a damaged message is not taken again");
    assert_eq!(contents(&store, "s").await, ["zero", "three", "four"]);
    store.close().await.unwrap();

    let (store, report) = try_open(directory.path()).await.unwrap();
    assert!(report.degraded());
    assert_eq!(report.damaged_records, 2);
    assert!(store.delete_session(&id("s")).await.unwrap());
    assert_eq!(store.status().await.unwrap().damaged_records, 0, "deleting takes what was set aside along");
}

#[tokio::test]
async fn a_damaged_session_is_rebuilt_from_its_messages() {
    for append_first in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        store_with(directory.path(), &["What is boca?", "more"]).await;
        with_database(directory.path(), |db| {
            for session in [b"s", b"t"] {
                flip_last_byte(&db.open_tree("sessions").unwrap(), session);
            }
        });
        let store = open(directory.path()).await;
        if append_first {
            let appended = store.append_messages(&id("s"), None, vec![user("third")], NOW).await.unwrap();
            assert_eq!(appended.1[0].index, 2);
        } else {
            assert_eq!(contents(&store, "s").await, ["What is boca?", "more"]);
        }
        assert_eq!(store.session(&id("s")).await.unwrap().title.as_deref(), Some("What is boca?"));
        assert!(matches!(store.session(&id("t")).await, Err(StoreError::SessionNotFound(_))));
        assert_eq!(listed(&store).await, ["s"]);
    }
}

#[tokio::test]
async fn listing_rebuilds_damaged_sessions_too() {
    let directory = tempfile::tempdir().unwrap();
    store_with(directory.path(), &["hello"]).await;
    with_database(directory.path(), |db| flip_last_byte(&db.open_tree("sessions").unwrap(), b"s"));
    let store = open(directory.path()).await;
    assert_eq!(listed(&store).await, ["t", "s"]);
    assert_eq!(store.status().await.unwrap().damaged_records, 1);
}

#[tokio::test]
async fn a_leftover_of_an_unfinished_snapshot_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    store_with(directory.path(), &["kept"]).await;
    fs::write(directory.path().join("sled/snap.00000000FFFFFFFF.generating"), b"cut short").unwrap();
    let (store, report) = try_open(directory.path()).await.unwrap();
    assert_eq!(report.unfinished_snapshots, 1);
    assert!(!report.degraded());
    assert_eq!(contents(&store, "s").await, ["kept"]);
}

#[tokio::test]
async fn a_damaged_snapshot_is_moved_and_everything_is_read_from_the_log() {
    let directory = tempfile::tempdir().unwrap();
    store_with(directory.path(), &["kept"]).await;
    // A second run leaves a snapshot of the first.
    open(directory.path()).await.close().await.unwrap();
    fs::write(directory.path().join("sled/snap.00000000FFFFFFFF"), vec![7; 200]).unwrap();
    let (store, report) = try_open(directory.path()).await.unwrap();
    assert!(report.cause.is_some());
    assert!(report.snapshots_moved_to.as_ref().unwrap().join("snap.00000000FFFFFFFF").exists());
    assert_eq!(report.set_aside, None);
    assert_eq!(contents(&store, "s").await, ["kept"]);
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_kept_and_a_fresh_one_begun() {
    let directory = tempfile::tempdir().unwrap();
    store_with(directory.path(), &["lost"]).await;
    let conf = directory.path().join("sled/conf");
    let mut bytes = fs::read(&conf).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(&conf, &bytes).unwrap();

    let (store, report) = try_open(directory.path()).await.unwrap();
    assert!(report.degraded() && report.cause.is_some());
    let aside = report.set_aside.unwrap();
    assert_eq!(aside, directory.path().join(format!("sled.corrupt-{NOW}")));
    assert_eq!(fs::read(aside.join("conf")).unwrap(), bytes, "kept as it was");
    assert!(aside.join("db").metadata().unwrap().len() > 0);
    assert_eq!(listed(&store).await, [""; 0]);
    store.append_messages(&id("s"), Some(new("s")), vec![user("new")], NOW).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(contents(&open(directory.path()).await, "s").await, ["new"]);
}

#[tokio::test]
async fn noise_anywhere_in_the_log_never_stops_the_store() {
    let original = tempfile::tempdir().unwrap();
    let long = "long text ".repeat(2000);
    store_with(original.path(), &["one", &long, "three"]).await;
    let length = fs::metadata(original.path().join("sled/db")).unwrap().len();
    for at in (0..12).map(|step| step * length / 12) {
        let directory = tempfile::tempdir().unwrap();
        crate::copy_directory(original.path(), directory.path());
        let log = fs::OpenOptions::new().write(true).open(directory.path().join("sled/db")).unwrap();
        log.write_all_at(&[0xa5; 64], at).unwrap();
        let (store, _) = try_open(directory.path()).await.unwrap_or_else(|e| panic!("noise at {at}: {e}"));
        store
            .append_messages(&id("fresh"), Some(new("fresh")), vec![user("still works")], NOW)
            .await
            .unwrap_or_else(|e| panic!("noise at {at}: {e}"));
        assert_eq!(contents(&store, "fresh").await, ["still works"], "noise at {at}");
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"not a directory").unwrap();
    let refused = try_open(&file).await.unwrap_err();
    assert!(refused.to_string().contains(file.to_str().unwrap()), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), b"not a directory");
}
