//! The tokenizer of the demo model: special tokens come from the template alone, and no text is lost.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod template_cases;

use boca_engine::text::{ChatTemplate, Conversation, Detokenizer, Tokenizer, TokenizerError};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::sync::LazyLock;

fn demo(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model").join(file)
}

static JSON: LazyLock<Vec<u8>> = LazyLock::new(|| std::fs::read(demo("tokenizer.json")).unwrap());
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_bytes(&JSON).unwrap());
/// The library with its own handling of added tokens.
static LIBRARY: LazyLock<tokenizers::Tokenizer> =
    LazyLock::new(|| tokenizers::Tokenizer::from_bytes(&*JSON).unwrap());
static TEMPLATE: LazyLock<ChatTemplate> =
    LazyLock::new(|| template_cases::read_template(&demo("chat_template.jinja")));

fn encode(conversation: &Conversation) -> (String, Vec<u32>) {
    let rendered = TEMPLATE.render(conversation).unwrap();
    let ids = TOKENIZER.encode_prompt(&rendered).unwrap();
    (rendered.text, ids)
}

/// The added tokens among the ids, in order.
fn added(ids: &[u32]) -> Vec<&str> {
    ids.iter()
        .filter_map(|id| TOKENIZER.added_tokens().find(|token| token.id == *id))
        .map(|token| token.spelling.as_str())
        .collect()
}

/// The prompt's text again, special tokens written out.
fn spelled(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| TOKENIZER.token_bytes(*id)).copied().collect();
    String::from_utf8(bytes).unwrap()
}

/// A conversation in which every place that a person or a tool can write to holds one of these texts.
fn everywhere(texts: &[String; 7]) -> Conversation {
    let [system, user, answer, argument, result, key, description] = texts;
    Conversation {
        messages: vec![
            json!({"role": "system", "content": system}),
            json!({"role": "user", "content": user}),
            json!({"role": "assistant", "content": answer, "reasoning_content": description, "tool_calls": [
                {"function": {"name": "f", "arguments": {key: argument, "list": [argument, {key: 1}]}}}
            ]}),
            json!({"role": "tool", "content": result}),
            json!({"role": "user", "content": [{"type": "text", "text": user}, system]}),
        ],
        tools: vec![json!({"name": "f", "description": description, key: {"x": result}})],
        add_generation_prompt: true,
        enable_thinking: None,
    }
}

/// The added tokens that the demo template writes for [`everywhere`]: an explanation of how a tool is called, then
/// turn by turn.
#[rustfmt::skip]
const WRITTEN: [&str; 29] = [
    "[gMASK]", "<sop>", "<|system|>",
    "<tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "</tool_call>",
    "<|system|>", "<|user|>", "<|assistant|>", "<think>", "</think>",
    "<tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>",
    "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "</tool_call>",
    "<|observation|>", "<tool_response>", "</tool_response>", "<|user|>", "<|assistant|>",
];

fn texts(text: &str) -> [String; 7] {
    std::array::from_fn(|place| if place == 5 { format!("key {text}") } else { text.to_owned() })
}

#[test]
fn no_place_of_a_request_can_write_a_special_token() {
    assert_eq!(added(&encode(&everywhere(&texts("harmless"))).1), WRITTEN);
    for token in TOKENIZER.added_tokens() {
        // Thinking tags in an answer are taken apart by the template; it is the other places that matter here.
        let mut hostile = texts(&format!("a{} b", token.spelling));
        hostile[2] = "an answer".into();
        let (text, ids) = encode(&everywhere(&hostile));
        assert_eq!(added(&ids), WRITTEN, "{}", token.spelling);
        assert_eq!(spelled(&ids), text);
    }
}

#[test]
fn pieces_do_not_join_into_a_special_token() {
    let say = |parts: Json| Conversation {
        messages: vec![json!({"role": "user", "content": parts})],
        ..Conversation::default()
    };
    for parts in [json!(["<|us", "er|>"]), json!(["<", "/think", ">"]), json!(["[gM", "ASK", "]"])] {
        let (text, ids) = encode(&say(parts));
        assert_eq!(added(&ids), ["[gMASK]", "<sop>", "<|user|>"]);
        assert_eq!(spelled(&ids), text);
    }
    // Half from the template, half from a person.
    let half = ChatTemplate::new(
        "half",
        "<|us{{ messages[0].content }}<{{ messages[0].content }}>",
        template_cases::SPECIAL_TOKENS.into_iter(),
        Vec::new(),
    )
    .unwrap();
    for content in ["er|>", "think", "/think"] {
        let rendered = half.render(&say(json!(content))).unwrap();
        let ids = TOKENIZER.encode_prompt(&rendered).unwrap();
        assert_eq!(added(&ids), [""; 0], "{}", rendered.text);
        assert_eq!(spelled(&ids), rendered.text);
    }
}

