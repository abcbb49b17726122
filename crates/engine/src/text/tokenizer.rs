//! Text to tokens and back.
//!
//! The tokenizer library is given ordinary text only, and its own handling of added tokens is switched off: which
//! stretch of a prompt is a special token is decided here, from what the template wrote. Text of a message that
//! spells a special token is ordinary text.

use super::byte_alphabet::{bytes_of, char_of};
use super::template::Rendered;
use std::collections::BTreeMap;
use tokenizers::{AddedVocabulary, DecoderWrapper};

/// A tokenizer that cannot be used, or text that it cannot take apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// `tokenizer.json` is damaged, or of a kind that this engine does not know.
    #[error("expected {expected}, found {found}")]
    Unsupported {
        /// What a good file has.
        expected: &'static str,
        /// What this one has.
        found: String,
    },
    /// The library gave up on a text.
    #[error("the tokenizer failed on {n_bytes} bytes of text: {reason}")]
    Failed {
        /// Length of the text.
        n_bytes: usize,
        /// Its own words.
        reason: String,
    },
}

/// A token outside the ordinary vocabulary, as `added_tokens` of `tokenizer.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// Its spelling.
    pub spelling: String,
    /// Whether it is a marker for the model alone; others, such as `<tool_call>`, are part of an answer's text.
    pub is_hidden: bool,
    single_word: bool,
    strips_left: bool,
    strips_right: bool,
}

