//! The rules of a generation, over a backend that follows a script.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod admission;
mod ahead;
mod batching;
mod continuing;
mod demo;
#[path = "../rules/draw.rs"]
mod draw_rule;
mod drawing;
mod echo;
mod loops;
mod prefixes;
mod prepared;
mod restart;
mod scripted;

use boca_core::{ChatMessage, FinishReason, GenerateRequest, GenerationEvent, SamplingOverrides};
use boca_engine::backend::BackendError;
use boca_engine::{CancelToken, EngineError, Generator};
use scripted::{CONTEXT_TOKENS, Scripted, id, request, script};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

#[test]
fn every_end_token_stops_and_is_not_shown() {
    for end in ["<|endoftext|>", "<|user|>", "<|observation|>"] {
        let answer = script(&["\nHello there, friend.", end]);
        let mut scripted = Scripted::new(answer.clone());
        let outcome = scripted.generate(&request()).unwrap();
        assert_eq!(outcome.text(), "Hello there, friend.");
        assert_eq!(outcome.summary.finish_reason, FinishReason::Stop);
        assert_eq!(outcome.summary.stop_sequence, None);
        assert_eq!(outcome.summary.usage.completion_tokens as usize, answer.len());
        assert_eq!(outcome.summary.usage.reasoning_tokens, 0);
        assert_eq!(scripted.fed(), answer[..answer.len() - 1]);
        let started = &outcome.events[0];
        let prompt_tokens = outcome.summary.usage.prompt_tokens;
        assert_eq!(*started, GenerationEvent::Started { prompt_tokens, max_tokens: 100 });
    }
}

#[test]
fn markers_of_the_model_never_show_and_tool_calls_do() {
    let mut scripted = Scripted::new(script(&[
        "one ",
        "<|system|>",
        "[gMASK]",
        "two ",
        "<tool_call>",
        "f",
        "</tool_call>",
        "<|user|>",
    ]));
    assert_eq!(scripted.generate(&request()).unwrap().text(), "one two <tool_call>f</tool_call>");
}

#[test]
fn the_prompt_is_computed_in_chunks_and_asks_for_logits_once() {
    let mut scripted = Scripted::new(script(&["x", "<|user|>"]));
    let mut long = request();
    long.messages = vec![ChatMessage::user("tell me about boca and its socket ".repeat(8))];
    let outcome = scripted.generate(&long).unwrap();
    let record = scripted.record.borrow();
    let prompt: Vec<_> = record.steps.iter().take_while(|(_, wants)| !wants).collect();
    assert!(prompt.len() > 3 && prompt.iter().all(|(tokens, _)| tokens.len() == 8));
    let last = &record.steps[prompt.len()].0;
    assert_eq!(prompt.len() * 8 + last.len(), outcome.summary.usage.prompt_tokens as usize);
}

#[test]
fn thinking_is_told_from_the_answer() {
    let mut scripted =
        Scripted::new(script(&["\n", "<think>", "\nfirst this\n", "</think>", "\n", "Done.", "<|user|>"]));
    let outcome = scripted.generate(&request()).unwrap();
    assert_eq!((outcome.reasoning().as_str(), outcome.text().as_str()), ("first this", "Done."));
    let thought = script(&["\nfirst this\n"]).len() as u32;
    assert_eq!(outcome.summary.usage.reasoning_tokens, thought + 2);
}

#[test]
fn thinking_that_is_never_closed_leaves_the_answer_empty() {
    let mut scripted = Scripted::new(script(&["<think>", "on and on", "<|endoftext|>"]));
    let outcome = scripted.generate(&request()).unwrap();
    assert_eq!((outcome.reasoning().as_str(), outcome.text().as_str()), ("on and on", ""));
    assert_eq!(outcome.summary.finish_reason, FinishReason::Stop);
}

#[test]
fn a_spent_thinking_budget_closes_the_thinking() {
    let thought = script(&["<think>", " one two three four five six seven eight nine"]);
    let mut scripted = Scripted::new(thought);
    let mut request = request();
    request.sampling.thinking_budget_tokens = Some(5);
    request.max_tokens = Some(12);
    let outcome = scripted.generate(&request).unwrap();
    let fed = scripted.fed();
    let closed = fed.iter().position(|token| *token == id("</think>")).expect("the tag was fed");
    assert_eq!(closed, 5);
    assert!(!outcome.reasoning().is_empty() && !outcome.text().is_empty());
    assert_eq!(outcome.summary.usage.reasoning_tokens, 6);
    assert_eq!(outcome.summary.finish_reason, FinishReason::Length);
}

