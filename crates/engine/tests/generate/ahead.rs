//! Where the device draws, the next step is launched before the last token is read, and nobody can tell from the answers.

use crate::drawing::{Asked, Diary, DrawingBackend};
use crate::echo::{QUESTIONS, Told, asking};
use boca_core::{FinishReason, GenerateRequest, Usage};
use boca_engine::backend::BackendError;
use boca_engine::checkpoint::Checkpoint;
use boca_engine::cpu::CpuBackend;
use boca_engine::generate::{Engine, EngineConfig};
use boca_engine::text::TextModel;
use boca_engine::{EngineError, Generator, ModelSource};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// The demo model, drawing or not.
fn engine(draws: bool, prefill_chunk_tokens: usize, prefix_cache_bytes: u64) -> (Engine, Rc<RefCell<Diary>>) {
    engine_with(draws, prefill_chunk_tokens, prefix_cache_bytes, None)
}

fn engine_with(
    draws: bool,
    prefill_chunk_tokens: usize,
    prefix_cache_bytes: u64,
    kv_limit_bytes: Option<u64>,
) -> (Engine, Rc<RefCell<Diary>>) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
    let Checkpoint { model, text } = Checkpoint::open(&ModelSource::Directory(directory)).unwrap();
    let cpu = CpuBackend::new(&model.config, model.weights.clone(), Some(1));
    let config = EngineConfig {
        info: model.model_info("test", 1),
        defaults: model.generation.clone(),
        prefill_chunk_tokens,
        max_running: 8,
        prefix_cache_bytes,
        kv_limit_bytes,
        loop_guard: true,
    };
    let text = TextModel::new(&text.tokenizer_json, &text.tokenizer_config, &text.chat_template).unwrap();
    let diary = Rc::new(RefCell::new(Diary::default()));
    let engine = if draws {
        Engine::new(Box::new(DrawingBackend::new(cpu, Rc::clone(&diary))), text, config)
    } else {
        Engine::new(Box::new(cpu), text, config)
    };
    (engine.unwrap(), diary)
}

/// Requests of every kind: greedy and drawn, short and long, with stop strings, a bounded thinking, and some whose
/// tokens must be picked from the logits.
fn requests() -> Vec<GenerateRequest> {
    let mut requests: Vec<GenerateRequest> = QUESTIONS
        .iter()
        .enumerate()
        .map(|(n, question)| {
            let mut request = asking(&format!("r{n}"), question, 25 + 9 * n as u32);
            request.sampling.temperature = Some([0.0, 0.7, 1.1][n % 3]);
            request.sampling.top_p = Some([1.0, 0.9][n % 2]);
            request.sampling.top_k = Some([0, 40, 5, 100_000][n % 4]);
            request.sampling.min_p = Some([0.0, 0.02][n / 4]);
            request.sampling.seed = Some(n as u64);
            request
        })
        .collect();
    requests[1].sampling.thinking_budget_tokens = Some(6);
    requests[4].sampling.thinking_budget_tokens = Some(9);
    requests[2].stop = vec!["a".into()];
    requests[5].sampling.presence_penalty = Some(0.3);
    requests[6].top_logprobs = Some(2);
    requests
}

/// All of them, each a few steps after the one before.
fn run(engine: &mut Engine) -> Told {
    let mut told = Told::default();
    for request in requests() {
        told.begin(engine, &request);
        for _ in 0..7 {
            told.step(engine);
        }
    }
    told.run(engine);
    told
}

#[test]
fn answers_are_the_same_whoever_draws() {
    for (prefill_chunk_tokens, kept) in [(256, 0), (16, 0), (64, 1 << 30)] {
        let (mut here, _) = engine(false, prefill_chunk_tokens, kept);
        let (mut there, diary) = engine(true, prefill_chunk_tokens, kept);
        // The second time much of it is kept from the first.
        for _ in 0..2 {
            let (expected, told) = (run(&mut here), run(&mut there));
            assert_eq!(told.texts, expected.texts);
            for (id, end) in &expected.ends {
                let (expected, end) = (end.as_ref().unwrap(), told.ends[id].as_ref().unwrap());
                // What another has read that is under way is seen a step later.
                let usage = Usage { cached_tokens: expected.usage.cached_tokens, ..end.usage };
                assert_eq!(
                    (end.finish_reason, &end.stop_sequence, usage),
                    (expected.finish_reason, &expected.stop_sequence, expected.usage),
                    "{id}"
                );
            }
        }
        let diary = diary.borrow();
        assert!(diary.asked.len() > 100, "it has drawn");
        assert!(kept > 0 || diary.n_open == 0, "nothing is left open");
    }
}