/// The tokenizer of a checkpoint.
#[derive(Debug)]
pub struct Tokenizer {
    /// Without added tokens.
    ordinary: tokenizers::Tokenizer,
    /// By id.
    added: BTreeMap<u32, AddedToken>,
    /// What each ordinary token stands for; `None` for ids that no token has.
    bytes: Vec<Option<Box<[u8]>>>,
    /// The token of each single byte.
    byte_tokens: Vec<Option<u32>>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Unsupported`] when it is damaged or not of the byte-level kind.
    pub fn from_bytes(json: &[u8]) -> Result<Self, TokenizerError> {
        let unsupported = |expected, found| TokenizerError::Unsupported { expected, found };
        let mut ordinary = tokenizers::Tokenizer::from_bytes(json).map_err(|error| {
            unsupported("a tokenizer.json of the `tokenizers` library", error.to_string())
        })?;
        if !ordinary.get_decoder().is_some_and(is_byte_level) {
            let found = ordinary.get_decoder().map_or("none".to_owned(), |decoder| {
                format!("{decoder:?}").split(['(', ' ']).next().unwrap_or_default().to_owned()
            });
            return Err(unsupported("a decoder of the kind `ByteLevel`", found));
        }
        let added: BTreeMap<u32, AddedToken> = ordinary
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| !token.content.is_empty())
            .map(|(id, token)| {
                let token = AddedToken {
                    id,
                    spelling: token.content,
                    is_hidden: token.special,
                    single_word: token.single_word,
                    strips_left: token.lstrip,
                    strips_right: token.rstrip,
                };
                (id, token)
            })
            .collect();
        ordinary.with_added_vocabulary(AddedVocabulary::new());
        // Both would change the number of tokens of a prompt behind our back.
        ordinary
            .with_truncation(None)
            .map_err(|error| unsupported("a tokenizer without truncation", error.to_string()))?
            .with_padding(None);
        let mut bytes = Vec::new();
        let mut byte_tokens = vec![None; 256];
        for (token, id) in ordinary.get_vocab(false) {
            let spelled = bytes_of(&token).unwrap_or_else(|| token.clone().into_bytes());
            let place = id as usize;
            if place >= bytes.len() {
                bytes.resize(place + 1, None);
            }
            if let [byte] = spelled[..]
                && token.chars().eq([char_of(byte)])
            {
                byte_tokens[usize::from(byte)] = Some(id);
            }
            bytes[place] = Some(spelled.into_boxed_slice());
        }
        Ok(Self { ordinary, added, bytes, byte_tokens })
    }

    /// Tokens that are not ordinary, by id.
    pub fn added_tokens(&self) -> impl Iterator<Item = &AddedToken> {
        self.added.values()
    }

    /// The id of the added token with this spelling.
    pub fn added_id(&self, spelling: &str) -> Option<u32> {
        self.added.values().find(|token| token.spelling == spelling).map(|token| token.id)
    }

    /// Whether any token has this id; the model's head is often wider than the vocabulary.
    pub fn knows(&self, id: u32) -> bool {
        self.added.contains_key(&id) || self.bytes.get(id as usize).is_some_and(Option::is_some)
    }

    /// One more than the highest id.
    pub fn n_ids(&self) -> usize {
        let highest_added = self.added.last_key_value().map_or(0, |(id, _)| *id as usize + 1);
        self.bytes.len().max(highest_added)
    }

    /// The bytes that a token stands for: what an added token is spelled as, nothing for an unknown id.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        match self.added.get(&id) {
            Some(token) => token.spelling.as_bytes(),
            None => self.bytes.get(id as usize).and_then(Option::as_deref).unwrap_or_default(),
        }
    }

    /// The bytes that a token adds to an answer: nothing for a marker that is for the model alone.
    pub fn visible_bytes(&self, id: u32) -> &[u8] {
        if self.added.get(&id).is_some_and(|token| token.is_hidden) { &[] } else { self.token_bytes(id) }
    }

    /// Text of many tokens, markers left out; incomplete and invalid bytes show as U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.visible_bytes(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Tokens of ordinary text: whatever it spells, none of them is an added token.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`].
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let failed = |reason: String| TokenizerError::Failed { n_bytes: text.len(), reason };
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let encoding = self.ordinary.encode_fast(text, false).map_err(|error| failed(error.to_string()))?;
        let ids = encoding.get_ids();
        // The library's pattern matcher stops without a word when it fails: no text may get lost that way.
        let n_bytes: usize = ids.iter().map(|id| self.ordinary_bytes(*id).len()).sum();
        if n_bytes < text.len() && self.ordinary.get_normalizer().is_none() {
            return Err(failed(format!("its tokens hold {n_bytes} bytes")));
        }
        if !ids.iter().any(|id| self.added.contains_key(id)) {
            return Ok(ids.to_vec());
        }
        // A vocabulary may list an added token as an ordinary one too, with merges that lead to it.
        let mut plain = Vec::with_capacity(ids.len() + 16);
        for id in ids {
            if !self.added.contains_key(id) {
                plain.push(*id);
                continue;
            }
            for byte in self.ordinary_bytes(*id) {
                let token = self.byte_tokens[usize::from(*byte)];
                plain.push(token.ok_or_else(|| failed(format!("no token for the byte {byte:#04x}")))?);
            }
        }
        Ok(plain)
    }

    /// Tokens of a rendered prompt: added tokens where the template wrote them, ordinary ones for everything else.
    /// Text between two added tokens is encoded in one go, so that its tokens are those of the plain text.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`].
    pub fn encode_prompt(&self, prompt: &Rendered) -> Result<Vec<u32>, TokenizerError> {
        let text = prompt.disguised.as_str();
        let mut ids = Vec::new();
        let mut done = 0;
        for (at, token) in self.added_in(text) {
            // A match may begin inside the one before it, or in white space that the one before it swallowed.
            if at < done {
                continue;
            }
            let end = at + token.spelling.len();
            let mut before = &text[done..at];
            if token.strips_left {
                before = before.trim_end();
            }
            ids.extend(self.encode_text(&prompt.disguise.reveal(before))?);
            ids.push(token.id);
            let skipped =
                if token.strips_right { text[end..].len() - text[end..].trim_start().len() } else { 0 };
            done = end + skipped;
        }
        ids.extend(self.encode_text(&prompt.disguise.reveal(&text[done..]))?);
        Ok(ids)
    }

    /// Where added tokens are spelled, in order; of several at one place the longest comes first.
    fn added_in(&self, text: &str) -> Vec<(usize, &AddedToken)> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let stands_alone = |at: usize, end: usize| {
            !text[..at].chars().next_back().is_some_and(is_word)
                && !text[end..].chars().next().is_some_and(is_word)
        };
        let mut found: Vec<(usize, &AddedToken)> = Vec::new();
        for token in self.added.values() {
            let places = text.match_indices(token.spelling.as_str()).map(|(at, _)| at);
            found.extend(
                places
                    .filter(|at| !token.single_word || stands_alone(*at, at + token.spelling.len()))
                    .map(|at| (at, token)),
            );
        }
        found.sort_by_key(|(at, token)| (*at, std::cmp::Reverse(token.spelling.len())));
        found
    }

    fn ordinary_bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).and_then(Option::as_deref).unwrap_or_default()
    }
}

fn is_byte_level(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteLevel(_) => true,
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().any(is_byte_level),
        _ => false,
    }
}
