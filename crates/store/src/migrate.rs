//! The format of the whole store, and the steps from each format to the next.

use crate::StoreError;
use crate::changes::Changes;
use crate::codec;
use crate::disk::MetaRecord;
use crate::envelope::Damage;
use crate::trees::{TreeName, Trees};

/// The format that this version writes.
pub(crate) const FORMAT: u32 = 2;

const META_KEY: &[u8] = b"meta";

/// Plans the way from one format to the next. Applied in one transaction with the new format number, so that a crash
/// leaves either the old format or the new one.
pub(crate) type Step = fn(&Trees) -> Result<Changes, StoreError>;

/// `STEPS[n]` leads from format n + 1 to n + 2.
pub(crate) const STEPS: &[Step] = &[to_format_2];

/// Format 2 adds what several providers need: private sessions, traces, the record of answers and usage by day. Every
/// record of format 1 is one of format 2 as it stands; the number keeps a version away that would forget that a
/// session is private.
fn to_format_2(_: &Trees) -> Result<Changes, StoreError> {
    Ok(Changes::default())
}

/// What was found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Migration {
    /// The store was new, or its own record was damaged and written anew.
    pub(crate) found: Option<u32>,
}

/// Brings the store to the format that `steps` lead to.
///
/// # Errors
/// [`StoreError::NewerFormat`] when the store is ahead of this version.
pub(crate) fn migrate(
    trees: &Trees,
    steps: &[Step],
    app_version: &str,
    now_unix_ms: u64,
) -> Result<Migration, StoreError> {
    let target = u32::try_from(steps.len()).expect("there are few steps") + 1;
    let record = trees.get(TreeName::Meta, META_KEY)?;
    let meta = match record.as_deref().map(codec::decode_meta) {
        Some(Ok(meta)) => meta,
        Some(Err(Damage::Schema(_))) => return Err(newer_than_known(target)),
        missing_or_damaged => {
            let mut changes = Changes::default();
            if let (Some(Err(damage)), Some(bytes)) = (missing_or_damaged, &record) {
                tracing::warn!(%damage, "the store's own record is damaged and is written anew");
                changes.put(TreeName::Damaged, META_KEY.to_vec(), bytes.to_vec());
            }
            let meta =
                MetaRecord { format: target, app_version: app_version.into(), created_unix_ms: now_unix_ms };
            put_meta(&mut changes, &meta)?;
            changes.apply(trees)?;
            return Ok(Migration { found: None });
        }
    };
    if meta.format > target {
        return Err(StoreError::NewerFormat {
            found: meta.format,
            supported: target,
            written_by: meta.app_version,
        });
    }
    let mut format = meta.format;
    for step in steps.iter().skip(format.saturating_sub(1) as usize) {
        let mut changes = step(trees)?;
        format += 1;
        put_meta(&mut changes, &MetaRecord { format, app_version: app_version.into(), ..meta.clone() })?;
        changes.apply(trees)?;
        tracing::info!(from = format - 1, to = format, "migrated the store");
    }
    Ok(Migration { found: Some(meta.format) })
}

/// A record in good order that this version cannot read comes from a later one.
fn newer_than_known(supported: u32) -> StoreError {
    StoreError::NewerFormat { found: supported + 1, supported, written_by: "of a later version".into() }
}

fn put_meta(changes: &mut Changes, meta: &MetaRecord) -> Result<(), StoreError> {
    changes.put(TreeName::Meta, META_KEY.to_vec(), codec::encode_meta(meta)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees() -> Trees {
        Trees::open(&sled::Config::new().temporary(true).open().unwrap()).unwrap()
    }

    fn format_of(trees: &Trees) -> u32 {
        codec::decode_meta(&trees.get(TreeName::Meta, META_KEY).unwrap().unwrap()).unwrap().format
    }

    fn mark(trees: &Trees, key: &[u8]) -> Result<Changes, StoreError> {
        let mut changes = Changes::default();
        let count = trees.get(TreeName::Parts, key)?.map_or(0, |value| value[0]);
        changes.put(TreeName::Parts, key.to_vec(), vec![count + 1]);
        Ok(changes)
    }

    #[test]
    fn this_version_writes_the_format_its_steps_lead_to() {
        assert_eq!(FORMAT as usize, STEPS.len() + 1);
    }

    #[test]
    fn each_step_runs_once_and_in_order() {
        let trees = trees();
        let all: [Step; 2] = [|trees| mark(trees, b"first"), |trees| mark(trees, b"second")];
        assert_eq!(migrate(&trees, &[], "1", 0).unwrap(), Migration { found: None });
        assert_eq!(migrate(&trees, &all[..1], "2", 0).unwrap(), Migration { found: Some(1) });
        assert_eq!(format_of(&trees), 2);
        assert_eq!(migrate(&trees, &all, "3", 0).unwrap(), Migration { found: Some(2) });
        assert_eq!(migrate(&trees, &all, "3", 0).unwrap(), Migration { found: Some(3) });
        assert_eq!(format_of(&trees), 3);
        for key in [b"first".as_slice(), b"second"] {
            assert_eq!(trees.get(TreeName::Parts, key).unwrap().unwrap().as_ref(), [1]);
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_format_as_it_was() {
        let trees = trees();
        let failing: [Step; 1] = [|_| Err(StoreError::Closed)];
        migrate(&trees, &[], "1", 0).unwrap();
        assert!(migrate(&trees, &failing, "2", 0).is_err());
        assert_eq!(format_of(&trees), 1);
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let trees = trees();
        let all: [Step; 1] = [|trees| mark(trees, b"x")];
        migrate(&trees, &[], "1", 0).unwrap();
        migrate(&trees, &all, "9.0", 0).unwrap();
        let refused = migrate(&trees, &[], "1", 0).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the store has format 2, written by boca 9.0, but this boca reads formats up to 1; \
             use that version or another `--state-dir`"
        );
        assert_eq!(format_of(&trees), 2);
    }

    #[test]
    fn an_own_record_of_a_later_schema_is_refused_and_left_alone() {
        let trees = trees();
        let later = crate::envelope::wrap(2, b"{}");
        trees.meta.insert(META_KEY, later.as_slice()).unwrap();
        assert!(matches!(migrate(&trees, &[], "1", 0), Err(StoreError::NewerFormat { .. })));
        assert_eq!(trees.meta.get(META_KEY).unwrap().unwrap().as_ref(), later);
    }

    #[test]
    fn a_damaged_own_record_is_set_aside() {
        let trees = trees();
        trees.meta.insert(META_KEY, b"nonsense".as_slice()).unwrap();
        assert_eq!(migrate(&trees, &[], "1", 0).unwrap(), Migration { found: None });
        assert_eq!(format_of(&trees), 1);
        assert_eq!(trees.damaged.get(META_KEY).unwrap().unwrap().as_ref(), b"nonsense");
    }
}