#[test]
fn a_step_is_launched_before_the_last_one_is_read_and_hardly_one_too_many() {
    let (mut engine, diary) = engine(true, 256, 0);
    let mut told = Told::default();
    let request = asking("r", "What can you do?", 12);
    told.begin(&mut engine, &request);
    told.run(&mut engine);
    // The bound is known before the token is: nothing is launched beyond it.
    assert_eq!(told.reason("r"), Some(FinishReason::Length));
    let launched_first = (1..12).flat_map(|n| [Asked::Launch(n + 1), Asked::Collect(n)]);
    let expected: Vec<Asked> =
        std::iter::once(Asked::Launch(1)).chain(launched_first).chain([Asked::Collect(12)]).collect();
    assert_eq!(diary.borrow().asked, expected);
    // An end that nobody could know costs one step, whose key and value are cut off again.
    diary.borrow_mut().asked.clear();
    told.begin(&mut engine, &asking("s", "Hello!", 300));
    told.run(&mut engine);
    assert_eq!(told.reason("s"), Some(FinishReason::Stop));
    let asked = &diary.borrow().asked;
    let n_launched = asked.iter().filter(|asked| matches!(asked, Asked::Launch(_))).count();
    let n_tokens = told.ends["s"].as_ref().unwrap().usage.completion_tokens as usize;
    assert_eq!(n_launched, n_tokens + 1);
    let [.., Asked::Cut { from, to }, Asked::Forget(_)] = asked[..] else { panic!("{asked:?}") };
    assert_eq!(from, to + 1);
}

#[test]
fn one_that_is_cancelled_leaves_and_the_others_go_on() {
    let (mut alone, _) = engine(false, 256, 0);
    let mut expected = Told::default();
    expected.begin(&mut alone, &asking("stays", "What can you do?", 40));
    expected.run(&mut alone);
    let (mut engine, diary) = engine(true, 256, 0);
    let mut told = Told::default();
    told.begin(&mut engine, &asking("stays", "What can you do?", 40));
    let cancel = told.begin(&mut engine, &asking("leaves", "How do I stop the daemon?", 200));
    for _ in 0..8 {
        told.step(&mut engine);
    }
    cancel.cancel();
    told.step(&mut engine);
    assert_eq!(told.reason("leaves"), Some(FinishReason::Cancelled));
    assert_eq!((engine.n_running(), diary.borrow().n_open), (1, 1));
    told.run(&mut engine);
    assert_eq!(told.texts["stays"], expected.texts["stays"]);
    assert_eq!(diary.borrow().n_open, 0);
}

#[test]
fn a_step_that_fails_when_it_is_read_ends_those_that_were_in_it() {
    let (mut engine, diary) = engine(true, 256, 0);
    let mut told = Told::default();
    told.begin(&mut engine, &asking("first", "What can you do?", 40));
    for _ in 0..5 {
        told.step(&mut engine);
    }
    diary.borrow_mut().fails = Some(5);
    told.begin(&mut engine, &asking("second", "Hello!", 300));
    told.run(&mut engine);
    assert!(matches!(told.ends["first"], Err(EngineError::Backend(_))), "{:?}", told.ends["first"]);
    assert_eq!(told.reason("second"), Some(FinishReason::Stop));
    assert_eq!(diary.borrow().n_open, 0);
}

