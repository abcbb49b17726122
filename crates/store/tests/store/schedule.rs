//! Slots are claimed once, and have one summary at most.

use crate::open;
use crate::recovery::{flip_last_byte, with_database};
use boca_store::{Claim, NewSummary, PassedSlots, SlotState, Store};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn written(job: &str, slot: Option<u64>) -> NewSummary {
    NewSummary {
        job: job.into(),
        slot_unix_ms: slot,
        from_unix_ms: 1,
        until_unix_ms: 2,
        table: "{}".into(),
        text: "nothing happened. ".repeat(2000),
        written_by: Some("demo".into()),
        took_ms: 12,
    }
}

async fn states(store: &Store, job: &str) -> Vec<(u64, SlotState)> {
    store.slots(job).await.unwrap().into_iter().map(|slot| (slot.at_unix_ms, slot.state)).collect()
}

#[tokio::test]
async fn a_slot_has_one_summary_and_runs_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    assert_eq!(store.claim_slot("daily", 100, "first", 3, 1).await.unwrap(), Claim::Granted { attempt: 1 });
    assert_eq!(store.claim_slot("daily", 100, "first", 3, 2).await.unwrap(), Claim::Taken);
    assert_eq!(store.claim_slot("daily2", 100, "first", 3, 2).await.unwrap(), Claim::Granted { attempt: 1 });
    let nobodys = store.store_summary(written("daily", Some(100)), "second", 3).await.unwrap();
    assert_eq!(nobodys, None, "it is not the second one's");
    assert_eq!(store.store_summary(written("daily", Some(100)), "first", 3).await.unwrap(), Some(0));
    assert_eq!(store.store_summary(written("daily", Some(100)), "first", 4).await.unwrap(), None);
    assert_eq!(store.store_summary(written("daily", None), "first", 5).await.unwrap(), Some(1));
    store.close().await.unwrap();

    let store = open(directory.path()).await;
    assert_eq!(states(&store, "daily").await, [(100, SlotState::Stored { summary: 0 })]);
    assert_eq!(store.claim_slot("daily", 100, "second", 3, 6).await.unwrap(), Claim::Taken);
    let summary = store.summary(0).await.unwrap().unwrap();
    assert_eq!((summary.number, summary.created_unix_ms, &summary.new), (0, 3, &written("daily", Some(100))));
    let numbers = |summaries: Vec<boca_store::Summary>| -> Vec<u64> {
        summaries.into_iter().map(|summary| summary.number).collect()
    };
    assert_eq!(numbers(store.summaries(10, None).await.unwrap()), [1, 0]);
    assert_eq!(numbers(store.summaries(1, None).await.unwrap()), [1]);
    assert_eq!(numbers(store.summaries(10, Some(1)).await.unwrap()), [0]);
    assert_eq!(store.forget_summaries("daily", 5).await.unwrap(), 1);
    assert_eq!(store.forget_summaries("other", 50).await.unwrap(), 0);
    assert_eq!(numbers(store.summaries(10, None).await.unwrap()), [1]);
    assert_eq!(
        store.claim_slot("daily", 100, "second", 3, 6).await.unwrap(),
        Claim::Taken,
        "it is still known"
    );
}

#[tokio::test]
async fn a_claim_of_a_daemon_that_is_gone_is_taken_over_so_often() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    for (attempt, owner) in [(1, "a"), (2, "b"), (3, "c")] {
        let claim = store.claim_slot("daily", 100, owner, 3, 1).await.unwrap();
        assert_eq!(claim, Claim::Granted { attempt });
    }
    assert!(!store.fail_slot("daily", 100, "a", "late".into()).await.unwrap(), "it is not a's any more");
    assert_eq!(store.claim_slot("daily", 100, "d", 3, 1).await.unwrap(), Claim::Spent);
    let [(100, SlotState::Failed { reason })] = &states(&store, "daily").await[..] else {
        panic!("one slot")
    };
    assert_eq!(reason, "the daemon ended 3 times while it ran");
    assert_eq!(store.claim_slot("daily", 100, "e", 3, 1).await.unwrap(), Claim::Taken);
    store.claim_slot("daily", 200, "e", 3, 1).await.unwrap();
    assert!(store.fail_slot("daily", 200, "e", "no model".into()).await.unwrap());
    assert_eq!(states(&store, "daily").await[1], (200, SlotState::Failed { reason: "no model".into() }));
}

