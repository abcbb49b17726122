//! Tells thinking from answer in what a model writes: `<think>…</think>` first, then the answer.
//!
//! Text without the tag is all answer. A model may be given the opening tag, or the whole closed pair, by the
//! prompt; the state to begin with says so. Line ends around the tags belong to the format and are left out, as the
//! chat templates leave them out when a past answer is given back.

use boca_core::ThinkingState;

/// The tags' spellings.
pub const THINK_OPEN: &str = "<think>";
/// See [`THINK_OPEN`].
pub const THINK_CLOSE: &str = "</think>";

/// The state in which a generation begins after this prompt.
pub(super) fn state_after_prompt(prompt: &str) -> ThinkingState {
    let end = prompt.trim_end();
    if end.ends_with(THINK_OPEN) {
        ThinkingState::Reasoning
    } else if end.ends_with(THINK_CLOSE) {
        ThinkingState::Answer
    } else {
        ThinkingState::Undecided
    }
}

/// A piece of a stream, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Of the thinking.
    Reasoning(String),
    /// Of the answer.
    Text(String),
}

/// Splits a stream into thinking and answer. Tags come as text, or as events of their own where they are single
/// tokens ([`Self::open`], [`Self::close`]); which of the two is said once, at the beginning.
#[derive(Debug, Clone)]
pub struct ThinkingSplitter {
    state: ThinkingState,
    /// Whether the tags are looked for in the text.
    tags_are_text: bool,
    /// Text whose place is not certain: white space before anything else, the beginning of a tag, line ends that
    /// may be the last before `</think>`.
    held: String,
    /// Whether the current part has shown anything yet; its leading line ends are left out.
    has_begun: bool,
}

impl ThinkingSplitter {
    /// Begins in a state. `tags_are_text`: the tokenizer has no tokens of their own for the tags.
    pub fn new(state: ThinkingState, tags_are_text: bool) -> Self {
        Self { state, tags_are_text, held: String::new(), has_begun: false }
    }

    /// Begins inside an answer of which some was shown already: even its next line end is part of it.
    pub fn inside_answer(tags_are_text: bool) -> Self {
        Self { has_begun: true, ..Self::new(ThinkingState::Answer, tags_are_text) }
    }

    /// Where the stream stands.
    pub fn state(&self) -> ThinkingState {
        self.state
    }

    /// The opening tag came as a token.
    pub fn open(&mut self, parts: &mut Vec<Part>) {
        match self.state {
            // Blanks before the thinking are nobody's text.
            ThinkingState::Undecided => self.held.clear(),
            ThinkingState::Answer => self.flush(parts),
            // A second tag inside the thinking says nothing new.
            ThinkingState::Reasoning => return,
        }
        self.enter(ThinkingState::Reasoning);
    }

    /// The closing tag came as a token.
    pub fn close(&mut self, parts: &mut Vec<Part>) {
        match self.state {
            ThinkingState::Reasoning => {
                let kept = self.held.trim_end_matches(is_line_end).len();
                self.held.truncate(kept);
                self.flush(parts);
            }
            ThinkingState::Undecided => self.held.clear(),
            ThinkingState::Answer => return,
        }
        self.enter(ThinkingState::Answer);
    }

    /// The next piece of text.
    pub fn push(&mut self, piece: &str, parts: &mut Vec<Part>) {
        self.held.push_str(piece);
        loop {
            let before = (self.state, self.held.len());
            self.settle(parts);
            if (self.state, self.held.len()) == before || self.held.is_empty() {
                return;
            }
        }
    }

    /// No more text comes. Thinking that was never closed stays thinking: the answer is then empty.
    pub fn finish(&mut self, parts: &mut Vec<Part>) {
        match self.state {
            ThinkingState::Undecided => self.enter(ThinkingState::Answer),
            ThinkingState::Reasoning => {
                let kept = self.held.trim_end_matches(is_line_end).len();
                self.held.truncate(kept);
            }
            ThinkingState::Answer => {}
        }
        self.flush(parts);
    }

    /// Moves on as far as the held text is certain.
    fn settle(&mut self, parts: &mut Vec<Part>) {
        match self.state {
            ThinkingState::Undecided => {
                let start = self.held.trim_start();
                if start.is_empty() {
                    return;
                }
                if self.tags_are_text {
                    if let Some(rest) = start.strip_prefix(THINK_OPEN) {
                        self.held = rest.to_owned();
                        self.enter(ThinkingState::Reasoning);
                        return;
                    }
                    if THINK_OPEN.starts_with(start) {
                        return;
                    }
                }
                self.enter(ThinkingState::Answer);
            }
            ThinkingState::Reasoning => {
                if self.tags_are_text
                    && let Some(at) = self.held.find(THINK_CLOSE)
                {
                    let rest = self.held.split_off(at);
                    self.close(parts);
                    self.held = rest[THINK_CLOSE.len()..].to_owned();
                    return;
                }
                let tag = if self.tags_are_text { open_end(&self.held, THINK_CLOSE) } else { 0 };
                let certain = self.held[..self.held.len() - tag].trim_end_matches(is_line_end).len();
                let rest = self.held.split_off(certain);
                self.flush(parts);
                self.held = rest;
            }
            ThinkingState::Answer => self.flush(parts),
        }
    }

