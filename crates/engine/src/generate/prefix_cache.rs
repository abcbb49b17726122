//! Which sequences hold the beginning of a prompt already: a tree over token ids.
//!
//! Every leaf is a sequence of the backend that holds exactly the tokens on the way to it. Beginnings that sequences
//! share are stored once, as they are in a backend whose forks share blocks. A sequence that is the beginning of
//! another one is not kept beside it.

use crate::backend::SequenceId;

/// The tree, bounded by its tokens.
#[derive(Debug)]
pub(super) struct PrefixCache {
    root: Node,
    max_tokens: usize,
    n_tokens: usize,
    /// Counts uses, so that the oldest is known.
    clock: u64,
}

/// A run of tokens, and what may follow it.
#[derive(Debug, Default)]
struct Node {
    tokens: Vec<u32>,
    /// No two begin with the same token.
    children: Vec<Node>,
    /// Of leaves.
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    sequence: SequenceId,
    last_used: u64,
}

/// A sequence that begins like a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) sequence: SequenceId,
    /// How many tokens they share.
    pub(super) n_tokens: usize,
}

/// A sequence that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) tokens: Vec<u32>,
    pub(super) sequence: SequenceId,
    pub(super) last_used: u64,
}

impl PrefixCache {
    /// An empty one that holds at most `max_tokens`.
    pub(super) fn new(max_tokens: usize) -> Self {
        Self { root: Node::default(), max_tokens, n_tokens: 0, clock: 0 }
    }

    /// Tokens that it holds, shared ones once.
    pub(super) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// The most tokens that it holds.
    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// All sequences and their tokens, the one used last first.
    pub(super) fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        self.root.collect(&mut Vec::new(), &mut leaves);
        leaves.sort_by_key(|leaf| std::cmp::Reverse(leaf.last_used));
        leaves
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.root.children.is_empty()
    }

    /// The sequence that shares the longest beginning with `tokens`, if any shares one. It counts as used.
    pub(super) fn longest(&mut self, tokens: &[u32]) -> Option<Match> {
        self.clock += 1;
        let clock = self.clock;
        let mut node = &mut self.root;
        let mut n_tokens = 0;
        loop {
            let rest = &tokens[n_tokens..];
            let next = rest.first().and_then(|first| node.child(*first));
            let Some(place) = next else { break };
            let child = &mut node.children[place];
            let shared = shared_len(&child.tokens, rest);
            n_tokens += shared;
            let is_whole = shared == child.tokens.len();
            node = child;
            if !is_whole {
                break;
            }
        }
        if n_tokens == 0 {
            return None;
        }
        let held = node.newest_leaf()?;
        held.last_used = clock;
        Some(Match { sequence: held.sequence, n_tokens })
    }

    /// Takes a sequence in that holds these tokens. What is given back is not needed any more, or there is no room
    /// for it: its owner closes it.
    pub(super) fn insert(&mut self, tokens: &[u32], sequence: SequenceId) -> Vec<SequenceId> {
        self.clock += 1;
        if tokens.is_empty() || tokens.len() > self.max_tokens {
            return vec![sequence];
        }
        let held = Held { sequence, last_used: self.clock };
        let mut superfluous = Vec::new();
        self.n_tokens += self.root.insert(tokens, held, &mut superfluous);
        while self.n_tokens > self.max_tokens {
            match self.evict() {
                Some(sequence) => superfluous.push(sequence),
                None => break,
            }
        }
        superfluous
    }

    /// Gives up what was not used for longest.
    pub(super) fn evict(&mut self) -> Option<SequenceId> {
        let oldest = self.root.oldest()?;
        let (sequence, n_freed) = self.root.remove(oldest)?;
        self.n_tokens -= n_freed;
        Some(sequence)
    }
}

impl Node {
    fn leaf(tokens: &[u32], held: Held) -> Self {
        Self { tokens: tokens.to_vec(), children: Vec::new(), held: Some(held) }
    }