#[test]
fn a_launch_that_fails_ends_whom_it_must_and_the_step_before_it_is_read() {
    let device = || BackendError::Device { after: Duration::ZERO, reason: "gone".into() };
    let memory = || BackendError::OutOfMemory { n_tokens: 1, bytes: 1 };
    for (error, survives) in [(device(), false), (memory(), false), (memory(), true)] {
        let (mut engine, diary) = engine(true, 256, if survives { 1 << 30 } else { 0 });
        let mut told = Told::default();
        // With something kept that can be given up, memory is had and the step tried again.
        told.begin(&mut engine, &asking("kept", "Hello!", 5));
        told.run(&mut engine);
        told.begin(&mut engine, &asking("r", "What can you do?", 12));
        for _ in 0..4 {
            told.step(&mut engine);
        }
        diary.borrow_mut().refuses = Some(error.clone());
        told.run(&mut engine);
        assert_eq!(told.ends["r"].is_ok(), survives, "{error}: {:?}", told.ends["r"]);
        if survives {
            let (mut alone, _) = self::engine(false, 256, 0);
            let mut expected = Told::default();
            expected.begin(&mut alone, &asking("r", "What can you do?", 12));
            expected.run(&mut alone);
            assert_eq!(told.texts["r"], expected.texts["r"]);
        }
        told.begin(&mut engine, &asking("next", "Hello!", 5));
        told.run(&mut engine);
        assert!(told.ends["next"].is_ok());
    }
}

#[test]
fn a_deadline_that_passes_while_a_step_is_under_way_keeps_the_text_so_far() {
    let (mut engine, diary) = engine(true, 256, 0);
    let mut told = Told::default();
    let hasty = GenerateRequest {
        time_left: Duration::from_secs(3),
        ..asking("r", "Which model is this, and how large is it? Tell me what it needs.", 300)
    };
    told.begin(&mut engine, &hasty);
    for _ in 0..6 {
        told.step(&mut engine);
    }
    let (_sender, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(Duration::from_secs(3)).is_err());
    told.run(&mut engine);
    assert_eq!(told.reason("r"), Some(FinishReason::Deadline));
    assert!(!told.texts["r"].is_empty());
    let diary = diary.borrow();
    assert!(matches!(diary.asked[..], [.., Asked::Cut { .. }, Asked::Forget(_)]), "{:?}", diary.asked);
    assert_eq!((diary.n_open, diary.n_unread), (0, 0));
}

#[test]
fn a_panic_while_a_step_is_read_leaves_nothing_behind() {
    let (mut engine, diary) = engine(true, 256, 0);
    let mut told = Told::default();
    told.begin(&mut engine, &asking("r", "What can you do?", 30));
    diary.borrow_mut().panics = Some(3);
    let result = catch_unwind(AssertUnwindSafe(|| told.run(&mut engine)));
    assert!(result.is_err());
    assert_eq!(diary.borrow().n_open, 0);
    assert_eq!(diary.borrow().asked.last(), Some(&Asked::Forget(4)), "the step after it");
}

#[test]
fn memory_is_promised_once_while_a_step_is_under_way() {
    let request = |id: &str| asking(id, "Which model is this, and how large is it?", 40);
    let (mut alone, _) = engine(true, 8, 0);
    let mut told = Told::default();
    told.begin(&mut alone, &request("r"));
    let one = alone.load().kv_bytes_promised;
    assert!(one > 0);
    let (mut engine, _) = engine_with(true, 8, 0, Some(3 * one));
    let mut told = Told::default();
    for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        told.begin(&mut engine, &request(id));
        told.step(&mut engine);
        assert_eq!(engine.load().n_running as usize, (n + 1).min(3), "{id} fits, or does not");
        assert!(engine.load().kv_bytes_promised <= 3 * one);
    }
    told.run(&mut engine);
    assert!(told.ends.values().all(Result::is_ok) && told.ends.len() == 4);
    assert_eq!(engine.load().kv_bytes_promised, 0);
}

#[test]
fn a_step_is_counted_with_all_its_tokens_whoever_has_left() {
    let (mut engine, _) = engine(true, 256, 0);
    let mut told = Told::default();
    told.begin(&mut engine, &asking("stays", "What can you do?", 30));
    for _ in 0..3 {
        told.step(&mut engine);
    }
    let before = engine.load().prompt_tokens_computed_total;
    let cancel = told.begin(&mut engine, &asking("leaves", "Hello!", 30));
    while engine.load().prompt_tokens_computed_total == before {
        told.step(&mut engine);
        cancel.cancel();
        assert!(!told.ends.contains_key("stays"), "its prompt was never counted");
    }
}
