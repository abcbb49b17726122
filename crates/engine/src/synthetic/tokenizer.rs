//! The text side of a synthetic checkpoint: a byte-level BPE of made-up words with the special tokens of GLM-4.5 under
//! their own ids, and what goes with it.

use super::shape::SyntheticShape;
use crate::text::byte_alphabet::char_of;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, Write};

/// The added tokens in the order of their ids, and whether each is a marker that an answer does not show.
const ADDED: [(&str, bool); 36] = [
    ("<|endoftext|>", true),
    ("[MASK]", true),
    ("[gMASK]", true),
    ("[sMASK]", true),
    ("<sop>", true),
    ("<eop>", true),
    ("<|system|>", true),
    ("<|user|>", true),
    ("<|assistant|>", true),
    ("<|observation|>", true),
    ("<|begin_of_image|>", true),
    ("<|end_of_image|>", true),
    ("<|begin_of_video|>", true),
    ("<|end_of_video|>", true),
    ("<|begin_of_audio|>", true),
    ("<|end_of_audio|>", true),
    ("<|begin_of_transcription|>", true),
    ("<|end_of_transcription|>", true),
    ("<|code_prefix|>", true),
    ("<|code_middle|>", true),
    ("<|code_suffix|>", true),
    ("<think>", false),
    ("</think>", false),
    ("<tool_call>", false),
    ("</tool_call>", false),
    ("<tool_response>", false),
    ("</tool_response>", false),
    ("<arg_key>", false),
    ("</arg_key>", false),
    ("<arg_value>", false),
    ("</arg_value>", false),
    ("/nothink", true),
    ("<|begin_of_box|>", true),
    ("<|end_of_box|>", true),
    ("<|image|>", true),
    ("<|video|>", true),
];

/// How text is cut before merging; the pattern of GLM-4.5's own tokenizer.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Ways to merge one token. With two, the file is as long and takes as long to read as the model's own.
const MERGES_A_TOKEN: usize = 2;

/// Ordinary tokens and how they are merged.
struct Vocabulary {
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
    merges: Vec<(u32, u32)>,
    limit: usize,
}

impl Vocabulary {
    fn new(limit: usize) -> Self {
        let mut new = Self { tokens: Vec::new(), ids: HashMap::new(), merges: Vec::new(), limit };
        let mut letters: Vec<char> = (0..=u8::MAX).map(char_of).collect();
        letters.sort_unstable();
        for letter in letters {
            new.push(letter.to_string());
        }
        new.grow();
        new
    }

    /// Adds a token that is made of two others; what is there already, and what comes when all ids are taken, is
    /// left out.
    fn add(&mut self, token: &str) {
        if self.tokens.len() >= self.limit || self.ids.contains_key(token) {
            return;
        }
        let halves = token.char_indices().skip(1).filter_map(|(at, _)| {
            let (left, right) = token.split_at(at);
            Some((*self.ids.get(left)?, *self.ids.get(right)?))
        });
        let merges: Vec<_> = halves.take(MERGES_A_TOKEN).collect();
        if !merges.is_empty() {
            self.merges.extend(merges);
            self.push(token.to_owned());
        }
    }

    fn push(&mut self, token: String) {
        self.ids.insert(token.clone(), self.tokens.len() as u32);
        self.tokens.push(token);
    }

    /// Short tokens first, so that ordinary words are made of few tokens even where the vocabulary is small.
    fn grow(&mut self) {
        let (space, line) = (char_of(b' '), char_of(b'\n'));
        let lower: Vec<char> = ('a'..='z').collect();
        let of_length = |n: u32| {
            let lower = lower.clone();
            (0..26_usize.pow(n)).map(move |at| -> String {
                (0..n).rev().map(|place| lower[at / 26_usize.pow(place) % 26]).collect()
            })
        };
        for word in of_length(1).chain(('A'..='Z').map(String::from)) {
            self.add(&format!("{space}{word}"));
        }
        for pair in of_length(2) {
            self.add(&pair);
        }
        for text in [format!("{space}{space}"), format!("{line}{line}")] {
            self.add(&text);
        }
        for pair in of_length(2) {
            let (first, rest) = pair.split_at(1);
            let capital = first.to_uppercase() + rest;
            for text in [format!("{space}{pair}"), format!("{space}{capital}"), capital] {
                self.add(&text);
            }
        }
        for number in (0..100).map(|n| format!("{n:02}")).chain((0..1000).map(|n| format!("{n:03}"))) {
            self.add(&number);
        }
        for triple in of_length(3) {
            self.add(&triple);
            self.add(&format!("{space}{triple}"));
        }
        // A stride without a common factor visits all, spread over the alphabet.
        const STRIDE: usize = 131_071;
        let n_quads = 26_usize.pow(4);
        for nth in 0..n_quads {
            if self.tokens.len() >= self.limit {
                return;
            }
            let at = nth * STRIDE % n_quads;
            let quad: String = (0..4).rev().map(|place| lower[at / 26_usize.pow(place) % 26]).collect();
            self.add(&quad);
            self.add(&format!("{space}{quad}"));
        }
    }
}