    /// The place of the child that begins with this token.
    fn child(&self, first: u32) -> Option<usize> {
        self.children.iter().position(|child| child.tokens.first() == Some(&first))
    }

    fn newest_leaf(&mut self) -> Option<&mut Held> {
        if self.children.is_empty() {
            return self.held.as_mut();
        }
        self.children.iter_mut().filter_map(Self::newest_leaf).max_by_key(|held| held.last_used)
    }

    fn collect(&self, before: &mut Vec<u32>, leaves: &mut Vec<Leaf>) {
        before.extend(&self.tokens);
        if let Some(Held { sequence, last_used }) = self.held {
            leaves.push(Leaf { tokens: before.clone(), sequence, last_used });
        }
        for child in &self.children {
            child.collect(before, leaves);
        }
        before.truncate(before.len() - self.tokens.len());
    }

    fn oldest(&self) -> Option<u64> {
        let own = self.held.map(|held| held.last_used);
        own.into_iter().chain(self.children.iter().filter_map(Self::oldest)).min()
    }

    /// Adds a leaf below this node; gives how many tokens that adds to the tree.
    fn insert(&mut self, tokens: &[u32], held: Held, superfluous: &mut Vec<SequenceId>) -> usize {
        let Some(first) = tokens.first() else {
            // Something here holds these tokens already, or goes on from them.
            superfluous.push(held.sequence);
            if let Some(newest) = self.newest_leaf() {
                newest.last_used = held.last_used;
            }
            return 0;
        };
        let Some(place) = self.child(*first) else {
            // What ended here is the beginning of the new one.
            superfluous.extend(self.held.take().map(|shorter| shorter.sequence));
            self.children.push(Self::leaf(tokens, held));
            return tokens.len();
        };
        let child = &mut self.children[place];
        let shared = shared_len(&child.tokens, tokens);
        if shared < child.tokens.len() && shared < tokens.len() {
            child.split(shared);
        }
        if shared < child.tokens.len() {
            // The new one ends inside the child.
            return child.insert(&[], held, superfluous);
        }
        child.insert(&tokens[shared..], held, superfluous)
    }

    /// Makes two nodes of this one, the first with `n` tokens.
    fn split(&mut self, n: usize) {
        let rest = self.tokens.split_off(n);
        let lower =
            Self { tokens: rest, children: std::mem::take(&mut self.children), held: self.held.take() };
        self.children.push(lower);
    }

    /// Removes the leaf that was last used then, and what leads to it alone; gives its sequence and the tokens that
    /// the tree has lost.
    fn remove(&mut self, last_used: u64) -> Option<(SequenceId, usize)> {
        for place in 0..self.children.len() {
            let child = &mut self.children[place];
            let removed = match child.held {
                Some(held) if held.last_used == last_used => Some((held.sequence, 0)),
                _ => child.remove(last_used),
            };
            let Some((sequence, n_freed)) = removed else { continue };
            // Every leaf holds a sequence, so one that has no children any more is the one that was removed.
            if child.children.is_empty() && (child.held.is_none_or(|held| held.last_used == last_used)) {
                let n_freed = n_freed + child.tokens.len();
                self.children.swap_remove(place);
                return Some((sequence, n_freed));
            }
            child.join_only_child();
            return Some((sequence, n_freed));
        }
        None
    }

    fn join_only_child(&mut self) {
        if self.held.is_none()
            && self.children.len() == 1
            && let Some(child) = self.children.pop()
        {
            self.tokens.extend(child.tokens);
            self.children = child.children;
            self.held = child.held;
        }
    }
}

