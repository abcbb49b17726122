//! A text as the words, numbers, names and negations that its meaning hangs on.

use std::collections::BTreeSet;

/// Words that carry no meaning of their own.
const FILLERS: &[&str] = &[
    "a", "about", "also", "am", "an", "and", "are", "as", "at", "be", "been", "being", "but", "by", "can",
    "could", "did", "do", "does", "for", "from", "had", "has", "have", "he", "her", "his", "i", "if", "in",
    "into", "is", "it", "its", "just", "may", "me", "might", "most", "my", "of", "on", "one", "or", "our",
    "over", "quite", "really", "she", "should", "so", "some", "such", "than", "that", "the", "their", "them",
    "then", "there", "these", "they", "this", "those", "to", "us", "very", "was", "we", "were", "which",
    "while", "who", "will", "with", "would", "you", "your",
];

/// Words that begin sentences without being names.
const OPENERS: &[&str] = &[
    "actually",
    "after",
    "all",
    "although",
    "another",
    "any",
    "because",
    "before",
    "both",
    "correct",
    "each",
    "either",
    "every",
    "finally",
    "first",
    "generally",
    "given",
    "here",
    "hi",
    "hello",
    "how",
    "however",
    "instead",
    "let",
    "many",
    "more",
    "next",
    "no",
    "not",
    "now",
    "often",
    "once",
    "only",
    "otherwise",
    "overall",
    "people",
    "please",
    "put",
    "roughly",
    "second",
    "since",
    "sorry",
    "start",
    "still",
    "sure",
    "take",
    "thanks",
    "therefore",
    "third",
    "though",
    "thus",
    "try",
    "two",
    "typically",
    "under",
    "unless",
    "until",
    "use",
    "usually",
    "what",
    "when",
    "where",
    "whether",
    "why",
    "yes",
    "yet",
];

const NEGATIONS: &[&str] = &[
    "cannot", "cant", "hardly", "neither", "never", "no", "nobody", "none", "nor", "not", "nothing",
    "nowhere", "unable", "without",
];

const NUMBER_WORDS: &[(&str, &str)] = &[
    ("zero", "0"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("twenty", "20"),
    ("thirty", "30"),
    ("forty", "40"),
    ("fifty", "50"),
    ("sixty", "60"),
    ("seventy", "70"),
    ("eighty", "80"),
    ("ninety", "90"),
    ("hundred", "100"),
    ("thousand", "1000"),
    ("million", "1000000"),
    ("billion", "1000000000"),
];

/// What a text says, as far as counting words can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Words that carry meaning, in lower case, in a simple singular form.
    pub(super) words: BTreeSet<String>,
    /// Numbers, and words with digits in them, in one spelling.
    pub(super) numbers: BTreeSet<String>,
    /// Words with a capital that may be names.
    pub(super) names: BTreeSet<String>,
    /// Words of the text that occur in it without a capital; they are no names.
    pub(super) plain: BTreeSet<String>,
    /// How often the text negates.
    pub(super) n_negations: usize,
    /// The meaningful word after each negation: what is denied.
    pub(super) denied: BTreeSet<String>,
    /// `Some(true)` for a text that begins with yes, `Some(false)` for one that begins with no.
    pub(super) verdict: Option<bool>,
}

impl Content {
    /// Reads a text.
    pub(super) fn of(text: &str) -> Self {
        let mut content = Self::default();
        let mut is_denying = false;
        for (place, token) in tokens(text).into_iter().enumerate() {
            let lower = token.text.to_lowercase();
            let lower = lower.strip_suffix("'s").unwrap_or(&lower).to_owned();
            if place == 0 {
                content.verdict = match lower.as_str() {
                    "yes" | "correct" | "true" => Some(true),
                    "no" | "incorrect" | "false" => Some(false),
                    _ => None,
                };
            }
            if is_negation(&lower) {
                content.n_negations += 1;
                is_denying = true;
                continue;
            }
            if let Some(number) = number(&lower) {
                content.numbers.insert(number);
                continue;
            }
            let is_filler = FILLERS.contains(&lower.as_str());
            let is_capital = token.text.chars().next().is_some_and(char::is_uppercase);
            if !is_capital {
                content.plain.insert(lower.clone());
            } else if !(is_filler || token.begins_sentence && OPENERS.contains(&lower.as_str())) {
                content.names.insert(lower.clone());
            }
            if is_filler || lower.is_empty() {
                continue;
            }
            let word = singular(&lower);
            if std::mem::take(&mut is_denying) {
                content.denied.insert(word.clone());
            }
            content.words.insert(word);
        }
        content
    }
}

struct Token {
    text: String,
    begins_sentence: bool,
}

