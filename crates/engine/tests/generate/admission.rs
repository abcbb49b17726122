//! Who begins is bounded by KV memory: what is kept gives way, then those that came later wait.

use crate::echo::{Seen, Told, asking, echo, echo_with};
use boca_core::{ErrorCode, Failure, FinishReason, GenerateRequest};
use boca_engine::{EngineError, Generator};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Tokens of the prompt that `asking` makes of a word.
fn prompt_tokens() -> u64 {
    let (mut engine, _) = echo(64);
    let mut told = Told::default();
    told.begin(&mut engine, &asking("r", "Hello", 1));
    told.run(&mut engine);
    u64::from(told.ends["r"].as_ref().unwrap().usage.prompt_tokens)
}

fn n_open(seen: &Rc<RefCell<Seen>>) -> usize {
    seen.borrow().open.len()
}

#[test]
fn those_that_do_not_fit_wait_in_order_and_are_answered_all_the_same() {
    let one = prompt_tokens() + 20;
    let (mut engine, seen) = echo_with(64, 0, Some(2 * one));
    let mut told = Told::default();
    for name in ["a", "b", "c", "d"] {
        told.begin(&mut engine, &asking(name, "Hello", 20));
    }
    told.begin(&mut engine, &asking("small", "Hello", 1));
    let load = engine.load();
    assert_eq!((load.n_running, load.n_waiting, engine.n_running()), (2, 3, 5));
    assert_eq!((load.kv_limit_bytes, load.kv_bytes_promised), (Some(2 * one), 2 * one));
    while engine.n_running() > 0 {
        told.step(&mut engine);
        let load = engine.load();
        assert!(load.kv_bytes_in_use <= 2 * one && load.kv_bytes_promised <= 2 * one, "{load:?}");
        assert!(told.ends.contains_key("c") || !told.ends.contains_key("small"), "nobody overtakes");
    }
    for name in ["a", "b", "c", "d"] {
        assert_eq!(told.reason(name), Some(FinishReason::Length));
        assert_eq!(told.texts[name], told.texts["a"]);
    }
    assert_eq!((n_open(&seen), engine.load().kv_bytes_promised), (0, 0));
}

#[test]
fn what_is_kept_gives_way_before_anybody_waits() {
    let one = prompt_tokens() + 20;
    let (mut engine, seen) = echo_with(64, 10_000, Some(2 * one));
    let mut told = Told::default();
    for n in 0..6 {
        told.begin(&mut engine, &asking(&format!("r{n}"), &format!("{n} Hello"), 16));
        told.run(&mut engine);
        assert!(engine.load().kv_bytes_in_use <= 2 * one);
    }
    assert!(n_open(&seen) > 0 && engine.load().prefix_cache_tokens > 0);
    for name in ["a", "b"] {
        told.begin(&mut engine, &asking(name, "Hello", 20));
    }
    assert_eq!(engine.load().n_waiting, 0, "both fit beside each other");
    while engine.n_running() > 0 {
        told.step(&mut engine);
        assert!(engine.load().kv_bytes_in_use <= 2 * one, "{:?}", engine.load());
    }
    assert_eq!(told.reason("b"), Some(FinishReason::Length));
}

#[test]
fn one_that_waits_can_be_cancelled_and_be_late() {
    let one = prompt_tokens() + 40;
    let (mut engine, seen) = echo_with(64, 0, Some(one));
    let mut told = Told::default();
    told.begin(&mut engine, &asking("runs", "Hello", 40));
    let cancel = told.begin(&mut engine, &asking("cancelled", "Hello", 40));
    let late = GenerateRequest { time_left: Duration::from_millis(30), ..asking("late", "Hello", 40) };
    let until = std::time::Instant::now() + late.time_left;
    told.begin(&mut engine, &late);
    told.begin(&mut engine, &asking("last", "Hello", 40));
    cancel.cancel();
    told.step(&mut engine);
    assert_eq!(told.reason("cancelled"), Some(FinishReason::Cancelled));
    assert_eq!(told.ends["cancelled"].as_ref().unwrap().usage.completion_tokens, 0);
    while std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    told.step(&mut engine);
    assert!(matches!(told.ends["late"], Err(EngineError::DeadlineBeforeFirstToken)));
    assert_eq!((engine.n_running(), n_open(&seen)), (2, 1));
    told.run(&mut engine);
    assert_eq!(told.reason("last"), Some(FinishReason::Length));
    assert_eq!(engine.load().cancelled_total, 1);
}

#[test]
fn one_that_could_never_fit_is_refused_at_once_with_the_numbers() {
    let one = prompt_tokens() + 20;
    let (mut engine, _) = echo_with(64, 0, Some(one));
    let mut told = Told::default();
    told.begin(&mut engine, &asking("too-much", "Hello", 21));
    let error = told.ends.remove("too-much").unwrap().unwrap_err();
    let EngineError::KvExceeded { max_tokens: 21, kv_tokens, .. } = error else { panic!("{error}") };
    assert_eq!(u64::from(kv_tokens), one);
    let failure = Failure::from(error);
    assert_eq!(
        (failure.code, failure.param.as_deref()),
        (ErrorCode::ContextLengthExceeded, Some("max_tokens"))
    );
    assert!(failure.message.contains("21 more") && failure.message.contains(&one.to_string()), "{failure}");
    // Who names no number gets what there is.
    told.begin(&mut engine, &GenerateRequest { max_tokens: None, ..asking("fits", "Hello", 1) });
    told.run(&mut engine);
    let usage = told.ends["fits"].as_ref().unwrap().usage;
    assert_eq!(u64::from(usage.prompt_tokens + usage.completion_tokens), one);
}
