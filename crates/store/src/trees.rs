//! The trees: few and fixed, because sled grows poorly with their number.

use crate::StoreError;

/// Every tree of the store.
#[derive(Debug, Clone)]
pub(crate) struct Trees {
    /// `meta` → the store's format and origin.
    pub(crate) meta: sled::Tree,
    /// Session id → session.
    pub(crate) sessions: sled::Tree,
    /// Session id, index → message.
    pub(crate) messages: sled::Tree,
    /// Tree, key, number → the rest of a record that is too large for one value.
    pub(crate) parts: sled::Tree,
    /// Time of the last change, session id → nothing: the order of the list of sessions.
    pub(crate) by_updated: sled::Tree,
    /// Tree, key → a record that could not be read, as it was.
    pub(crate) damaged: sled::Tree,
    /// Number → how an answer came about.
    pub(crate) answers: sled::Tree,
    /// Request id → number of its answer's record.
    pub(crate) answers_by_request: sled::Tree,
    /// Day, provider → what it used on that day.
    pub(crate) day_usage: sled::Tree,
    /// Batch id → batch.
    pub(crate) batches: sled::Tree,
    /// Batch id, number → question.
    pub(crate) batch_lines: sled::Tree,
    /// Batch id, number → result.
    pub(crate) batch_results: sled::Tree,
    /// Job, time → what became of a slot.
    pub(crate) slots: sled::Tree,
    /// Job → until when its slots were looked at.
    pub(crate) slot_marks: sled::Tree,
    /// Number → summary.
    pub(crate) summaries: sled::Tree,
    /// Alert → how it stands.
    pub(crate) alerts: sled::Tree,
    /// Number → a change of an alert.
    pub(crate) alert_notices: sled::Tree,
    /// Period → what was measured in it.
    pub(crate) measured: sled::Tree,
}

/// The name of a tree, for changes that are computed before they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TreeName {
    Meta,
    Sessions,
    Messages,
    Parts,
    ByUpdated,
    Damaged,
    Answers,
    AnswersByRequest,
    DayUsage,
    Batches,
    BatchLines,
    BatchResults,
    Slots,
    SlotMarks,
    Summaries,
    Alerts,
    AlertNotices,
    Measured,
}

impl TreeName {
    /// Its place in [`Trees::all`].
    pub(crate) fn place(self) -> usize {
        self as usize
    }
}

impl Trees {
    /// Opens every tree, creating those that are missing.
    pub(crate) fn open(db: &sled::Db) -> Result<Self, sled::Error> {
        Ok(Self {
            meta: db.open_tree("meta")?,
            sessions: db.open_tree("sessions")?,
            messages: db.open_tree("messages")?,
            parts: db.open_tree("parts")?,
            by_updated: db.open_tree("sessions_by_updated")?,
            damaged: db.open_tree("damaged")?,
            answers: db.open_tree("answers")?,
            answers_by_request: db.open_tree("answers_by_request")?,
            day_usage: db.open_tree("provider_usage_by_day")?,
            batches: db.open_tree("batches")?,
            batch_lines: db.open_tree("batch_lines")?,
            batch_results: db.open_tree("batch_results")?,
            slots: db.open_tree("slots")?,
            slot_marks: db.open_tree("slot_marks")?,
            summaries: db.open_tree("summaries")?,
            alerts: db.open_tree("alerts")?,
            alert_notices: db.open_tree("alert_notices")?,
            measured: db.open_tree("measured")?,
        })
    }

    /// Every tree, in the order of [`TreeName`].
    pub(crate) fn all(&self) -> [&sled::Tree; 18] {
        [
            &self.meta,
            &self.sessions,
            &self.messages,
            &self.parts,
            &self.by_updated,
            &self.damaged,
            &self.answers,
            &self.answers_by_request,
            &self.day_usage,
            &self.batches,
            &self.batch_lines,
            &self.batch_results,
            &self.slots,
            &self.slot_marks,
            &self.summaries,
            &self.alerts,
            &self.alert_notices,
            &self.measured,
        ]
    }

    /// One value.
    pub(crate) fn get(&self, tree: TreeName, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.all()[tree.place()].get(key).map_err(StoreError::database("read"))
    }

    /// Every key with this prefix, in order.
    pub(crate) fn keys_with_prefix(
        &self,
        tree: TreeName,
        prefix: &[u8],
    ) -> Result<Vec<sled::IVec>, StoreError> {
        self.all()[tree.place()]
            .scan_prefix(prefix)
            .keys()
            .collect::<Result<_, _>>()
            .map_err(StoreError::database("read"))
    }

    /// Every entry with this prefix, in order.
    pub(crate) fn entries_with_prefix(
        &self,
        tree: TreeName,
        prefix: &[u8],
    ) -> Result<Vec<(sled::IVec, sled::IVec)>, StoreError> {
        self.all()[tree.place()]
            .scan_prefix(prefix)
            .collect::<Result<_, _>>()
            .map_err(StoreError::database("read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_trees_stand_in_one_order() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let trees = Trees::open(&db).unwrap();
        let expected = [
            (TreeName::Meta, &trees.meta),
            (TreeName::Sessions, &trees.sessions),
            (TreeName::Messages, &trees.messages),
            (TreeName::Parts, &trees.parts),
            (TreeName::ByUpdated, &trees.by_updated),
            (TreeName::Damaged, &trees.damaged),
            (TreeName::Answers, &trees.answers),
            (TreeName::AnswersByRequest, &trees.answers_by_request),
            (TreeName::DayUsage, &trees.day_usage),
            (TreeName::Batches, &trees.batches),
            (TreeName::BatchLines, &trees.batch_lines),
            (TreeName::BatchResults, &trees.batch_results),
            (TreeName::Slots, &trees.slots),
            (TreeName::SlotMarks, &trees.slot_marks),
            (TreeName::Summaries, &trees.summaries),
            (TreeName::Alerts, &trees.alerts),
            (TreeName::AlertNotices, &trees.alert_notices),
            (TreeName::Measured, &trees.measured),
        ];
        for (at, (name, tree)) in expected.into_iter().enumerate() {
            assert_eq!(name.place(), at);
            assert_eq!(trees.all()[at].name(), tree.name());
        }
    }
}