#[test]
fn thinking_can_be_switched_off() {
    // Three ways to say so, and a model that tries to think all the same.
    for sampling in [
        SamplingOverrides { thinking: Some(false), ..request().sampling },
        SamplingOverrides { thinking_budget_tokens: Some(0), ..request().sampling },
    ] {
        let mut scripted = Scripted::new(script(&["<think>", "x", "answer", "<|user|>"]));
        let mut request = request();
        request.sampling = sampling;
        let outcome = scripted.generate(&request).unwrap();
        assert_eq!(outcome.reasoning(), "");
        assert_eq!(scripted.fed()[..2], [id("<think>"), id("</think>")]);
        assert!(outcome.text().ends_with("answer"));
        let steps = &scripted.record.borrow().steps;
        let prompt: Vec<u32> = steps
            .iter()
            .flat_map(|(tokens, _)| tokens.clone())
            .take(outcome.summary.usage.prompt_tokens as usize)
            .collect();
        assert!(prompt.contains(&id("/nothink")));
        assert!(prompt.ends_with(&[id("<think>"), id("</think>")]));
    }
}

#[test]
fn stop_strings_end_the_answer_across_tokens() {
    let mut scripted =
        Scripted::new(script(&["<think>", "a STOP b", "</think>", "one ST", "OP", " two", "<|user|>"]));
    let mut request = request();
    request.stop = vec!["never".into(), "STOP".into()];
    let outcome = scripted.generate(&request).unwrap();
    assert_eq!(outcome.reasoning(), "a STOP b", "thinking is not stopped");
    assert_eq!(outcome.text(), "one ");
    assert_eq!(outcome.summary.stop_sequence.as_deref(), Some("STOP"));
    assert_eq!(outcome.summary.finish_reason, FinishReason::Stop);
}

#[test]
fn text_that_only_begins_like_a_stop_string_is_given_out_at_the_end() {
    let mut scripted = Scripted::new(script(&["one ST", "<|user|>"]));
    let mut request = request();
    request.stop = vec!["STOP".into()];
    assert_eq!(scripted.generate(&request).unwrap().text(), "one ST");
}

#[test]
fn the_budget_is_kept_and_reported() {
    let mut scripted = Scripted::new(script(&["a"]));
    let mut request = request();
    request.default_max_tokens = 7;
    let outcome = scripted.generate(&request).unwrap();
    assert_eq!(outcome.summary.finish_reason, FinishReason::Length);
    assert_eq!(outcome.summary.usage.completion_tokens, 7);
    assert_eq!(outcome.text(), "aaaaaaa");
    request.max_tokens = Some(3);
    assert_eq!(scripted.generate(&request).unwrap().summary.usage.completion_tokens, 3);
    // The context left, when nobody names a number.
    request.max_tokens = None;
    request.default_max_tokens = 10_000;
    let usage = scripted.generate(&request).unwrap().summary.usage;
    assert_eq!(usage.prompt_tokens + usage.completion_tokens, CONTEXT_TOKENS);
}

#[test]
fn a_request_that_does_not_fit_is_refused_with_both_numbers() {
    let mut scripted = Scripted::new(script(&["a"]));
    let mut too_many = request();
    too_many.max_tokens = Some(CONTEXT_TOKENS);
    let error = scripted.generate(&too_many).unwrap_err();
    let EngineError::ContextExceeded { prompt_tokens, max_tokens, context_tokens } = error else {
        panic!("{error}")
    };
    assert_eq!((max_tokens, context_tokens), (CONTEXT_TOKENS, CONTEXT_TOKENS));
    assert!(prompt_tokens > 3);
    let mut too_long = request();
    too_long.messages = vec![ChatMessage::user("word ".repeat(1000))];
    let error = scripted.generate(&too_long).unwrap_err();
    assert!(
        matches!(error, EngineError::ContextExceeded { prompt_tokens: 1000.., max_tokens: 1, .. }),
        "{error}"
    );
    assert_eq!(scripted.record.borrow().n_opened, 0);
}

