//! Alerts outlive restarts, and what there is to say about them is known until it was said.

use crate::open;
use boca_core::alert::{AlertChange, AlertState};
use std::collections::BTreeMap;

#[tokio::test]
async fn a_change_is_known_until_everybody_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let since = "2026-11-23T12:00:00Z".parse().unwrap();
    let pending = AlertState::Pending { since };
    let firing = AlertState::Firing { since, good_since: None };
    assert_eq!(store.keep_alert("slow", pending, None, 1).await.unwrap(), None);
    assert_eq!(
        store.keep_alert("slow", firing, Some((AlertChange::Firing, Some(31.5))), 2).await.unwrap(),
        Some(0)
    );
    assert_eq!(store.keep_alert("dear", pending, None, 3).await.unwrap(), None);
    store.close().await.unwrap();

    let store = open(directory.path()).await;
    let expected = BTreeMap::from([("slow".to_owned(), firing), ("dear".to_owned(), pending)]);
    assert_eq!(store.alerts().await.unwrap(), expected);
    let [notice] = &store.alert_notices().await.unwrap()[..] else { panic!("one change") };
    assert_eq!(
        (notice.alert.as_str(), notice.change, notice.figure),
        ("slow", AlertChange::Firing, Some(31.5))
    );
    assert_eq!((notice.at_unix_ms, notice.is_told), (2, false));
    assert!(store.alert_told(0).await.unwrap());
    assert!(!store.alert_told(0).await.unwrap(), "once");
    assert!(!store.alert_told(7).await.unwrap(), "nobody knows of it");
    let resolved = Some((AlertChange::Resolved, None));
    assert_eq!(store.keep_alert("slow", AlertState::Quiet, resolved, 9).await.unwrap(), Some(1));
    let told: Vec<bool> = store.alert_notices().await.unwrap().iter().map(|notice| notice.is_told).collect();
    assert_eq!(told, [true, false]);
    assert!(store.keep_alert(&"x".repeat(65), AlertState::Quiet, None, 9).await.is_err());
}
