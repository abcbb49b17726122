//! What was computed once is not computed again, and nobody can tell.

use crate::echo::{Seen, Told, asking, demo, echo, echo_that_keeps};
use boca_core::{ChatMessage, FinishReason, GenerateRequest, Usage};
use boca_engine::Generator;
use boca_engine::backend::BackendError;
use std::cell::RefCell;
use std::rc::Rc;

const STORY: &str =
    "Once there was a daemon that kept every word it had ever read, and never read one twice.";

/// Tokens that were computed so far.
fn computed(seen: &Rc<RefCell<Seen>>) -> usize {
    seen.borrow().steps.iter().flatten().map(|(_, n)| n).sum()
}

fn usage(told: &Told, id: &str) -> Usage {
    told.ends[id].as_ref().unwrap().usage
}

fn run(engine: &mut dyn Generator, told: &mut Told, request: &GenerateRequest) -> Usage {
    told.begin(engine, request);
    told.run(engine);
    usage(told, request.id.as_str())
}

/// The question again with what was answered, and one question more.
fn next_turn(id: &str, first: &GenerateRequest, answer: &str) -> GenerateRequest {
    let mut request = GenerateRequest { id: id.parse().unwrap(), ..first.clone() };
    request.messages.push(ChatMessage::assistant(answer));
    request.messages.push(ChatMessage::user("And then?"));
    request
}

#[test]
fn the_second_turn_computes_only_what_is_new() {
    let (mut engine, seen) = echo_that_keeps(64, 10_000);
    let mut told = Told::default();
    let first = asking("first", STORY, 5);
    let of_first = run(&mut engine, &mut told, &first);
    assert_eq!((of_first.cached_tokens, computed(&seen)), (0, of_first.prompt_tokens as usize + 4));

    let before = computed(&seen);
    let second = run(&mut engine, &mut told, &next_turn("second", &first, "It read on."));
    // The template writes a thinking answer down differently, so the first prompt's last tokens may not come again.
    assert!(second.cached_tokens + 4 >= of_first.prompt_tokens, "{of_first:?} {second:?}");
    let new = (second.prompt_tokens - second.cached_tokens) as usize;
    assert_eq!(computed(&seen) - before, new + 4, "only what is new, and the answer");

    let before = computed(&seen);
    let again = run(&mut engine, &mut told, &GenerateRequest { id: "again".parse().unwrap(), ..first });
    assert_eq!(
        again.cached_tokens + 1,
        again.prompt_tokens,
        "all but the last token, whose logits are needed"
    );
    assert_eq!(computed(&seen) - before, 5);
    assert_eq!(told.texts["again"], told.texts["first"]);
}

#[test]
fn without_a_cache_nothing_is_kept() {
    let (mut engine, seen) = echo(64);
    let mut told = Told::default();
    for name in ["a", "b"] {
        assert_eq!(run(&mut engine, &mut told, &asking(name, STORY, 5)).cached_tokens, 0);
        assert!(seen.borrow().open.is_empty());
    }
}

#[test]
fn what_another_holds_that_is_under_way_is_shared() {
    let (mut engine, seen) = echo(64);
    let mut told = Told::default();
    told.begin(&mut engine, &asking("a", STORY, 30));
    while !told.texts.contains_key("a") {
        told.step(&mut engine);
    }
    let shared = run(&mut engine, &mut told, &asking("b", STORY, 30));
    assert_eq!(shared.cached_tokens + 1, shared.prompt_tokens);
    assert_eq!(told.texts["a"], told.texts["b"]);
    assert!(seen.borrow().open.is_empty());
}

#[test]
fn the_bound_holds_and_short_memory_empties_the_cache() {
    let (mut engine, seen) = echo_that_keeps(64, 150);
    let mut told = Told::default();
    for n in 0..12 {
        run(&mut engine, &mut told, &asking(&format!("r{n}"), &format!("{n} {STORY}"), 5));
        let n_kept = seen.borrow().open.len();
        assert!((1..=4).contains(&n_kept), "{n_kept} sequences of some 40 tokens");
    }
    seen.borrow_mut().fails = Some(BackendError::OutOfMemory { n_tokens: 1, bytes: 1 });
    run(&mut engine, &mut told, &asking("more", "Something else.", 5));
    assert_eq!(told.reason("more"), Some(FinishReason::Length), "it goes on when there is room again");
    assert_eq!(seen.borrow().open.len(), 1, "only its own is kept now");
}