#[tokio::test]
async fn slots_that_are_let_go_are_noted_with_the_mark() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    assert_eq!(store.slot_mark("daily").await.unwrap(), None);
    let passed = PassedSlots { first_unix_ms: 10, last_unix_ms: 30, n: 3, is_more: false };
    let state = SlotState::Passed { first_unix_ms: 10, n: 3, is_more: false };
    store.mark_slots("daily", Some(passed), 35).await.unwrap();
    store.mark_slots("daily", None, 40).await.unwrap();
    assert_eq!(store.slot_mark("daily").await.unwrap(), Some(40));
    assert_eq!(states(&store, "daily").await, [(30, state.clone())]);
    // A clock that was wrong brings its time again.
    assert_eq!(store.claim_slot("daily", 30, "a", 3, 41).await.unwrap(), Claim::Granted { attempt: 1 });
    let both = states(&store, "daily").await;
    assert!(
        matches!(&both[..], [(30, SlotState::Claimed { .. }), (30, passed)] if *passed == state),
        "{both:?}"
    );
    let long = "x".repeat(65);
    assert!(store.mark_slots(&long, None, 1).await.is_err());
    assert!(store.claim_slot(&long, 1, "a", 3, 1).await.is_err());
}

#[tokio::test]
async fn a_damaged_slot_does_not_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.claim_slot("daily", 100, "a", 3, 1).await.unwrap();
    store.close().await.unwrap();
    let key = b"daily\0\0\0\0\0\0\0\0\x64";
    with_database(directory.path(), |db| flip_last_byte(&db.open_tree("slots").unwrap(), key));
    let store = open(directory.path()).await;
    assert_eq!(store.claim_slot("daily", 100, "b", 3, 2).await.unwrap(), Claim::Taken);
}

#[derive(Debug, Clone)]
enum Deed {
    Claim(u64),
    Store(u64),
    Fail(u64),
    Restart,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let slot = 0u64..4;
    let deed = prop_oneof![
        3 => slot.clone().prop_map(Deed::Claim),
        3 => slot.clone().prop_map(Deed::Store),
        1 => slot.prop_map(Deed::Fail),
        1 => Just(Deed::Restart),
    ];
    prop::collection::vec(deed, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_happens_a_slot_has_one_summary_at_most(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut store = open(directory.path()).await;
            let mut n_runs = 0;
            for deed in deeds {
                let owner = format!("run {n_runs}");
                match deed {
                    Deed::Claim(slot) => drop(store.claim_slot("job", slot, &owner, 3, 1).await.unwrap()),
                    Deed::Store(slot) => drop(store.store_summary(written("job", Some(slot)), &owner, 1).await.unwrap()),
                    Deed::Fail(slot) => drop(store.fail_slot("job", slot, &owner, "no".into()).await.unwrap()),
                    Deed::Restart => {
                        store.close().await.unwrap();
                        store = open(directory.path()).await;
                        n_runs += 1;
                    }
                }
            }
            let summaries = store.summaries(100, None).await.unwrap();
            let mut of_slot: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            for summary in summaries {
                of_slot.entry(summary.new.slot_unix_ms.unwrap()).or_default().push(summary.number);
            }
            for (slot, state) in states(&store, "job").await {
                let expected = if let SlotState::Stored { summary } = state { vec![summary] } else { Vec::new() };
                prop_assert_eq!(of_slot.remove(&slot).unwrap_or_default(), expected, "slot {}", slot);
            }
            prop_assert!(of_slot.is_empty(), "summaries of slots that nobody claimed: {of_slot:?}");
            Ok(())
        })?;
    }
}