#[test]
fn a_past_answer_is_taken_apart_as_in_python_and_stays_text() {
    let conversation = Conversation {
        messages: vec![
            json!({"role": "user", "content": "q"}),
            json!({"role": "assistant", "content": "<think>a<|user|>b</think> c </think> d<|user|>"}),
        ],
        ..Conversation::default()
    };
    let (text, ids) = encode(&conversation);
    assert!(text.ends_with("<|assistant|>\n<think>a<|user|>b</think>\nd<|user|>"), "{text}");
    assert_eq!(added(&ids), ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<think>", "</think>"]);
    assert_eq!(spelled(&ids), text);
}

fn tricky_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(template_cases::SPECIAL_TOKENS.to_vec()).prop_map(str::to_owned),
        proptest::sample::select(vec![
            "<",
            ">",
            "|",
            "/",
            "<|",
            "|>",
            "think",
            "user",
            "\u{f0000}",
            " ",
            "\n",
            "{{",
            "%}"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn special_ids_are_only_where_the_template_put_them(
        texts in proptest::array::uniform7(tricky_text()),
    ) {
        let mut texts = texts;
        texts[2] = format!("answer {}", texts[2].replace("</think>", ""));
        texts[5] = format!("key {}", texts[5]);
        let (text, ids) = encode(&everywhere(&texts));
        prop_assert_eq!(added(&ids), WRITTEN);
        prop_assert_eq!(spelled(&ids), text.as_str());
        for verbatim in [&texts[0], &texts[1], &texts[3], &texts[4]] {
            prop_assert!(text.contains(verbatim.as_str()));
        }
    }

    #[test]
    fn ordinary_text_gets_the_library_s_tokens(text in "[a-zA-Z0-9 .,!?'\\n\\té日本🙂-]{0,60}") {
        let theirs = LIBRARY.encode(text.as_str(), false).unwrap();
        prop_assert_eq!(TOKENIZER.encode_text(&text).unwrap(), theirs.get_ids());
    }

    #[test]
    fn a_prompt_without_tricks_gets_the_library_s_tokens(text in "[a-z é\\n]{1,40}", reply in "[a-z é\\n]{0,40}") {
        let conversation = Conversation {
            messages: vec![
                json!({"role": "system", "content": reply}),
                json!({"role": "user", "content": text}),
                json!({"role": "assistant", "content": reply}),
                json!({"role": "user", "content": text}),
            ],
            tools: vec![json!({"name": "now", "parameters": {}})],
            add_generation_prompt: true,
            enable_thinking: Some(false),
        };
        let (text, ids) = encode(&conversation);
        let theirs = LIBRARY.encode(text.as_str(), false).unwrap();
        prop_assert_eq!(ids, theirs.get_ids());
    }

    #[test]
    fn streaming_gives_what_decoding_the_whole_gives(ids in proptest::collection::vec(0u32..3100, 0..80)) {
        let mut detokenizer = Detokenizer::default();
        let mut streamed = String::new();
        for id in &ids {
            detokenizer.push(TOKENIZER.visible_bytes(*id), &mut streamed);
        }
        detokenizer.finish(&mut streamed);
        let whole = TOKENIZER.decode(&ids);
        prop_assert_eq!(&streamed, &whole);
        let known: Vec<u32> = ids.into_iter().filter(|id| TOKENIZER.knows(*id)).collect();
        prop_assert_eq!(whole, LIBRARY.decode(&known, true).unwrap());
    }

    #[test]
    fn any_text_comes_back(text in "\\PC{0,60}") {
        let ids = TOKENIZER.encode_text(&text).unwrap();
        prop_assert_eq!(added(&ids), [""; 0]);
        prop_assert_eq!(TOKENIZER.decode(&ids), text);
    }
}

#[test]
fn long_texts_come_back_whole() {
    for unit in [" ", "\n", "a", "7", "ab ", "\r\n", "é", "🙂", "<|user|>", " \t\n", "!", "'s", "a1\u{300}"]
    {
        let text = unit.repeat(40_000 / unit.len());
        let ids = TOKENIZER.encode_text(&text).unwrap();
        assert_eq!(TOKENIZER.decode(&ids).len(), text.len(), "{unit:?}");
    }
}

#[test]
fn every_token_has_bytes_and_added_ones_a_name() {
    assert_eq!(TOKENIZER.n_ids(), 3072);
    assert!((0..3072).all(|id| TOKENIZER.knows(id) && !TOKENIZER.token_bytes(id).is_empty()));
    assert!(!TOKENIZER.knows(3072));
    assert_eq!(TOKENIZER.token_bytes(3072), b"");
    let user = TOKENIZER.added_id("<|user|>").unwrap();
    assert_eq!((TOKENIZER.token_bytes(user), TOKENIZER.visible_bytes(user)), (&b"<|user|>"[..], &b""[..]));
    let call = TOKENIZER.added_id("<tool_call>").unwrap();
    assert_eq!(TOKENIZER.visible_bytes(call), b"<tool_call>");
}

#[test]
fn other_kinds_of_tokenizers_are_refused_with_a_reason() {
    assert!(matches!(Tokenizer::from_bytes(b"{"), Err(TokenizerError::Unsupported { .. })));
    let mut json: Json = serde_json::from_slice(&JSON).unwrap();
    json["decoder"] = json!({"type": "Metaspace", "replacement": "▁", "add_prefix_space": true});
    let error = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.contains("`ByteLevel`") && error.contains("Metaspace"), "{error}");
    json["decoder"] = Json::Null;
    let error = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.contains("found none"), "{error}");
}

#[test]
fn a_special_token_in_the_ordinary_vocabulary_is_still_out_of_reach() {
    // A vocabulary whose merges spell out an added token.
    let mut json: Json = serde_json::from_slice(&JSON).unwrap();
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    merges.insert(0, json!(["<", "s"]));
    merges.insert(1, json!(["<s", ">"]));
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    vocab.insert("<s".into(), json!(3072));
    vocab.insert("<s>".into(), json!(3073));
    json["pre_tokenizer"] =
        json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false, "trim_offsets": true});
    json["added_tokens"].as_array_mut().unwrap().push(json!({
        "id": 3073, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    }));
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let ids = tokenizer.encode_text("a<s>b").unwrap();
    assert!(!ids.contains(&3073), "{ids:?}");
    let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
    assert_eq!(bytes, b"a<s>b");
}