#[test]
fn a_generation_can_be_cancelled_at_any_step() {
    let cancel = CancelToken::default();
    let mut scripted = Scripted::new(script(&["hello"]));
    let mut n_texts = 0;
    let outcome = scripted
        .generate_with(&request(), &cancel, &mut |event| {
            n_texts += u32::from(matches!(event, GenerationEvent::Text(_)));
            if n_texts == 3 {
                cancel.cancel();
            }
        })
        .unwrap();
    assert_eq!(outcome.summary.finish_reason, FinishReason::Cancelled);
    assert_eq!(outcome.text(), "hello".repeat(3));
    // In the middle of the prompt.
    let cancel = CancelToken::default();
    let at_second_step = cancel.clone();
    let hook = Box::new(move |step| {
        if step == 1 {
            at_second_step.cancel();
        }
        Ok(())
    });
    let mut scripted = Scripted::with(script(&["hello"]), 10.0, None, hook);
    let mut long = request();
    long.messages = vec![ChatMessage::user("word ".repeat(60))];
    let outcome = scripted.generate_with(&long, &cancel, &mut |_| {}).unwrap();
    assert_eq!(outcome.summary.finish_reason, FinishReason::Cancelled);
    assert_eq!(outcome.summary.usage.completion_tokens, 0);
    assert_eq!(scripted.record.borrow().steps.len(), 2);
}

/// A backend whose given step lasts until the deadline of a request that allows `time_left`, and that request's
/// outcome.
fn slow_step(
    slow: usize,
    request: &mut GenerateRequest,
    time_left: Duration,
) -> Result<scripted::Outcome, EngineError> {
    let deadline = Rc::new(Cell::new(None));
    let seen = Rc::clone(&deadline);
    let hook = Box::new(move |step| {
        while step == slow && seen.get().is_none_or(|deadline| Instant::now() < deadline) {
            std::hint::spin_loop();
        }
        Ok(())
    });
    let mut scripted = Scripted::with(script(&["a"]), 10.0, None, hook);
    request.time_left = time_left;
    // The request is accepted a moment later, and its deadline is that much later too.
    deadline.set(Some(Instant::now() + time_left + Duration::from_millis(200)));
    let outcome = scripted.generate(request);
    assert!(scripted.record.borrow().open.is_empty());
    outcome
}

#[test]
fn a_deadline_keeps_the_text_so_far_and_is_an_error_before_the_first_token() {
    let mut request = request();
    request.time_left = Duration::ZERO;
    let error = Scripted::new(script(&["a"])).generate(&request).unwrap_err();
    assert!(matches!(error, EngineError::DeadlineBeforeFirstToken));

    request.messages = vec![ChatMessage::user("word ".repeat(60))];
    let error = slow_step(1, &mut request, Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, EngineError::DeadlineBeforeFirstToken));

    request.messages = vec![ChatMessage::user("Hi")];
    let outcome = slow_step(6, &mut request, Duration::from_secs(4)).unwrap();
    assert_eq!(outcome.summary.finish_reason, FinishReason::Deadline);
    assert!(!outcome.text().is_empty());
}

#[test]
fn a_failing_device_leaves_nothing_open_and_the_engine_usable() {
    let hook = Box::new(|step| match step {
        4 => Err(BackendError::Device { after: Duration::ZERO, reason: "fault".into() }),
        _ => Ok(()),
    });
    let mut scripted = Scripted::with(script(&["a", "<|user|>"]), 10.0, None, hook);
    let mut long = request();
    long.messages = vec![ChatMessage::user("word ".repeat(60))];
    assert!(matches!(scripted.generate(&long), Err(EngineError::Backend(_))));
    assert!(scripted.record.borrow().open.is_empty());
    scripted.record.borrow_mut().steps.resize(5, (Vec::new(), false));
    assert_eq!(scripted.generate(&request()).unwrap().text(), "a");
}

#[test]
fn a_panic_in_a_step_closes_the_sequence() {
    let mut scripted = Scripted::with(script(&["a"]), 10.0, None, Box::new(|_| panic!("in the device")));
    let result = catch_unwind(AssertUnwindSafe(|| scripted.generate(&request())));
    assert!(result.is_err());
    assert_eq!((scripted.record.borrow().n_opened, scripted.record.borrow().open.len()), (1, 0));
}

