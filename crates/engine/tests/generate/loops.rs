//! A model that says the same thing over and over is stopped.

use crate::scripted::{Scripted, id, request, script};
use boca_core::FinishReason;
use boca_engine::Generator;

#[test]
fn an_answer_that_repeats_itself_is_ended_with_what_it_has() {
    let mut scripted = Scripted::guarded(script(&["Once upon a time", "a"]));
    let mut request = request();
    request.max_tokens = Some(350);
    let outcome = scripted.generate(&request).unwrap();
    assert_eq!(outcome.summary.finish_reason, FinishReason::Repetition);
    assert!(outcome.text().starts_with("Once upon a timeaaaa"), "{}", outcome.text());
    let n = outcome.summary.usage.completion_tokens;
    assert!((256..300).contains(&n), "{n}");
    assert_eq!(scripted.engine.load().repetitions_total, 1);

    let mut unguarded = Scripted::new(script(&["Once upon a time", "a"]));
    assert_eq!(unguarded.generate(&request).unwrap().summary.finish_reason, FinishReason::Length);
}

#[test]
fn thinking_that_repeats_itself_is_closed_and_the_answer_follows() {
    let mut thought = script(&["<think>"]);
    thought.extend(script(&[" and on"]).repeat(150));
    let n_thought = thought.len();
    let mut scripted = Scripted::guarded(thought);
    let mut request = request();
    request.max_tokens = Some(320);
    let outcome = scripted.generate(&request).unwrap();
    let closed = scripted.fed().iter().position(|token| *token == id("</think>")).expect("it was closed");
    assert!((256..n_thought).contains(&closed), "{closed} of {n_thought}");
    assert!(!outcome.text().is_empty() && !outcome.text().contains("think"));
    assert_eq!(outcome.summary.usage.reasoning_tokens as usize, closed + 1);
    assert_eq!(outcome.summary.finish_reason, FinishReason::Length);
}
