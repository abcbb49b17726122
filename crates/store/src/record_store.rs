//! The calls of the store that keep the record of answers and of what providers used.

use crate::answers::{self, AnswerRecord, MAX_ANSWER_RECORDS, Verdict};
use crate::keys::{self, RecordTree};
use crate::reads::{self, Found};
use crate::store::Store;
use crate::trees::Trees;
use crate::{StoreError, codec, record_writes};
use boca_core::{LocalDay, ProviderUsage, RequestId};
use std::collections::BTreeMap;

/// The most bytes of a provider's name.
const MAX_PROVIDER_BYTES: usize = 64;

impl Store {
    /// Adds an answer to the running comparison. The newest [`MAX_ANSWER_RECORDS`] are kept.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn add_answer(&self, answer: AnswerRecord) -> Result<(), StoreError> {
        self.write(move |trees| record_writes::add_answer(trees, &answer, MAX_ANSWER_RECORDS)).await
    }

    /// Notes what a person thinks of the answer to a request. Yields the answer as it was before, or `None` when no
    /// such answer is kept.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn judge_answer(
        &self,
        id: &RequestId,
        verdict: Verdict,
    ) -> Result<Option<AnswerRecord>, StoreError> {
        let id = id.clone();
        self.write(move |trees| record_writes::judge(trees, &id, verdict)).await
    }

    /// Every answer of the running comparison, oldest first. Damaged ones are set aside and missing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn answers(&self) -> Result<Vec<AnswerRecord>, StoreError> {
        let found = self.read(|opened| all_answers(&opened.trees)).await?;
        self.set_aside(found.damaged).await?;
        Ok(found.value)
    }

    /// Adds to what a provider used on a day, and yields the sum.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a name of more than 64 bytes, or a failure of the store.
    pub async fn add_usage(
        &self,
        provider: &str,
        day: LocalDay,
        more: ProviderUsage,
    ) -> Result<ProviderUsage, StoreError> {
        check_provider(provider)?;
        let provider = provider.to_owned();
        self.write(move |trees| record_writes::add_usage(trees, &provider, day, &more)).await
    }

    /// What each provider used on a day; one that used nothing is missing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn usage_on(&self, day: LocalDay) -> Result<BTreeMap<String, ProviderUsage>, StoreError> {
        let found = self.read(move |opened| usage_on(&opened.trees, day)).await?;
        self.set_aside(found.damaged).await?;
        Ok(found.value)
    }
}

fn check_provider(provider: &str) -> Result<(), StoreError> {
    match provider.len() {
        0..=MAX_PROVIDER_BYTES => Ok(()),
        bytes => Err(StoreError::TooLarge { field: "provider", bytes, max_bytes: MAX_PROVIDER_BYTES }),
    }
}

fn all_answers(trees: &Trees) -> Result<Found<Vec<AnswerRecord>>, StoreError> {
    let mut value = Vec::new();
    let damaged = reads::each_record(trees, RecordTree::Answers, &[], codec::decode_answer, |_, answer| {
        value.push(answer);
    })?;
    Ok(Found { value, damaged })
}

fn usage_on(trees: &Trees, day: LocalDay) -> Result<Found<BTreeMap<String, ProviderUsage>>, StoreError> {
    let mut value = BTreeMap::new();
    let prefix = answers::day_number(day).to_be_bytes();
    let damaged =
        reads::each_record(trees, RecordTree::DayUsage, &prefix, codec::decode_day_usage, |key, usage| {
            value.extend(keys::provider_of_day_usage(key).map(|provider| (provider, usage)));
        })?;
    Ok(Found { value, damaged })
}
