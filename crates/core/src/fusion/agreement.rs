//! How much two answers agree: a measure without a model, cheap enough to run on every pair of answers.
//!
//! It is the mean of two Dice coefficients, of the sets of meaningful words and of the sets of character trigrams: the
//! first forgives another order, the second another form of a word. Answers whose numbers differ, of which each has a
//! name that the other lacks, or of which one denies what the other says, never agree, however alike they read. So it
//! errs towards "they differ", which costs a judge's time; the other error would hide a contradiction.

use super::words::Content;
use std::collections::BTreeSet;

/// Pairs of which one answer can hold either, when both are about the same thing.
const OPPOSITES: &[(&str, &str)] = &[
    ("above", "below"),
    ("accept", "reject"),
    ("always", "never"),
    ("before", "after"),
    ("bigger", "smaller"),
    ("buy", "sell"),
    ("cheaper", "dearer"),
    ("cold", "hot"),
    ("colder", "warmer"),
    ("dangerous", "safe"),
    ("decrease", "increase"),
    ("down", "up"),
    ("early", "late"),
    ("east", "west"),
    ("expand", "shrink"),
    ("fall", "rise"),
    ("false", "true"),
    ("faster", "slower"),
    ("heavier", "lighter"),
    ("high", "low"),
    ("higher", "lower"),
    ("larger", "smaller"),
    ("left", "right"),
    ("less", "more"),
    ("longer", "shorter"),
    ("maximum", "minimum"),
    ("narrower", "wider"),
    ("negative", "positive"),
    ("north", "south"),
    ("older", "younger"),
    ("stronger", "weaker"),
    ("weak", "strong"),
];
const DENYING_PREFIXES: &[&str] = &["un", "in", "im", "il", "ir", "dis", "non"];
/// A shorter stem makes unlike words look like opposites ("form", "inform").
const SHORTEST_STEM_CHARS: usize = 4;

/// How much two texts agree, from 0 to 1; the same whichever comes first, and 1 for the same text.
pub fn agreement(a: &str, b: &str) -> f32 {
    let (content_a, content_b) = (Content::of(a), Content::of(b));
    if contradict(&content_a, &content_b) {
        return 0.0;
    }
    let words = dice(&content_a.words, &content_b.words);
    (words + dice(&trigrams(&content_a), &trigrams(&content_b))) / 2.0
}

/// The least agreement of any two; `None` with fewer than two texts.
pub fn least_agreement<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<f32> {
    let texts: Vec<&str> = texts.into_iter().collect();
    let pairs = texts.iter().enumerate().flat_map(|(n, a)| texts[n + 1..].iter().map(move |b| (a, b)));
    pairs.map(|(a, b)| agreement(a, b)).min_by(f32::total_cmp)
}

/// Whether two texts cannot both hold, or are about different things.
fn contradict(a: &Content, b: &Content) -> bool {
    let verdicts_differ = a.verdict.zip(b.verdict).is_some_and(|(a, b)| a != b);
    verdicts_differ
        || a.numbers != b.numbers
        || (has_own_name(a, b) && has_own_name(b, a))
        || (a.n_negations == 0) != (b.n_negations == 0)
        || denies(a, b)
        || denies(b, a)
        || hold_opposites(a, b)
}

/// Whether `a` has a name that `b` does not mention at all.
fn has_own_name(a: &Content, b: &Content) -> bool {
    let is_name = |word: &&String| !a.plain.contains(*word) && !b.plain.contains(*word);
    a.names.iter().filter(is_name).any(|name| !b.names.contains(name))
}

/// Whether `a` denies a word that `b` says plainly.
fn denies(a: &Content, b: &Content) -> bool {
    a.denied.iter().any(|word| b.words.contains(word) && !b.denied.contains(word))
}

