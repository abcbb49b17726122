//! Who may see a question. The one place that keeps private questions at home.

use super::SourceFacts;

/// The sources that may see one question, in whatever part: as source, judge, synthesizer, continuation or fallback.
///
/// Everything that answers a question works on this list and never on the whole one, so a source that is not in it
/// cannot be reached by any rule.
#[derive(Debug, Clone)]
pub struct Admitted<T> {
    sources: Vec<T>,
    kept_out: Vec<SourceFacts>,
}

impl<T> Admitted<T> {
    /// Keeps those that are not local out when the question is private.
    pub fn new(
        all: impl IntoIterator<Item = T>,
        is_private: bool,
        facts: impl Fn(&T) -> SourceFacts,
    ) -> Self {
        let (mut sources, mut kept_out) = (Vec::new(), Vec::new());
        for source in all {
            let its_facts = facts(&source);
            if is_private && !its_facts.is_local {
                kept_out.push(its_facts);
            } else {
                sources.push(source);
            }
        }
        Self { sources, kept_out }
    }

    /// The same sources in another form: who was kept out stays out.
    pub fn map<U>(&self, form: impl Fn(&T) -> U) -> Admitted<U> {
        Admitted { sources: self.sources.iter().map(form).collect(), kept_out: self.kept_out.clone() }
    }

    /// Those that may see it.
    pub fn sources(&self) -> &[T] {
        &self.sources
    }

    /// Those that may not, for the words of a refusal.
    pub fn kept_out(&self) -> &[SourceFacts] {
        &self.kept_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusion::testing::facts;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_private_question_is_seen_by_local_sources_alone(
            locality in proptest::collection::vec(any::<bool>(), 0..8),
            is_private in any::<bool>(),
        ) {
            let all: Vec<SourceFacts> = locality
                .iter()
                .enumerate()
                .map(|(n, is_local)| SourceFacts { is_local: *is_local, ..facts(&format!("p{n}")) })
                .collect();
            let admitted = Admitted::new(all.clone(), is_private, SourceFacts::clone);
            prop_assert_eq!(admitted.sources().len() + admitted.kept_out().len(), all.len());
            if is_private {
                prop_assert!(admitted.sources().iter().all(|source| source.is_local));
                prop_assert!(admitted.kept_out().iter().all(|source| !source.is_local));
            } else {
                prop_assert_eq!(admitted.sources(), &all[..]);
            }
        }
    }
}
