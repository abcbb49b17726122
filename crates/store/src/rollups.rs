//! What was measured, period by period.

use crate::changes::Changes;
use crate::keys::{self, RecordTree};
use crate::reads::{self, Found};
use crate::store::Store;
use crate::trees::Trees;
use crate::writes::Planned;
use crate::{StoreError, codec};
use boca_core::rollup::{Grain, Period, SeriesKey, Tally, thinning};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What was measured in one period, of each kind of request.
pub type Measured = BTreeMap<SeriesKey, Tally>;

/// Periods that one thinning takes on: a write that is too long keeps the others waiting. The next one goes on.
const MAX_THINNED: usize = 500;

impl Store {
    /// Adds to what was measured in a period.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn add_measured(&self, period: Period, measured: Measured) -> Result<(), StoreError> {
        self.write(move |trees| {
            let mut changes = Changes::default();
            let mut sum = read_or_set_aside(trees, &mut changes, period)?;
            add(&mut sum, &measured);
            put(&mut changes, trees, period, &sum)?;
            Ok((changes, ()))
        })
        .await
    }

    /// What was measured in the periods that begin from one time on and before another, in seconds since 1970; in no order.
    /// Damaged ones are set aside and missing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn measured(&self, from_s: i64, until_s: i64) -> Result<Vec<(Period, Measured)>, StoreError> {
        let found = self.read(move |opened| between(&opened.trees, from_s, until_s)).await?;
        self.set_aside(found.damaged).await?;
        Ok(found.value)
    }

    /// Makes what has aged coarser, and forgets what is too old. Yields how many periods it changed; it is to be called again
    /// until that is none.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn thin_measured(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.write(move |trees| thin(trees, now)).await
    }
}

fn add(sum: &mut Measured, more: &Measured) {
    for (key, tally) in more {
        sum.entry(key.clone()).or_default().add(tally);
    }
}

fn put(changes: &mut Changes, trees: &Trees, period: Period, measured: &Measured) -> Result<(), StoreError> {
    changes.put_record(trees, RecordTree::Measured, &keys::period(period), &codec::encode_measured(measured)?)
}

/// What is known of a period. A damaged record is set aside, and what comes begins anew.
fn read_or_set_aside(trees: &Trees, changes: &mut Changes, period: Period) -> Result<Measured, StoreError> {
    let key = keys::period(period);
    match reads::record(trees, RecordTree::Measured, &key, codec::decode_measured)? {
        None => Ok(Measured::default()),
        Some(Ok(measured)) => Ok(measured),
        Some(Err(_)) => {
            changes.set_aside(trees, RecordTree::Measured, &key)?;
            Ok(Measured::default())
        }
    }
}

fn between(trees: &Trees, from_s: i64, until_s: i64) -> Result<Found<Vec<(Period, Measured)>>, StoreError> {
    let mut found = Found { value: Vec::new(), damaged: Vec::new() };
    for grain in Grain::ALL {
        let begin = |begin_s| keys::period(Period { grain, begin_s });
        for key in trees.measured.range(begin(from_s)..begin(until_s.max(from_s))).keys() {
            let key = key.map_err(StoreError::database("read"))?;
            let Some(period) = keys::parse_period(&key) else { continue };
            match reads::record(trees, RecordTree::Measured, &key, codec::decode_measured)? {
                Some(Ok(measured)) => found.value.push((period, measured)),
                Some(Err(damage)) => {
                    let key = key.to_vec();
                    found.damaged.push(reads::DamagedRecord { tree: RecordTree::Measured, key, damage });
                }
                None => {}
            }
        }
    }
    Ok(found)
}

fn thin(trees: &Trees, now: Timestamp) -> Planned<usize> {
    let mut changes = Changes::default();
    let keys_of_all = trees.measured.iter().keys().collect::<Result<Vec<_>, _>>();
    let periods = keys_of_all.map_err(StoreError::database("read"))?;
    let todo = thinning(periods.iter().filter_map(|key| keys::parse_period(key)), now);
    let mut n_changed = 0;
    for period in todo.drop.into_iter().take(MAX_THINNED) {
        changes.remove_record(trees, RecordTree::Measured, &keys::period(period))?;
        n_changed += 1;
    }
    for (into, from) in todo.merge {
        if n_changed >= MAX_THINNED {
            break;
        }
        let mut sum = read_or_set_aside(trees, &mut changes, into)?;
        for period in from {
            add(&mut sum, &read_or_set_aside(trees, &mut changes, period)?);
            changes.remove_record(trees, RecordTree::Measured, &keys::period(period))?;
            n_changed += 1;
        }
        put(&mut changes, trees, into, &sum)?;
    }
    Ok((changes, n_changed))
}
