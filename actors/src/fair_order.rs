//! Whose turn is next: parties take turns, and within a party the first who came goes first.
//!
//! A party is a session, or a client. It stands in line once, however much it has waiting: when one of its requests
//! goes, it stands behind all others with the rest. So a request that is alone for its party waits behind at most one
//! of each other party, and who asks a hundred questions at once delays the others by one.

use std::collections::VecDeque;

/// What waits, in a line of parties.
#[derive(Debug)]
pub(crate) struct FairOrder<T> {
    /// The parties with something waiting; the next to have its turn first.
    line: VecDeque<Party<T>>,
}

#[derive(Debug)]
struct Party<T> {
    key: String,
    /// Never empty.
    waiting: VecDeque<T>,
}

impl<T> Default for FairOrder<T> {
    fn default() -> Self {
        Self { line: VecDeque::new() }
    }
}

impl<T> FairOrder<T> {
    /// Adds the newest of a party.
    pub(crate) fn push(&mut self, key: &str, item: T) {
        match self.line.iter_mut().find(|party| party.key == key) {
            Some(party) => party.waiting.push_back(item),
            None => self.line.push_back(Party { key: key.to_owned(), waiting: [item].into() }),
        }
    }

    /// Takes back one that had its turn in vain: it is the next one again.
    pub(crate) fn put_back(&mut self, key: &str, item: T) {
        let place = self.line.iter().position(|party| party.key == key);
        let mut party = place
            .and_then(|place| self.line.remove(place))
            .unwrap_or_else(|| Party { key: key.to_owned(), waiting: VecDeque::new() });
        party.waiting.push_front(item);
        self.line.push_front(party);
    }

    /// Takes the next one.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let mut party = self.line.pop_front()?;
        let item = party.waiting.pop_front();
        if !party.waiting.is_empty() {
            self.line.push_back(party);
        }
        item
    }

    /// Takes out the first that is like this, wherever it stands.
    pub(crate) fn take(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let mut taken = None;
        for party in &mut self.line {
            if let Some(place) = party.waiting.iter().position(&is_it) {
                taken = party.waiting.remove(place);
                break;
            }
        }
        self.forget_empty();
        taken
    }

    /// Takes out all that are not like this.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        for party in &mut self.line {
            party.waiting.retain(&mut is_kept);
        }
        self.forget_empty();
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.line.iter().map(|party| party.waiting.len()).sum()
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// All that wait, in the order in which they go when nobody else comes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let n_rounds = self.line.iter().map(|party| party.waiting.len()).max().unwrap_or(0);
        (0..n_rounds).flat_map(|round| self.line.iter().filter_map(move |party| party.waiting.get(round)))
    }

    fn forget_empty(&mut self) {
        self.line.retain(|party| !party.waiting.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// A party and a number of its own.
    type Item = (u8, usize);

    #[test]
    fn parties_take_turns_whatever_each_of_them_asks_for() {
        let mut order = FairOrder::default();
        for (party, number) in [(1, 0), (1, 1), (1, 2), (2, 3), (3, 4), (2, 5)] {
            order.push(&party.to_string(), (party, number));
        }
        let expected = [(1, 0), (2, 3), (3, 4), (1, 1), (2, 5), (1, 2)];
        assert_eq!(order.iter().copied().collect::<Vec<Item>>(), expected);
        assert_eq!(std::iter::from_fn(|| order.pop()).collect::<Vec<_>>(), expected);
        assert!(order.is_empty());
    }

    #[test]
    fn one_that_is_put_back_is_the_next_again() {
        let mut order = FairOrder::default();
        for item in [(1, 0), (1, 1), (2, 2)] {
            order.push(&item.0.to_string(), item);
        }
        for _ in 0..3 {
            let next = order.pop().unwrap();
            assert_eq!(next, (1, 0));
            order.put_back("1", next);
        }
        assert_eq!(std::iter::from_fn(|| order.pop()).collect::<Vec<_>>(), [(1, 0), (2, 2), (1, 1)]);
        order.put_back("3", (3, 3));
        assert_eq!(order.len(), 1);
    }

    #[derive(Debug, Clone)]
    enum Move {
        Push(u8),
        Pop,
        PopAndPutBack,
        Take(prop::sample::Index),
    }

    fn any_move() -> impl Strategy<Value = Move> {
        prop_oneof![
            5 => (0_u8..5).prop_map(Move::Push),
            4 => Just(Move::Pop),
            1 => Just(Move::PopAndPutBack),
            1 => any::<prop::sample::Index>().prop_map(Move::Take),
        ]
    }

    proptest! {
        /// Whatever comes and goes: who has one waiting waits behind at most one of each other party, each party's
        /// own order holds, nothing is lost, and the order that is shown is the order that comes.
        #[test]
        fn one_waiting_is_behind_at_most_one_of_each_other(moves in prop::collection::vec(any_move(), 1..200)) {
            let mut order = FairOrder::default();
            // By item: how many of each other party went since it became its party's first.
            let mut passed_by: HashMap<Item, HashMap<u8, usize>> = HashMap::new();
            let mut waiting: Vec<Item> = Vec::new();
            for (number, next) in moves.into_iter().enumerate() {
                match next {
                    Move::Push(party) => {
                        order.push(&party.to_string(), (party, number));
                        waiting.push((party, number));
                    }
                    Move::PopAndPutBack => if let Some(item) = order.pop() {
                        order.put_back(&item.0.to_string(), item);
                        prop_assert_eq!(order.iter().next(), Some(&item));
                    },
                    Move::Take(at) => if !waiting.is_empty() {
                        let item = waiting.swap_remove(at.index(waiting.len()));
                        prop_assert_eq!(order.take(|one| *one == item), Some(item));
                    },
                    Move::Pop => {
                        let promised = order.iter().next().copied();
                        let popped = order.pop();
                        prop_assert_eq!(popped, promised);
                        prop_assert_eq!(popped.is_none(), waiting.is_empty());
                        let Some((party, popped_number)) = popped else { continue };
                        let of_party = waiting.iter().filter(|item| item.0 == party).map(|item| item.1);
                        prop_assert_eq!(of_party.min(), Some(popped_number), "the first of its party goes first");
                        waiting.retain(|item| *item != (party, popped_number));
                        passed_by.remove(&(party, popped_number));
                        for other in (0..5).filter(|other| *other != party) {
                            let first = waiting.iter().filter(|item| item.0 == other).min_by_key(|item| item.1);
                            let Some(first) = first else { continue };
                            let passes = passed_by.entry(*first).or_default().entry(party).or_default();
                            *passes += 1;
                            prop_assert!(*passes <= 1, "{:?} waited behind {} of party {}", first, passes, party);
                        }
                    }
                }
                prop_assert_eq!(order.len(), waiting.len());
                prop_assert_eq!(order.iter().count(), waiting.len());
                prop_assert_eq!(order.is_empty(), waiting.is_empty());
            }
        }
    }
}