#[test]
fn a_cancelled_answer_leaves_what_it_had_read_and_a_failed_one_nothing() {
    let (mut engine, seen) = echo_that_keeps(8, 10_000);
    let mut told = Told::default();
    let cancel = told.begin(&mut engine, &asking("cancelled", &"word ".repeat(100), 5));
    told.step(&mut engine);
    told.step(&mut engine);
    cancel.cancel();
    told.run(&mut engine);
    let long = run(&mut engine, &mut told, &asking("again", &"word ".repeat(100), 5));
    assert_eq!(long.cached_tokens, 16);
    let n_kept = seen.borrow().open.len();
    told.begin(&mut engine, &asking("fails", STORY, 5));
    let reason = "gone".into();
    seen.borrow_mut().fails = Some(BackendError::Device { after: std::time::Duration::ZERO, reason });
    told.run(&mut engine);
    assert!(told.ends["fails"].is_err());
    assert_eq!(seen.borrow().open.len(), n_kept);
}

#[test]
fn the_demo_model_gives_the_same_logits_from_its_cache() {
    let mut keeps = demo(32, 1 << 30);
    let mut fresh = demo(32, 0);
    let ask = |model: &mut dyn Generator, request: &GenerateRequest| {
        let mut events = Vec::new();
        let never = boca_engine::CancelToken::default();
        let end = model.generate(request, std::time::Instant::now(), &never, &mut |event| events.push(event));
        (events, end.unwrap().usage)
    };
    let mut first = asking("a", "What can you do? Tell me in two sentences.", 24);
    first.top_logprobs = Some(5);
    first.sampling.thinking = Some(false);
    let (events, _) = ask(keeps.as_mut(), &first);
    assert_eq!(ask(fresh.as_mut(), &first).0, events);
    for turn in 0..3 {
        let next = next_turn(&format!("t{turn}"), &first, "I answer questions.");
        let (kept, fresh) = (ask(keeps.as_mut(), &next), ask(fresh.as_mut(), &next));
        assert_eq!(kept.0, fresh.0, "turn {turn}: events with all their log-probabilities");
        assert!(kept.1.cached_tokens > 20 && fresh.1.cached_tokens == 0, "{kept:?}");
        first = next;
    }
}

#[test]
fn a_system_prompt_is_computed_before_the_first_question() {
    let (mut engine, seen) = echo_that_keeps(64, 10_000);
    let system =
        "You are a daemon. You keep every word that you have ever read, and read none of them twice.";
    engine.read_ahead(system).unwrap();
    let ahead = computed(&seen);
    assert!(ahead > 10 && seen.borrow().open.len() == 1);
    let mut told = Told::default();
    let mut first = asking("first", "Hello", 3);
    first.messages.insert(0, ChatMessage::system(system));
    let usage = run(&mut engine, &mut told, &first);
    assert_eq!(usage.cached_tokens as usize, ahead);
    assert!(usage.prompt_tokens as usize > ahead);
}

#[test]
fn the_bound_is_one_of_memory_and_not_of_tokens_counted_once() {
    // This backend shares nothing between sequences that begin alike.
    let (mut engine, seen) = echo_that_keeps(64, 300);
    let mut told = Told::default();
    for n in 0..20 {
        let usage = run(&mut engine, &mut told, &asking(&format!("r{n}"), &format!("{STORY} {n}"), 3));
        let n_kept = seen.borrow().open.len();
        assert!(n_kept * usage.prompt_tokens as usize <= 300, "{n_kept} of {} tokens", usage.prompt_tokens);
        assert!(n == 0 || usage.cached_tokens > 20);
    }
}
