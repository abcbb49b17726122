//! Alerts as they stand, and what there was to say about them. A change and what it says are one transaction, and it is
//! known until somebody has been told: so nothing is said twice because of a restart, and nothing is left unsaid.

use crate::changes::Changes;
use crate::keys::{self, RecordTree};
use crate::reads::{self, Found};
use crate::store::Store;
use crate::trees::Trees;
use crate::writes::Planned;
use crate::{StoreError, codec};
use boca_core::alert::{AlertChange, AlertState};
use std::collections::BTreeMap;

/// The most bytes of an alert's name.
const MAX_ALERT_BYTES: usize = 64;
/// Changes that are kept, the newest. Those that nobody was told of yet are kept in any case.
pub const MAX_ALERT_CHANGES: u64 = 10_000;

/// A change of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertNotice {
    /// Its number, from 0.
    pub number: u64,
    /// Whose.
    pub alert: String,
    /// What there is to say.
    pub change: AlertChange,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The figure then; `None` where there was none.
    pub figure: Option<f64>,
    /// Whether everybody who is to be told was told, or it was silenced.
    pub is_told: bool,
}

impl Store {
    /// Keeps how an alert stands, and the change that made it so, if there is something to say: its number is yielded.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a name of more than 64 bytes; or a failure of the store.
    pub async fn keep_alert(
        &self,
        alert: &str,
        state: AlertState,
        change: Option<(AlertChange, Option<f64>)>,
        now_unix_ms: u64,
    ) -> Result<Option<u64>, StoreError> {
        if alert.len() > MAX_ALERT_BYTES {
            return Err(StoreError::TooLarge {
                field: "alert",
                bytes: alert.len(),
                max_bytes: MAX_ALERT_BYTES,
            });
        }
        let alert = alert.to_owned();
        self.write(move |trees| keep(trees, alert, state, change, now_unix_ms)).await
    }

    /// How each alert stood last. Damaged ones are set aside and missing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn alerts(&self) -> Result<BTreeMap<String, AlertState>, StoreError> {
        let found = self.read(|opened| {
            let mut value = BTreeMap::new();
            let take = |key: &[u8], state| {
                value.insert(String::from_utf8_lossy(key).into_owned(), state);
            };
            let damaged =
                reads::each_record(&opened.trees, RecordTree::Alerts, &[], codec::decode_alert_state, take)?;
            Ok(Found { value, damaged })
        });
        let found = found.await?;
        self.set_aside(found.damaged).await?;
        Ok(found.value)
    }

    /// The changes of alerts that are kept, oldest first. Damaged ones are set aside and missing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn alert_notices(&self) -> Result<Vec<AlertNotice>, StoreError> {
        let found = self.read(|opened| all_notices(&opened.trees)).await?;
        self.set_aside(found.damaged).await?;
        Ok(found.value)
    }

    /// Notes that everybody was told of a change. Whether it was kept, and nobody had been told.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn alert_told(&self, number: u64) -> Result<bool, StoreError> {
        self.write(move |trees| {
            let mut changes = Changes::default();
            let read = notice(trees, number)?.filter(|notice| !notice.is_told);
            if let Some(told) = &read {
                put_notice(&mut changes, trees, &AlertNotice { is_told: true, ..told.clone() })?;
            }
            Ok((changes, read.is_some()))
        })
        .await
    }
}

fn keep(
    trees: &Trees,
    alert: String,
    state: AlertState,
    change: Option<(AlertChange, Option<f64>)>,
    at_unix_ms: u64,
) -> Planned<Option<u64>> {
    let mut changes = Changes::default();
    changes.put_record(trees, RecordTree::Alerts, alert.as_bytes(), &codec::encode_alert_state(&state)?)?;
    let Some((change, figure)) = change else { return Ok((changes, None)) };
    let last = trees.alert_notices.last().map_err(StoreError::database("read"))?;
    let number = last.and_then(|(key, _)| keys::number(&key)).map_or(0, |last| last.saturating_add(1));
    let is_told = false;
    put_notice(&mut changes, trees, &AlertNotice { number, alert, change, at_unix_ms, figure, is_told })?;
    let first_kept = (number + 1).saturating_sub(MAX_ALERT_CHANGES);
    for key in trees.alert_notices.range(..keys::of_number(first_kept)).keys() {
        let key = key.map_err(StoreError::database("read"))?;
        let read = reads::record(trees, RecordTree::AlertNotices, &key, codec::decode_alert_notice)?;
        if read.is_none_or(|read| read.is_ok_and(|old| old.is_told)) {
            changes.remove_record(trees, RecordTree::AlertNotices, &key)?;
        }
    }
    Ok((changes, Some(number)))
}

fn notice(trees: &Trees, number: u64) -> Result<Option<AlertNotice>, StoreError> {
    let key = keys::of_number(number);
    let read = reads::record(trees, RecordTree::AlertNotices, &key, codec::decode_alert_notice)?;
    Ok(read.and_then(Result::ok))
}

fn put_notice(changes: &mut Changes, trees: &Trees, notice: &AlertNotice) -> Result<(), StoreError> {
    let key = keys::of_number(notice.number);
    changes.put_record(trees, RecordTree::AlertNotices, &key, &codec::encode_alert_notice(notice)?)
}

fn all_notices(trees: &Trees) -> Result<Found<Vec<AlertNotice>>, StoreError> {
    let mut value = Vec::new();
    let damaged =
        reads::each_record(trees, RecordTree::AlertNotices, &[], codec::decode_alert_notice, |_, notice| {
            value.push(notice);
        })?;
    Ok(Found { value, damaged })
}