    fn enter(&mut self, state: ThinkingState) {
        self.state = state;
        self.has_begun = false;
    }

    /// Gives out everything held, under the current state.
    fn flush(&mut self, parts: &mut Vec<Part>) {
        let held = std::mem::take(&mut self.held);
        let text = if self.has_begun { held.as_str() } else { held.trim_start_matches(is_line_end) };
        if text.is_empty() {
            return;
        }
        self.has_begun = true;
        let text = text.to_owned();
        parts.push(match self.state {
            ThinkingState::Reasoning => Part::Reasoning(text),
            ThinkingState::Undecided | ThinkingState::Answer => Part::Text(text),
        });
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// Bytes at the end of `text` that may be the beginning of `tag`.
fn open_end(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|n| text.ends_with(&tag[..*n])).unwrap_or(0)
}

/// Splits a whole text whose tags are spelled out: the thinking, if there is any, and the answer.
pub fn split_thinking(text: &str) -> (Option<String>, String) {
    let mut splitter = ThinkingSplitter::new(ThinkingState::Undecided, true);
    let mut parts = Vec::new();
    splitter.push(text, &mut parts);
    let has_thinking =
        splitter.state() == ThinkingState::Reasoning || text.trim_start().starts_with(THINK_OPEN);
    splitter.finish(&mut parts);
    let (mut reasoning, mut answer) = (String::new(), String::new());
    for part in parts {
        match part {
            Part::Reasoning(text) => reasoning.push_str(&text),
            Part::Text(text) => answer.push_str(&text),
        }
    }
    (has_thinking.then_some(reasoning), answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(state: ThinkingState, pieces: &[&str]) -> (String, String) {
        let mut splitter = ThinkingSplitter::new(state, true);
        let mut parts = Vec::new();
        for piece in pieces {
            splitter.push(piece, &mut parts);
        }
        splitter.finish(&mut parts);
        let mut out = (String::new(), String::new());
        for part in parts {
            match part {
                Part::Reasoning(text) => out.0 += &text,
                Part::Text(text) => out.1 += &text,
            }
        }
        out
    }

    #[test]
    fn whole_texts() {
        for (text, reasoning, answer) in [
            ("<think>\nwhy\n</think>\n\nBecause.", Some("why"), "Because."),
            ("\n<think></think>\nHi", Some(""), "Hi"),
            ("\nno tags at all ", None, "no tags at all "),
            ("<think>never ends\n", Some("never ends"), ""),
            ("<thin air", None, "<thin air"),
            ("  indented", None, "  indented"),
            ("", None, ""),
            ("<think>a\n\nb</think>c <think>d", Some("a\n\nb"), "c <think>d"),
        ] {
            assert_eq!(split_thinking(text), (reasoning.map(str::to_owned), answer.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn the_prompt_may_have_opened_or_closed_it() {
        assert_eq!(state_after_prompt("<|assistant|>\n<think></think>"), ThinkingState::Answer);
        assert_eq!(state_after_prompt("<|assistant|><think>\n"), ThinkingState::Reasoning);
        assert_eq!(state_after_prompt("<|assistant|>"), ThinkingState::Undecided);
        assert_eq!(run(ThinkingState::Reasoning, &["a</think>b"]), ("a".into(), "b".into()));
        assert_eq!(run(ThinkingState::Answer, &["\n<think>a"]), (String::new(), "<think>a".into()));
    }

    #[test]
    fn tags_that_are_tokens_are_not_looked_for_in_the_text() {
        let mut splitter = ThinkingSplitter::new(ThinkingState::Undecided, false);
        let mut parts = Vec::new();
        splitter.open(&mut parts);
        splitter.push("\nspells </think>\n", &mut parts);
        splitter.close(&mut parts);
        splitter.push("\n\nanswer", &mut parts);
        splitter.finish(&mut parts);
        assert_eq!(parts, [Part::Reasoning("spells </think>".into()), Part::Text("answer".into())]);
    }

    proptest! {
        #[test]
        fn the_cut_does_not_matter(
            words in proptest::collection::vec(
                prop_oneof![Just("<think>"), Just("</think>"), Just("\n"), Just(" "), Just("<"), Just("a"), Just("é")],
                0..12,
            ),
            size in 1usize..6,
        ) {
            let text = words.concat();
            let chars: Vec<char> = text.chars().collect();
            let pieces: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            for state in [ThinkingState::Undecided, ThinkingState::Reasoning, ThinkingState::Answer] {
                prop_assert_eq!(run(state, &pieces), run(state, &[&text]));
            }
        }
    }
}
