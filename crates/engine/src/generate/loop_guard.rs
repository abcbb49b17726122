//! Finds out that a model says the same thing over and over.
//!
//! For every period up to [`MAX_PERIOD`] it counts how many tokens in a row were equal to the one a period before. A
//! text that turns in a circle makes one of these runs grow without end, and no other text does for long.

use std::collections::VecDeque;

/// The longest circle that is noticed, in tokens.
const MAX_PERIOD: usize = 128;
/// A circle has to go on for so many tokens: rows of dashes, empty cells of tables and lists of zeros are shorter.
const MIN_TOKENS: usize = 256;
/// A circle has to be said again so often: a stanza or a block of code may well come three times.
const MIN_REPEATS: usize = 4;

/// Watches one text.
#[derive(Debug)]
pub(super) struct LoopGuard {
    /// The last tokens, the newest in front.
    recent: VecDeque<u32>,
    /// For each period, less 1: tokens in a row that were equal to the one a period before.
    runs: [usize; MAX_PERIOD],
}

impl LoopGuard {
    pub(super) fn new() -> Self {
        Self { recent: VecDeque::with_capacity(MAX_PERIOD + 1), runs: [0; MAX_PERIOD] }
    }

    /// Takes the next token in; true when the text has been turning in a circle for too long.
    pub(super) fn is_looping_after(&mut self, token: u32) -> bool {
        let mut is_looping = false;
        // A period that nothing lies before has no run.
        for (period, (before, run)) in (1..).zip(self.recent.iter().zip(&mut self.runs)) {
            *run = if *before == token { *run + 1 } else { 0 };
            is_looping |= *run >= tokens_of_a_loop(period);
        }
        self.recent.push_front(token);
        self.recent.truncate(MAX_PERIOD);
        is_looping
    }

    /// Forgets everything: what comes now is another text.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
        self.runs = [0; MAX_PERIOD];
    }
}

/// How long a run of this period is too long.
fn tokens_of_a_loop(period: usize) -> usize {
    MIN_TOKENS.max(MIN_REPEATS * period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// After how many tokens it trips.
    fn trips(tokens: impl IntoIterator<Item = u32>) -> Option<usize> {
        let mut guard = LoopGuard::new();
        (1..).zip(tokens).find(|(_, token)| guard.is_looping_after(*token)).map(|(n, _)| n)
    }

    #[test]
    fn what_is_no_loop_passes() {
        // Token 0 is a line's end.
        let dashes = std::iter::repeat_n(1, 200);
        let list = (0..500).flat_map(|n| [2, 3, 1000 + n, 0]);
        let table = (0..300).flat_map(|n| [4, 5 + n % 7, 4, 50 + n, 4, 0]);
        let zeros = std::iter::repeat_n([6, 7], 100).flatten();
        for text in [dashes.collect::<Vec<u32>>(), list.collect(), table.collect(), zeros.collect()] {
            assert_eq!(trips(text), None);
        }
    }

    #[test]
    fn what_follows_a_forgotten_text_counts_anew() {
        let mut guard = LoopGuard::new();
        let first = (0..1000).find(|_| guard.is_looping_after(5)).unwrap();
        guard.forget();
        assert_eq!((0..1000).find(|_| guard.is_looping_after(5)), Some(first));
    }

    proptest! {
        #[test]
        fn every_circle_is_noticed_in_time(
            start in prop::collection::vec(0_u32..1000, 0..300),
            period in 1_usize..=MAX_PERIOD,
            seed in any::<u32>(),
        ) {
            let circle: Vec<u32> = (0..period as u32).map(|n| seed.wrapping_mul(n + 1) % 3000 + 5000).collect();
            let text = start.iter().copied().chain(circle.iter().copied().cycle());
            let bound = start.len() + period + tokens_of_a_loop(period);
            let at = trips(text.take(bound)).expect("it is noticed");
            prop_assert!(at > start.len() + MIN_TOKENS / 2, "not before it has gone on for a while: {}", at);
        }

        /// Whatever trips it does turn in a circle, and what does not trip it does not.
        #[test]
        fn it_says_what_a_look_at_the_whole_text_says(
            words in prop::collection::vec((prop::collection::vec(0_u32..4, 1..40), 1_usize..60), 1..8),
        ) {
            let mut text = Vec::new();
            for (word, times) in words {
                text.extend(word.iter().copied().cycle().take(word.len() * times));
            }
            let loops = |end: usize| {
                (1..=MAX_PERIOD).any(|period| {
                    let n = tokens_of_a_loop(period);
                    end >= n + period && (end - n..end).all(|at| text[at] == text[at - period])
                })
            };
            prop_assert_eq!(trips(text.iter().copied()), (1..=text.len()).find(|end| loops(*end)));
        }

        /// Each token is drawn by itself, from few: such a text repeats itself now and then, never for long.
        #[test]
        fn a_text_that_does_not_repeat_passes(text in prop::collection::vec(0_u32..8, 0..4000)) {
            prop_assert_eq!(trips(text), None);
        }
    }
}