/// How many tokens two prompts begin with alike.
pub(super) fn shared_len(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u64) -> SequenceId {
        SequenceId(n)
    }

    fn found(cache: &mut PrefixCache, tokens: &[u32]) -> Option<(u64, usize)> {
        cache.longest(tokens).map(|found| (found.sequence.0, found.n_tokens))
    }

    #[test]
    fn the_longest_beginning_is_found_and_shared_once() {
        let mut cache = PrefixCache::new(100);
        assert_eq!(found(&mut cache, &[1, 2]), None);
        assert_eq!(cache.insert(&[1, 2, 3, 4], id(1)), []);
        assert_eq!(cache.insert(&[1, 2, 5], id(2)), []);
        assert_eq!(cache.n_tokens(), 5);
        assert_eq!(found(&mut cache, &[1, 2, 3, 9]), Some((1, 3)));
        assert_eq!(found(&mut cache, &[1, 2, 5, 6]), Some((2, 3)));
        assert_eq!(found(&mut cache, &[1, 2, 7]), Some((2, 2)), "the one used last");
        assert_eq!(found(&mut cache, &[7]), None);
        assert_eq!(found(&mut cache, &[]), None);
    }

    #[test]
    fn a_beginning_of_another_is_not_kept() {
        let mut cache = PrefixCache::new(100);
        assert_eq!(cache.insert(&[1, 2], id(1)), []);
        assert_eq!(cache.insert(&[1, 2, 3], id(2)), [id(1)]);
        assert_eq!(cache.insert(&[1, 2, 3], id(3)), [id(3)]);
        assert_eq!(cache.insert(&[1], id(4)), [id(4)]);
        assert_eq!((cache.n_tokens(), found(&mut cache, &[1, 2, 3])), (3, Some((2, 3))));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut cache = PrefixCache::new(6);
        cache.insert(&[1, 2, 3], id(1));
        cache.insert(&[4, 5, 6], id(2));
        found(&mut cache, &[1]);
        assert_eq!(cache.insert(&[1, 2, 7], id(3)), [id(2)]);
        assert_eq!(cache.n_tokens(), 4);
        assert_eq!(cache.insert(&[9; 7], id(4)), [id(4)], "it could never fit");
        assert_eq!((cache.evict(), cache.evict(), cache.evict()), (Some(id(1)), Some(id(3)), None));
        assert!(cache.is_empty() && cache.n_tokens() == 0);
    }

    proptest! {
        /// Against a plain list of what was put in and not given back.
        #[test]
        fn it_is_a_list_that_is_searched_fast(
            moves in prop::collection::vec((prop::collection::vec(0_u32..3, 0..8), any::<bool>()), 1..60),
            max_tokens in 4_usize..40,
        ) {
            let mut cache = PrefixCache::new(max_tokens);
            let mut list: Vec<(Vec<u32>, SequenceId)> = Vec::new();
            for (n, (tokens, is_insert)) in moves.into_iter().enumerate() {
                if is_insert {
                    let sequence = id(n as u64);
                    list.push((tokens.clone(), sequence));
                    for gone in cache.insert(&tokens, sequence) {
                        let before = list.len();
                        list.retain(|(_, held)| *held != gone);
                        prop_assert_eq!(list.len(), before - 1, "each is given back once");
                    }
                } else {
                    let best = list.iter().map(|(held, _)| shared_len(held, &tokens)).max().unwrap_or(0);
                    match cache.longest(&tokens) {
                        None => prop_assert_eq!(best, 0),
                        Some(found) => {
                            prop_assert_eq!(found.n_tokens, best);
                            let (held, _) = list.iter().find(|(_, held)| *held == found.sequence).unwrap();
                            prop_assert_eq!(shared_len(held, &tokens), best);
                        }
                    }
                }
                let mut beginnings = std::collections::BTreeSet::new();
                for (tokens, _) in &list {
                    beginnings.extend((1..=tokens.len()).map(|n| tokens[..n].to_vec()));
                }
                prop_assert_eq!(cache.n_tokens(), beginnings.len());
                prop_assert!(cache.n_tokens() <= max_tokens);
            }
            while let Some(gone) = cache.evict() {
                list.retain(|(_, held)| *held != gone);
            }
            prop_assert!(list.is_empty() && cache.is_empty() && cache.n_tokens() == 0);
        }
    }
}
