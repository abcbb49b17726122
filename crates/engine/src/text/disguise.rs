//! Text from people is rendered in a private alphabet, so that it can be told from the template's own text.
//!
//! Each character that occurs in the spelling of a special token gets a stand-in from Unicode's private-use planes.
//! A template that is rendered with all foreign text in stand-ins shows its special tokens plainly and nothing else
//! can: a spelling of which even one character is foreign does not match, wherever the template cut, joined or moved
//! the pieces. The mapping is one character to one, so lengths, positions and cuts stay what they are.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// Where the search for a free block of private-use characters begins.
const FIRST_PRIVATE: u32 = 0xf_0000;
const LAST_PRIVATE: u32 = 0x10_fffd;
/// The last two code points of a plane are no characters.
const GAP: std::ops::RangeInclusive<u32> = 0xf_fffe..=0xf_ffff;

/// A mapping of the characters that matter to stand-ins that occur nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disguise {
    /// The characters that matter, sorted.
    alphabet: Vec<char>,
    /// The stand-in of the first; the others follow.
    base: u32,
}

impl Disguise {
    /// A disguise for the characters of these spellings, in the first block of private-use characters.
    pub(super) fn new<'a>(spellings: impl Iterator<Item = &'a str>) -> Self {
        let alphabet: BTreeSet<char> = spellings.flat_map(str::chars).collect();
        Self { alphabet: alphabet.into_iter().collect(), base: FIRST_PRIVATE }
    }

    /// The same disguise with stand-ins that occur in none of these texts; `None` when they fill the private-use
    /// planes.
    pub(super) fn apart_from<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let foreign = texts.flat_map(str::chars).map(u32::from).filter(|c| *c >= FIRST_PRIVATE);
        let taken: BTreeSet<u32> = foreign.chain(GAP).collect();
        let width = self.alphabet.len() as u32;
        let mut base = FIRST_PRIVATE;
        for obstacle in taken {
            if obstacle >= base && obstacle < base + width {
                base = obstacle + 1;
            }
        }
        (base + width <= LAST_PRIVATE + 1).then(|| Self { alphabet: self.alphabet.clone(), base })
    }

    /// Whether `text` holds a character that this disguise uses as a stand-in.
    pub(super) fn clashes_with(&self, text: &str) -> bool {
        text.chars().any(|c| self.is_stand_in(c))
    }

    /// Foreign text, disguised.
    pub(super) fn conceal(&self, text: &str) -> String {
        text.chars().map(|c| self.conceal_char(c)).collect()
    }

    /// The text that people wrote and the template writes.
    pub(super) fn reveal<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.clashes_with(text) {
            Cow::Owned(text.chars().map(|c| self.reveal_char(c)).collect())
        } else {
            Cow::Borrowed(text)
        }
    }

    /// The stand-in of a character, or itself when it does not matter.
    pub(super) fn conceal_char(&self, c: char) -> char {
        match self.alphabet.binary_search(&c) {
            Ok(at) => char::from_u32(self.base + at as u32).unwrap_or(c),
            Err(_) => c,
        }
    }

    /// The character behind a stand-in.
    pub(super) fn reveal_char(&self, c: char) -> char {
        let behind = u32::from(c).checked_sub(self.base).and_then(|at| self.alphabet.get(at as usize));
        behind.copied().unwrap_or(c)
    }

    /// Whether a character is a stand-in.
    pub(super) fn is_stand_in(&self, c: char) -> bool {
        u32::from(c).checked_sub(self.base).is_some_and(|at| (at as usize) < self.alphabet.len())
    }

    /// Cuts out of `disguised` the part that `piece` is of its revealed text `revealed`.
    pub(super) fn project<'a>(disguised: &'a str, revealed: &str, piece: &str) -> &'a str {
        let begin = piece.as_ptr() as usize - revealed.as_ptr() as usize;
        if disguised.len() == revealed.len() {
            return &disguised[begin..begin + piece.len()];
        }
        let skipped = revealed[..begin].chars().count();
        let mut bounds = disguised.char_indices().map(|(at, _)| at).chain([disguised.len()]);
        let from = bounds.nth(skipped).unwrap_or(disguised.len());
        let n_chars = piece.chars().count();
        let to = if n_chars == 0 { from } else { bounds.nth(n_chars - 1).unwrap_or(disguised.len()) };
        &disguised[from..to]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPELLINGS: [&str; 3] = ["<|user|>", "</think>", "[gMASK]"];

    #[test]
    fn stand_ins_avoid_what_the_text_uses() {
        let disguise = Disguise::new(SPELLINGS.into_iter());
        let awkward = "\u{f0003} and \u{f0019}";
        assert!(disguise.clashes_with(awkward));
        let other = disguise.apart_from([awkward].into_iter()).unwrap();
        assert!(!other.clashes_with(awkward));
        assert_eq!(other.reveal(&other.conceal("</think>")), "</think>");
    }

    #[test]
    fn text_that_fills_the_private_planes_is_refused_and_almost_full_ones_are_not() {
        let disguise = Disguise::new(SPELLINGS.into_iter());
        let all: String = (FIRST_PRIVATE..=LAST_PRIVATE).filter_map(char::from_u32).collect();
        assert_eq!(disguise.apart_from([all.as_str()].into_iter()), None);
        let sparse: String = (FIRST_PRIVATE..=0xf_fffd).step_by(5).filter_map(char::from_u32).collect();
        let other = disguise.apart_from([sparse.as_str()].into_iter()).unwrap();
        assert!(!other.clashes_with(&sparse));
        assert!(other.base > *GAP.end());
    }

    proptest! {
        #[test]
        fn it_comes_back_and_hides_every_spelling(text in "[ -~é🙂\u{f0000}]{0,30}") {
            let disguise = Disguise::new(SPELLINGS.into_iter()).apart_from([text.as_str()].into_iter()).unwrap();
            let hidden = disguise.conceal(&text);
            prop_assert_eq!(disguise.reveal(&hidden), text.as_str());
            prop_assert_eq!(hidden.chars().count(), text.chars().count());
            prop_assert!(!hidden.chars().any(|c| disguise.alphabet.contains(&c)));
        }

        #[test]
        fn a_piece_is_found_again(text in "[a-z<>/é]{1,20}", cut in (0usize..20, 0usize..20)) {
            let disguise = Disguise::new(SPELLINGS.into_iter());
            let hidden = disguise.conceal(&text);
            let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let (a, b) = (bounds[cut.0 % bounds.len()], bounds[cut.1 % bounds.len()]);
            let piece = &text[a.min(b)..a.max(b)];
            prop_assert_eq!(disguise.reveal(Disguise::project(&hidden, &text, piece)), piece);
        }
    }
}