/// Words and numbers. Marks of lists and of emphasis are no part of a text's meaning.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = without_list_mark(line);
        let chars: Vec<char> = line.chars().collect();
        let (mut at, mut begins_sentence) = (0, true);
        while at < chars.len() {
            let c = chars[at];
            if !c.is_alphanumeric() {
                begins_sentence |= matches!(c, '.' | '!' | '?' | ':' | ';' | '"' | '“' | '(');
                if c == '%' {
                    found.push(Token { text: "percent".into(), begins_sentence: false });
                }
                at += 1;
                continue;
            }
            let from = at;
            let is_number = c.is_numeric();
            while at < chars.len() && belongs(&chars, at, from, is_number) {
                at += 1;
            }
            let text: String = chars[from..at].iter().map(|c| if *c == '’' { '\'' } else { *c }).collect();
            found.push(Token { text, begins_sentence });
            begins_sentence = false;
        }
    }
    found
}

/// Whether the character at `at` continues the token that began at `from`.
fn belongs(chars: &[char], at: usize, from: usize, is_number: bool) -> bool {
    let c = chars[at];
    let is_inside = at > from && at + 1 < chars.len();
    if is_number {
        // `3.14`, `1,000`; a unit that is written to its number is a word of its own, an ordinal's ending is not.
        return c.is_numeric()
            || (is_inside
                && matches!(c, '.' | ',')
                && chars[at - 1].is_numeric()
                && chars[at + 1].is_numeric());
    }
    c.is_alphanumeric() || (is_inside && matches!(c, '\'' | '’') && chars[at + 1].is_alphanumeric())
}

fn without_list_mark(line: &str) -> &str {
    let line = line.trim_start().trim_start_matches(['#', '>', '*', '-', '•', '–']).trim_start();
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    match line[digits..].strip_prefix(['.', ')']) {
        Some(rest) if (1..=2).contains(&digits) && rest.starts_with(' ') => rest,
        _ => line,
    }
}

fn is_negation(lower: &str) -> bool {
    NEGATIONS.contains(&lower) || lower.ends_with("n't")
}

/// A number in one spelling, or a word with a digit in it.
fn number(lower: &str) -> Option<String> {
    if let Some((_, digits)) = NUMBER_WORDS.iter().find(|(word, _)| *word == lower) {
        return Some((*digits).to_owned());
    }
    if !lower.chars().any(char::is_numeric) {
        return None;
    }
    if !lower.chars().next().is_some_and(char::is_numeric) {
        return Some(lower.to_owned());
    }
    let groups: Vec<&str> = lower.split(',').collect();
    let is_grouped = groups.len() > 1
        && groups[1..].iter().all(|group| group.split('.').next().is_some_and(|g| g.len() == 3));
    let plain = if is_grouped { groups.concat() } else { lower.replace(',', ".") };
    let plain = match plain.split_once('.') {
        Some((whole, part)) if !part.contains('.') => {
            let part = part.trim_end_matches('0');
            if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
        }
        _ => plain,
    };
    let trimmed = plain.trim_start_matches('0');
    Some(if trimmed.is_empty() || trimmed.starts_with('.') {
        format!("0{trimmed}")
    } else {
        trimmed.to_owned()
    })
}

/// Without the ending of a plural, roughly: enough to match a word with its other form.
fn singular(word: &str) -> String {
    let n_chars = word.chars().count();
    match word {
        _ if n_chars > 4 && word.ends_with("ies") => format!("{}y", &word[..word.len() - 3]),
        _ if n_chars > 3 && word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us") => {
            word[..word.len() - 1].to_owned()
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn numbers_have_one_spelling() {
        for (text, numbers) in [
            ("It costs 1,000 dollars", &["1000"][..]),
            ("3.0 and 3", &["3"]),
            ("0.50 or .5", &["0.5", "5"]),
            ("five of 12", &["12", "5"]),
            ("20km", &["20"]),
            ("1,5", &["1.5"]),
            ("007", &["7"]),
            ("1. first\n2) second\n3 third", &["3"]),
            ("IPv6 and 2.4.1", &["2.4.1", "ipv6"]),
        ] {
            assert_eq!(Content::of(text).numbers, set(numbers), "{text}");
        }
    }

    #[test]
    fn names_negations_and_words_are_found() {
        let content = Content::of("No, it isn't. The **Seine** flows through Paris's centre, not Lyon.");
        assert_eq!(content.names, set(&["seine", "paris", "lyon"]));
        assert_eq!(content.n_negations, 3);
        assert_eq!(content.verdict, Some(false));
        assert!(content.denied.contains("lyon"));
        assert!(content.words.contains("centre") && !content.words.contains("the"));
        assert_eq!(Content::of("").words.len(), 0);
        assert_eq!(Content::of("Die Straße ist naß").words, set(&["die", "straße", "ist", "naß"]));
    }
}