/// Writes `tokenizer.json`.
pub(super) fn write_tokenizer(shape: &SyntheticShape, out: &mut impl Write) -> io::Result<()> {
    let vocabulary = Vocabulary::new(shape.n_ordinary_tokens);
    let added: Vec<Value> = added(shape)
        .map(|(id, token, is_special)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": is_special,
            })
        })
        .collect();
    let byte_level = |add_prefix_space: bool, use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true,
            "use_regex": use_regex,
        })
    };
    let split =
        json!({ "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Isolated", "invert": false });
    let head = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [split, byte_level(false, false)] },
        "post_processor": byte_level(true, true),
        "decoder": byte_level(true, true),
    })
    .to_string();
    // The vocabulary is too large to be made as a value first, so the object is left open for it.
    write!(out, "{},", head.strip_suffix('}').unwrap_or(&head))?;
    write!(
        out,
        r#""model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"#
    )?;
    write!(
        out,
        r#""end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"#
    )?;
    write!(out, r#""vocab":{{"#)?;
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        let comma = if id == 0 { "" } else { "," };
        write!(out, "{comma}\n{}:{id}", Value::from(token.as_str()))?;
    }
    write!(out, r#"}},"merges":["#)?;
    for (nth, (left, right)) in vocabulary.merges.iter().enumerate() {
        let comma = if nth == 0 { "" } else { "," };
        let [left, right] = [left, right].map(|id| Value::from(vocabulary.tokens[*id as usize].as_str()));
        write!(out, "{comma}\n[{left},{right}]")?;
    }
    writeln!(out, "]}}}}")
}

/// `tokenizer_config.json`.
pub(super) fn tokenizer_config(shape: &SyntheticShape) -> Value {
    let decoder: serde_json::Map<String, Value> = added(shape)
        .map(|(id, token, is_special)| {
            let token = json!({
                "content": token, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
                "special": is_special,
            });
            (id.to_string(), token)
        })
        .collect();
    json!({
        "added_tokens_decoder": decoder,
        "clean_up_tokenization_spaces": false,
        "do_lower_case": false,
        "eos_token": "<|endoftext|>",
        "model_max_length": shape.context_tokens(),
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "remove_space": false,
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
}

/// `generation_config.json`, which says no more than the model's own.
pub(super) fn generation_config(shape: &SyntheticShape) -> Value {
    json!({ "eos_token_id": shape.end_tokens(), "pad_token_id": shape.n_ordinary_tokens })
}

fn added(shape: &SyntheticShape) -> impl Iterator<Item = (usize, &'static str, bool)> {
    let first = shape.n_ordinary_tokens;
    ADDED.iter().enumerate().map(move |(nth, (token, is_special))| (first + nth, *token, *is_special))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    fn tokenizer(shape: &SyntheticShape) -> Tokenizer {
        let mut json = Vec::new();
        write_tokenizer(shape, &mut json).unwrap();
        Tokenizer::from_bytes(&json).unwrap()
    }

    #[test]
    fn every_id_has_a_token_and_text_comes_back() {
        let shape = SyntheticShape::tiny(2).unwrap();
        let tokenizer = tokenizer(&shape);
        assert_eq!(tokenizer.n_ids(), shape.n_ordinary_tokens + ADDED.len());
        assert!((0..tokenizer.n_ids() as u32).all(|id| tokenizer.knows(id)));
        let text = "Hello, world! 123 \u{1f600} ünï\n\n  x";
        let ids = tokenizer.encode_text(text).unwrap();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    #[test]
    fn the_special_tokens_of_the_full_size_have_their_own_ids() {
        let shape = SyntheticShape::glm_4_5_air(1).unwrap();
        let of = |spelling: &str| added(&shape).find(|(_, token, _)| *token == spelling).unwrap().0;
        let known = [
            ("<|endoftext|>", 151_329),
            ("[gMASK]", 151_331),
            ("<sop>", 151_333),
            ("<|system|>", 151_335),
            ("<|user|>", 151_336),
            ("<|assistant|>", 151_337),
            ("<|observation|>", 151_338),
        ];
        for (spelling, id) in known {
            assert_eq!(of(spelling), id, "{spelling}");
        }
        assert_eq!(shape.end_tokens(), [151_329, 151_336, 151_338]);
        let vocabulary = Vocabulary::new(shape.n_ordinary_tokens);
        assert_eq!(vocabulary.tokens.len(), 151_329);
        assert!(vocabulary.merges.len() > 280_000, "{}", vocabulary.merges.len());
    }
}
