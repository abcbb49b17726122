//! Going on from text that somebody else wrote.

use crate::scripted::{CONTEXT_TOKENS, Scripted, id, request, script, text_model};
use boca_core::{ChatMessage, FinishReason, GenerateRequest, GenerationEvent, SamplingOverrides};
use boca_engine::generate::{EngineOptions, load};
use boca_engine::{CancelToken, EngineError, ModelSource};
use std::path::PathBuf;
use std::time::Instant;

fn continuing(so_far: &str) -> GenerateRequest {
    GenerateRequest { answer_so_far: so_far.into(), ..request() }
}

/// Every token that was computed before the first one was picked.
fn prompt(scripted: &Scripted, n_tokens: u32) -> Vec<u32> {
    let record = scripted.record.borrow();
    record.steps.iter().flat_map(|(tokens, _)| tokens.clone()).take(n_tokens as usize).collect()
}

#[test]
fn the_prompt_ends_with_exactly_the_text_after_closed_thinking() {
    let mut scripted = Scripted::new(script(&[" end", "<|user|>"]));
    let mut request = continuing("The answer spells <|user|> and </think> and goes");
    // Thinking that is asked for has no place in an answer that has begun.
    request.sampling.thinking = Some(true);
    let outcome = scripted.generate(&request).unwrap();
    assert_eq!((outcome.text().as_str(), outcome.reasoning().as_str()), (" end", ""));
    let prompt = prompt(&scripted, outcome.summary.usage.prompt_tokens);
    let answer = script(&["\nThe answer spells <|user|> and </think> and goes"]);
    let (before, tail) = prompt.split_at(prompt.len() - answer.len());
    assert_eq!(tail, answer);
    assert!(before.ends_with(&[id("<think>"), id("</think>")]));
    assert!(!tail.contains(&id("<|user|>")) && !tail.contains(&id("</think>")));
    let fresh = text_model().prompt(&request.messages, &[], false).unwrap();
    assert_eq!(before, fresh.ids, "what comes before the answer is what a fresh answer has");
    assert_eq!(
        outcome.events[0],
        GenerationEvent::Started {
            prompt_tokens: prompt.len() as u32,
            max_tokens: 100 - answer.len() as u32,
        }
    );
}

#[test]
fn no_blank_is_lost_or_doubled_and_line_ends_stay() {
    for (so_far, next, text) in [
        ("Hello", " there", " there"),
        ("Hello ", " there", "there"),
        ("Hel", "lo", "lo"),
        ("One.", "\n\nTwo.", "\n\nTwo."),
        ("- a\n", "- b", "- b"),
    ] {
        let mut scripted = Scripted::new(script(&[next, "<|user|>"]));
        assert_eq!(scripted.generate(&continuing(so_far)).unwrap().text(), text, "{so_far:?}");
    }
}

#[test]
fn a_character_that_begins_after_the_seam_is_whole() {
    let mut scripted = Scripted::new(script(&["é🙂", "<|user|>"]));
    assert_eq!(scripted.generate(&continuing("caf")).unwrap().text(), "é🙂");
}

#[test]
fn thinking_that_the_model_opens_all_the_same_is_closed_at_once() {
    let mut scripted = Scripted::new(script(&["<think>", "x", " rest", "<|user|>"]));
    let outcome = scripted.generate(&continuing("Begun")).unwrap();
    assert_eq!(outcome.reasoning(), "");
    assert_eq!(scripted.fed()[..2], [id("<think>"), id("</think>")]);
}

#[test]
fn stop_strings_reach_across_the_seam() {
    let mut scripted = Scripted::new(script(&["OP and more", "<|user|>"]));
    let stop = vec!["STOP".to_owned()];
    let outcome = scripted.generate(&GenerateRequest { stop: stop.clone(), ..continuing("go ST") }).unwrap();
    assert_eq!(outcome.text(), "");
    assert_eq!(outcome.summary.stop_sequence.as_deref(), Some("STOP"));
    let mut scripted = Scripted::new(script(&["ART", "<|user|>"]));
    let outcome = scripted.generate(&GenerateRequest { stop: stop.clone(), ..continuing("go ST") }).unwrap();
    assert_eq!(outcome.text(), "ART", "what was shown is not shown again");
    let mut scripted = Scripted::new(script(&["x"]));
    let outcome = scripted.generate(&GenerateRequest { stop, ..continuing("go STOP on") }).unwrap();
    assert_eq!(outcome.summary.finish_reason, FinishReason::Stop);
    assert!(scripted.record.borrow().steps.is_empty(), "an answer that is over is not computed");
}

#[test]
fn budget_and_context_count_the_text_so_far() {
    let n_answer = script(&["\none two three four"]).len() as u32;
    let mut scripted = Scripted::new(script(&["a"]));
    let mut request = continuing("one two three four");
    request.max_tokens = Some(n_answer + 3);
    let outcome = scripted.generate(&request).unwrap();
    assert_eq!(outcome.summary.finish_reason, FinishReason::Length);
    assert_eq!(outcome.summary.usage.completion_tokens, 3);
    for (max_tokens, default_max_tokens) in [(Some(n_answer), 100), (None, n_answer), (Some(1), 1)] {
        let request = GenerateRequest { max_tokens, default_max_tokens, ..request.clone() };
        let outcome = scripted.generate(&request).unwrap();
        assert_eq!(outcome.summary.finish_reason, FinishReason::Length);
        assert_eq!((outcome.text().as_str(), outcome.summary.usage.completion_tokens), ("", 0));
    }
    let long = "word ".repeat(CONTEXT_TOKENS as usize);
    let error = scripted.generate(&GenerateRequest { max_tokens: None, ..continuing(&long) }).unwrap_err();
    assert!(matches!(error, EngineError::ContextExceeded { .. }), "{error}");
}

#[test]
fn the_demo_model_goes_on_as_if_it_had_written_the_beginning() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
    let source = ModelSource::Directory(directory);
    let mut generator = load(&source, &EngineOptions::default(), &mut |_| {}).unwrap();
    let mut answer = |so_far: &str| {
        let request = GenerateRequest {
            messages: vec![ChatMessage::user("What can you do?")],
            sampling: SamplingOverrides {
                temperature: Some(0.0),
                thinking: Some(false),
                ..SamplingOverrides::default()
            },
            max_tokens: Some(24),
            answer_so_far: so_far.into(),
            ..request()
        };
        let mut text = String::new();
        let mut emit = |event| {
            if let GenerationEvent::Text(piece) = event {
                text.push_str(&piece);
            }
        };
        generator.generate(&request, Instant::now(), &CancelToken::default(), &mut emit).unwrap();
        text
    };
    let whole = answer("");
    let words: Vec<&str> = whole.split_inclusive(' ').collect();
    assert!(words.len() >= 4, "{whole:?}");
    for n_words in 1..4 {
        let so_far = words[..n_words].concat();
        let so_far = so_far.trim_end();
        let rest = answer(so_far);
        let joined = format!("{so_far}{rest}");
        // The prompt's tokens are those of the whole text, and greedy picks are stable; only the budget may cut it.
        let n_common = joined.len().min(whole.len());
        assert_eq!(joined[..n_common], whole[..n_common], "from {so_far:?}");
    }
}
