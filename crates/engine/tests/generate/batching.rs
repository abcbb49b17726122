//! Many answers at once: none depends on its company, none stops the others, and what one breaks is its own.

use crate::echo::{QUESTIONS, Step, Told, asking, demo, echo};
use boca_core::{FinishReason, GenerateRequest, Usage};
use boca_engine::backend::BackendError;
use boca_engine::{EngineError, Generator};
use std::time::Duration;

#[test]
fn an_answer_of_the_demo_model_is_the_same_in_any_company() {
    let questions = &QUESTIONS[..5];
    let ask = |n: usize, temperature: f32| {
        let mut request = asking(&format!("r{n}"), questions[n], 30 + 7 * n as u32);
        request.sampling.temperature = Some(temperature);
        request.sampling.seed = Some(5);
        request
    };
    let mut alone = demo(256, 0);
    let mut together = demo(16, 0);
    for temperature in [0.0, 1.2] {
        let mut expected = Told::default();
        for n in 0..questions.len() {
            expected.begin(alone.as_mut(), &ask(n, temperature));
            expected.run(alone.as_mut());
        }
        let mut told = Told::default();
        // They join at different steps; the first one has ended before the last one comes.
        for n in 0..questions.len() {
            told.begin(together.as_mut(), &ask(n, temperature));
            for _ in 0..9 {
                told.step(together.as_mut());
            }
        }
        told.run(together.as_mut());
        assert_eq!(told.texts, expected.texts, "temperature {temperature}");
        for (id, end) in &expected.ends {
            let (alone, together) = (end.as_ref().unwrap(), told.ends[id].as_ref().unwrap());
            // Prompts that begin alike share what was computed, which is seen in the usage alone.
            let usage = Usage { cached_tokens: 0, ..together.usage };
            assert_eq!((alone.usage, alone.finish_reason), (usage, together.finish_reason));
        }
    }
}

#[test]
fn everyone_who_writes_gets_a_token_in_every_step() {
    let (mut engine, seen) = echo(64);
    let mut told = Told::default();
    told.begin(&mut engine, &asking("writer", "Hello", 60));
    while !told.texts.contains_key("writer") {
        told.step(&mut engine);
    }
    let before = seen.borrow().steps.len();
    told.begin(&mut engine, &asking("reader", &"word ".repeat(200), 4));
    told.begin(&mut engine, &asking("short", "Hi", 4));
    told.run(&mut engine);
    let seen = seen.borrow();
    let of_writer = |step: &&Step| step.iter().any(|(sequence, n)| *sequence == 1 && *n == 1);
    let until_its_end = &seen.steps[before..before + 55];
    assert_eq!(until_its_end.iter().filter(of_writer).count(), 55, "the long prompt stops nobody");
    let last_of = |sequence: u64| seen.steps.iter().rposition(|s| s.iter().any(|(of, _)| *of == sequence));
    assert!(last_of(3) < last_of(2), "a short prompt does not wait behind a long one");
    let largest = seen.steps.iter().map(|s| s.iter().map(|(_, n)| n).sum::<usize>()).max().unwrap();
    assert!(largest <= 64 + 2, "a step took {largest} tokens");
    assert!(seen.open.is_empty());
}

#[test]
fn a_prompt_alone_is_read_in_whole_chunks() {
    let (mut engine, seen) = echo(64);
    let mut told = Told::default();
    told.begin(&mut engine, &asking("r", &"word ".repeat(200), 1));
    told.run(&mut engine);
    let sizes: Vec<usize> = seen.borrow().steps.iter().map(|step| step[0].1).collect();
    assert!(sizes.len() >= 4 && sizes[..sizes.len() - 1].iter().all(|n| *n == 64), "{sizes:?}");
}

#[test]
fn one_that_is_cancelled_or_late_leaves_within_a_step_and_the_others_go_on() {
    let (mut engine, seen) = echo(8);
    let mut told = Told::default();
    told.begin(&mut engine, &asking("stays", "Hello", 20));
    let writing = told.begin(&mut engine, &asking("writing", "Hi", 1000 / 5));
    while told.texts.len() < 2 {
        told.step(&mut engine);
    }
    let reading = told.begin(&mut engine, &asking("reading", &"word ".repeat(150), 20));
    let late = GenerateRequest { time_left: Duration::ZERO, ..asking("late", "Hi", 5) };
    told.begin(&mut engine, &late);
    assert!(matches!(told.ends["late"], Err(EngineError::DeadlineBeforeFirstToken)));
    told.step(&mut engine);
    assert_eq!((engine.n_running(), seen.borrow().open.len()), (3, 3));
    writing.cancel();
    reading.cancel();
    told.step(&mut engine);
    assert_eq!((engine.n_running(), seen.borrow().open.len()), (1, 1), "their memory is free");
    for gone in ["writing", "reading"] {
        assert_eq!(told.reason(gone), Some(FinishReason::Cancelled));
    }
    told.run(&mut engine);
    let (mut alone, _) = echo(8);
    let mut expected = Told::default();
    expected.begin(&mut alone, &asking("stays", "Hello", 20));
    expected.run(&mut alone);
    assert_eq!(
        (told.reason("stays"), &told.texts["stays"]),
        (Some(FinishReason::Length), &expected.texts["stays"])
    );
}

#[test]
fn a_failed_step_hits_only_whom_it_must() {
    let memory = || BackendError::OutOfMemory { n_tokens: 1, bytes: 1 };
    let sequence = || BackendError::BadSequence { sequence: 2, reason: "it is full".into() };
    let device = || BackendError::Device { after: Duration::ZERO, reason: "gone".into() };
    let stranger = || BackendError::BadSequence { sequence: 99, reason: "who?".into() };
    for (error, survivors) in
        [(memory(), vec!["a", "b"]), (sequence(), vec!["a", "c"]), (device(), vec![]), (stranger(), vec![])]
    {
        let (mut engine, seen) = echo(64);
        let mut told = Told::default();
        for name in ["a", "b", "c"] {
            told.begin(&mut engine, &asking(name, "Hello", 6));
        }
        told.step(&mut engine);
        seen.borrow_mut().fails = Some(error.clone());
        told.run(&mut engine);
        for name in ["a", "b", "c"] {
            match survivors.contains(&name) {
                true => assert_eq!(told.reason(name), Some(FinishReason::Length), "{error}: {name}"),
                false => {
                    let EngineError::Backend(said) = told.ends[name].as_ref().unwrap_err() else {
                        panic!("{error}: {name}")
                    };
                    assert_eq!(*said, error);
                }
            }
        }
        assert!(seen.borrow().open.is_empty(), "{error}");
        told.begin(&mut engine, &asking("next", "Hello", 2));
        told.run(&mut engine);
        assert_eq!(told.reason("next"), Some(FinishReason::Length), "the engine goes on after: {error}");
    }
}