fn hold_opposites(a: &Content, b: &Content) -> bool {
    let only_a: BTreeSet<&str> = a.words.difference(&b.words).map(String::as_str).collect();
    let only_b: BTreeSet<&str> = b.words.difference(&a.words).map(String::as_str).collect();
    let are_split = |x: &str, y: &str| {
        (only_a.contains(x) && only_b.contains(y)) || (only_a.contains(y) && only_b.contains(x))
    };
    let is_prefixed = |mine: &BTreeSet<&str>, other: &BTreeSet<&str>| {
        mine.iter().any(|word| {
            let stems = DENYING_PREFIXES.iter().filter_map(|prefix| word.strip_prefix(prefix));
            stems.filter(|stem| stem.chars().count() >= SHORTEST_STEM_CHARS).any(|stem| other.contains(stem))
        })
    };
    OPPOSITES.iter().any(|(x, y)| are_split(x, y))
        || is_prefixed(&only_a, &only_b)
        || is_prefixed(&only_b, &only_a)
}

/// Twice what is common by what there is; two empty sets are the same.
fn dice<T: Ord>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> f32 {
    let total = a.len() + b.len();
    if total == 0 { 1.0 } else { 2.0 * a.intersection(b).count() as f32 / total as f32 }
}

/// Of each word with its borders, so that the order of the words does not count.
fn trigrams(content: &Content) -> BTreeSet<[char; 3]> {
    let of_word = |word: &String| {
        let chars: Vec<char> = std::iter::once(' ').chain(word.chars()).chain(std::iter::once(' ')).collect();
        chars.windows(3).map(|w| [w[0], w[1], w[2]]).collect::<Vec<_>>()
    };
    content.words.iter().flat_map(of_word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENTENCE: &str = "the bridge over the river was opened by the mayor in the summer";

    #[test]
    fn what_must_never_agree_does_not() {
        for (a, b) in [
            ("It was built in 1889.", "It was built in 1887."),
            ("Paris is the capital.", "Lyon is the capital."),
            ("It is safe to eat.", "It is not safe to eat."),
            ("It is safe to eat.", "It is unsafe to eat."),
            ("Yes, you may park here.", "No, you may park here."),
            ("The price will rise.", "The price will fall."),
            ("Iron is heavy but gold is not cheap.", "Iron is not heavy but gold is cheap."),
            ("Mars has two moons.", "Mars has three moons."),
        ] {
            assert_eq!(agreement(a, b), 0.0, "{a} / {b}");
        }
    }

    #[test]
    fn the_least_of_all_pairs_counts() {
        assert_eq!(least_agreement(["one"]), None);
        assert_eq!(least_agreement(["blue sky", "blue sky"]), Some(1.0));
        assert_eq!(least_agreement(["blue sky", "blue sky", "it is not"]), Some(0.0));
    }

    proptest! {
        #[test]
        fn it_is_symmetric_bounded_and_reflexive(a in "\\PC{0,60}", b in "\\PC{0,60}") {
            let score = agreement(&a, &b);
            prop_assert!((0.0..=1.0).contains(&score));
            prop_assert_eq!(score, agreement(&b, &a));
        }

        #[test]
        fn a_text_of_words_agrees_with_itself(words in proptest::collection::vec("[a-z]{1,8}", 1..20)) {
            let text = words.join(" ");
            prop_assert!((agreement(&text, &text) - 1.0).abs() < 1e-6, "{}", text);
        }

        #[test]
        fn another_number_never_agrees(a in 2u32..100_000, b in 2u32..100_000, at in 0usize..12) {
            prop_assume!(a != b);
            let put = |n: u32| {
                let mut words: Vec<String> = SENTENCE.split(' ').map(str::to_owned).collect();
                words.insert(at, n.to_string());
                words.join(" ")
            };
            prop_assert_eq!(agreement(&put(a), &put(b)), 0.0);
            prop_assert_eq!(agreement(&put(a), SENTENCE), 0.0);
        }

        #[test]
        fn another_name_never_agrees(a in "[A-Z][a-z]{3,8}x", b in "[A-Z][a-z]{3,8}q", at in 1usize..12) {
            let put = |name: &str| {
                let mut words: Vec<&str> = SENTENCE.split(' ').collect();
                words.insert(at, name);
                words.join(" ")
            };
            prop_assert_eq!(agreement(&put(&a), &put(&b)), 0.0);
        }

        #[test]
        fn a_negation_never_agrees(at in 0usize..12, word in prop_oneof![Just("not"), Just("never"), Just("isn't")]) {
            let mut words: Vec<&str> = SENTENCE.split(' ').collect();
            words.insert(at, word);
            prop_assert_eq!(agreement(&words.join(" "), SENTENCE), 0.0);
        }
    }
}