#[test]
fn logits_that_are_no_numbers_are_a_fault_of_the_device() {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut scripted = Scripted::with(script(&["a"]), 10.0, Some(poison), Box::new(|_| Ok(())));
        for error in [scripted.generate(&request()).unwrap_err(), scripted.engine.warm_up().unwrap_err()] {
            assert!(matches!(error, EngineError::Backend(BackendError::Device { .. })), "{error}");
            assert!(error.to_string().contains("the logit of token 7"), "{error}");
        }
    }
}

#[test]
fn a_bias_for_a_token_that_does_not_exist_is_refused() {
    let mut scripted = Scripted::new(script(&["a", "<|user|>"]));
    let mut request = request();
    for unknown in [3080, 5000, u32::MAX] {
        request.sampling.logit_bias = Some(BTreeMap::from([(unknown, 1.0)]));
        let error = scripted.generate(&request).unwrap_err();
        let EngineError::InvalidRequest { param, message } = error else { panic!("{error}") };
        assert_eq!(param, "logit_bias");
        assert!(message.contains("below 3072") && message.contains(&unknown.to_string()), "{message}");
    }
    request.sampling.logit_bias = Some(BTreeMap::from([(id("<|user|>"), 100.0)]));
    assert_eq!(scripted.generate(&request).unwrap().text(), "");
}

#[test]
fn a_seed_fixes_the_text_and_another_changes_it() {
    let mut scripted = Scripted::with(vec![1], 0.0, None, Box::new(|_| Ok(())));
    let mut request = request();
    request.max_tokens = Some(20);
    request.sampling =
        SamplingOverrides { temperature: Some(1.0), seed: Some(11), ..SamplingOverrides::default() };
    let first = scripted.generate(&request).unwrap();
    let again = scripted.generate(&request).unwrap();
    assert_eq!(first.events, again.events);
    request.sampling.seed = Some(12);
    assert_ne!(scripted.generate(&request).unwrap().events, first.events);
}

#[test]
fn characters_come_whole_however_they_are_spread_over_tokens() {
    let mut scripted = Scripted::new(script(&["né 🙂日本", "<|user|>"]));
    let outcome = scripted.generate(&request()).unwrap();
    assert_eq!(outcome.text(), "né 🙂日本");
    assert!(!format!("{:?}", outcome.events).contains('\u{fffd}'));
}

#[test]
fn log_probabilities_come_for_the_answer_when_asked() {
    let mut scripted = Scripted::new(script(&["<think>", "x", "</think>", "Yes", "<|user|>"]));
    let mut request = request();
    assert!(
        !scripted
            .generate(&request)
            .unwrap()
            .events
            .iter()
            .any(|e| matches!(e, GenerationEvent::Logprobs(_)))
    );
    request.top_logprobs = Some(3);
    let outcome = scripted.generate(&request).unwrap();
    let entries: Vec<_> = outcome
        .events
        .iter()
        .filter_map(|e| if let GenerationEvent::Logprobs(entries) = e { Some(entries.clone()) } else { None })
        .flatten()
        .collect();
    assert_eq!(entries.iter().map(|e| e.chosen.token.as_str()).collect::<String>(), "Yes");
    for entry in entries {
        // One logit of 10 among zeros.
        let expected = 10.0 - (10f64.exp() + (scripted::VOCAB_SIZE - 1) as f64).ln();
        assert!((f64::from(entry.chosen.logprob) - expected).abs() < 1e-4);
        assert_eq!(entry.top.len(), 3);
        assert_eq!(entry.top[0], entry.chosen);
        assert!(entry.top[1].logprob < -9.0);
    }
}

#[test]
fn a_request_the_template_or_the_bounds_refuse_names_its_field() {
    let mut scripted = Scripted::new(script(&["a"]));
    let mut bad_tool = request();
    bad_tool.tools_json = vec!["{}".into(), "[]".into()];
    let mut bad_temperature = request();
    bad_temperature.sampling.temperature = Some(9.0);
    for (request, field) in [(bad_tool, "tools[1]"), (bad_temperature, "temperature")] {
        let error = scripted.generate(&request).unwrap_err();
        assert!(matches!(&error, EngineError::InvalidRequest { param, .. } if param == field), "{error}");
    }
    assert_eq!(scripted.engine.info().name, "scripted");
}
