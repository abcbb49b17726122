//! Many answers at once: none depends on its company, none stops the others, and what one breaks is its own.

use crate::scripted::{CONTEXT_TOKENS, VOCAB_SIZE, id, request, text_model};
use boca_core::{ChatMessage, FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, ModelInfo};
use boca_engine::backend::{Backend, BackendError, Chunk, Logits, LogitsOf, SequenceId, Ticket};
use boca_engine::checkpoint::GenerationDefaults;
use boca_engine::generate::{Engine, EngineConfig};
use boca_engine::{CancelToken, EngineError, Generator, Report};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Tokens of one step by sequence.
type Step = Vec<(u64, usize)>;

#[derive(Default)]
struct Seen {
    steps: Vec<Step>,
    open: Vec<u64>,
    /// The next step fails like this.
    fails: Option<BackendError>,
}

/// The most likely next token follows from the sequence's own tokens, and from nothing else.
#[derive(Default)]
struct Echo {
    seen: Rc<RefCell<Seen>>,
    sequences: HashMap<u64, Vec<u32>>,
    n_opened: u64,
    rows: Vec<u32>,
}

impl Echo {
    fn next(tokens: &[u32]) -> u32 {
        let mixed = tokens.iter().fold(7_u32, |sum, token| sum.wrapping_mul(31).wrapping_add(*token));
        // Letters and words, never an end.
        300 + mixed % 2000
    }
}

impl Backend for Echo {
    fn describe(&self) -> String {
        "echo".into()
    }

    fn open(&mut self, _: usize) -> Result<SequenceId, BackendError> {
        self.n_opened += 1;
        self.sequences.insert(self.n_opened, Vec::new());
        self.seen.borrow_mut().open.push(self.n_opened);
        Ok(SequenceId(self.n_opened))
    }

    fn fork(&mut self, parent: SequenceId, n: usize, max: usize) -> Result<SequenceId, BackendError> {
        let tokens = self.sequences[&parent.0][..n].to_vec();
        let fork = self.open(max)?;
        self.sequences.insert(fork.0, tokens);
        Ok(fork)
    }

    fn len(&self, sequence: SequenceId) -> Option<usize> {
        self.sequences.get(&sequence.0).map(Vec::len)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence.0);
        self.seen.borrow_mut().open.retain(|open| *open != sequence.0);
    }

    fn launch(&mut self, chunks: &[Chunk<'_>]) -> Result<Ticket, BackendError> {
        let mut seen = self.seen.borrow_mut();
        if let Some(error) = seen.fails.take() {
            return Err(error);
        }
        self.rows.clear();
        for chunk in chunks {
            let tokens = self.sequences.get_mut(&chunk.sequence.0).expect("it is open");
            tokens.extend_from_slice(chunk.tokens);
            if chunk.logits == LogitsOf::Last {
                self.rows.push(Self::next(tokens));
            }
        }
        seen.steps.push(chunks.iter().map(|chunk| (chunk.sequence.0, chunk.tokens.len())).collect());
        Ok(Ticket(0))
    }

    fn collect(&mut self, _: Ticket, logits: &mut Logits) -> Result<(), BackendError> {
        logits.vocab_size = VOCAB_SIZE;
        logits.values = vec![0.0; VOCAB_SIZE * self.rows.len()];
        for (row, token) in self.rows.iter().enumerate() {
            logits.values[row * VOCAB_SIZE + *token as usize] = 9.0;
        }
        Ok(())
    }

    fn kv_bytes_per_token(&self) -> u64 {
        1
    }

    fn kv_bytes(&self) -> u64 {
        self.sequences.values().map(|tokens| tokens.len() as u64).sum()
    }
}

fn echo(prefill_chunk_tokens: usize) -> (Engine, Rc<RefCell<Seen>>) {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let backend = Echo { seen: Rc::clone(&seen), ..Echo::default() };
    let config = EngineConfig {
        info: ModelInfo {
            vocab_size: VOCAB_SIZE as u32,
            context_tokens: CONTEXT_TOKENS,
            kv_bytes_per_token: 1,
            ..ModelInfo::unknown("echo")
        },
        defaults: GenerationDefaults {
            eos_token_ids: vec![id("<|endoftext|>")],
            ..GenerationDefaults::default()
        },
        prefill_chunk_tokens,
        max_running: 8,
    };
    (Engine::new(Box::new(backend), text_model(), config).unwrap(), seen)
}

fn asking(id: &str, question: &str, max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        id: id.parse().unwrap(),
        messages: vec![ChatMessage::user(question)],
        max_tokens: Some(max_tokens),
        ..request()
    }
}

/// Requests under way, and what came of them.
#[derive(Default)]
struct Told {
    texts: HashMap<String, String>,
    ends: HashMap<String, Result<GenerationSummary, EngineError>>,
}

impl Told {
    fn begin(&mut self, engine: &mut dyn Generator, request: &GenerateRequest) -> CancelToken {
        let cancel = CancelToken::default();
        engine.begin(request, Instant::now(), &cancel, &mut |id, report| self.hear(id.as_str(), report));
        cancel
    }

    fn step(&mut self, engine: &mut dyn Generator) {
        engine.step(&mut |id, report| self.hear(id.as_str(), report));
    }

    fn run(&mut self, engine: &mut dyn Generator) {
        while engine.n_running() > 0 {
            self.step(engine);
        }
    }

    fn hear(&mut self, id: &str, report: Report) {
        match report {
            Report::Event(GenerationEvent::Text(more) | GenerationEvent::Reasoning(more)) => {
                assert!(!self.ends.contains_key(id), "nothing comes after the end");
                self.texts.entry(id.into()).or_default().push_str(&more);
            }
            Report::Event(_) => {}
            Report::Ended(end) => assert!(self.ends.insert(id.into(), end).is_none(), "one end"),
        }
    }

    fn reason(&self, id: &str) -> Option<FinishReason> {
        self.ends.get(id).and_then(|end| end.as_ref().ok()).map(|summary| summary.finish_reason)
    }
}

#[test]
fn an_answer_of_the_demo_model_is_the_same_in_any_company() {
    let questions = [
        "What can you do?",
        "How do I stop the daemon?",
        "Which model is this, and how large is it? Tell me what it needs.",
        "Hello!",
        "Where are the conversations kept?",
    ];
    let ask = |n: usize, temperature: f32| {
        let mut request = asking(&format!("r{n}"), questions[n], 30 + 7 * n as u32);
        request.sampling.temperature = Some(temperature);
        request.sampling.seed = Some(5);
        request
    };
    let load = |prefill_chunk_tokens| {
        let options = boca_engine::generate::EngineOptions {
            threads: Some(2),
            prefill_chunk_tokens,
            max_running: questions.len(),
            ..boca_engine::generate::EngineOptions::default()
        };
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
        let source = boca_engine::ModelSource::Directory(directory);
        boca_engine::generate::load(&source, &options, &mut |_| {}).unwrap()
    };
    let mut alone = load(256);
    let mut together = load(16);
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
            assert_eq!((alone.usage, alone.finish_reason), (together.usage, together.finish_reason));
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
