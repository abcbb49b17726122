//! A backend whose tokens follow from the tokens before them, and what tests ask of engines over it.

use crate::scripted::{VOCAB_SIZE, id, request, small_model, text_model};
use boca_core::{ChatMessage, FinishReason, GenerateRequest, GenerationEvent, GenerationSummary};
use boca_engine::backend::{Backend, BackendError, Chunk, KvImage, Logits, LogitsOf, SequenceId, Ticket};
use boca_engine::checkpoint::GenerationDefaults;
use boca_engine::generate::{Engine, EngineConfig, EngineOptions, load};
use boca_engine::{CancelToken, EngineError, Generator, ModelSource, Report};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

/// Tokens of one step by sequence.
pub(crate) type Step = Vec<(u64, usize)>;

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) steps: Vec<Step>,
    pub(crate) open: Vec<u64>,
    /// The next step fails like this.
    pub(crate) fails: Option<BackendError>,
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

    fn kv_format(&self) -> Option<String> {
        Some("echo".into())
    }

    fn export(&self, sequence: SequenceId) -> Option<Box<dyn KvImage>> {
        let tokens = self.sequences.get(&sequence.0)?;
        Some(Box::new(EchoImage(tokens.iter().flat_map(|token| token.to_le_bytes()).collect())))
    }

    fn import(
        &mut self,
        _: Option<(SequenceId, usize)>,
        n_tokens: usize,
        n_bytes: u64,
        from: &mut dyn Read,
    ) -> io::Result<SequenceId> {
        assert_eq!(n_bytes, 4 * n_tokens as u64);
        let mut bytes = vec![0; 4 * n_tokens];
        from.read_exact(&mut bytes)?;
        let tokens = bytes.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect();
        let sequence = self.open(n_tokens).unwrap();
        self.sequences.insert(sequence.0, tokens);
        Ok(sequence)
    }

    fn kv_bytes(&self) -> u64 {
        self.sequences.values().map(|tokens| tokens.len() as u64).sum()
    }
}

struct EchoImage(Vec<u8>);

impl KvImage for EchoImage {
    fn n_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&self.0)
    }
}

/// An engine that keeps nothing.
pub(crate) fn echo(prefill_chunk_tokens: usize) -> (Engine, Rc<RefCell<Seen>>) {
    echo_that_keeps(prefill_chunk_tokens, 0)
}

/// An engine that keeps so many tokens of what it computed.
pub(crate) fn echo_that_keeps(
    prefill_chunk_tokens: usize,
    prefix_cache_tokens: u64,
) -> (Engine, Rc<RefCell<Seen>>) {
    echo_with(prefill_chunk_tokens, prefix_cache_tokens, None)
}

/// An engine that keeps so many tokens, and has memory for so many in all.
pub(crate) fn echo_with(
    prefill_chunk_tokens: usize,
    prefix_cache_tokens: u64,
    kv_tokens: Option<u64>,
) -> (Engine, Rc<RefCell<Seen>>) {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let backend = Echo { seen: Rc::clone(&seen), ..Echo::default() };
    let config = EngineConfig {
        info: small_model("echo"),
        defaults: GenerationDefaults {
            eos_token_ids: vec![id("<|endoftext|>")],
            ..GenerationDefaults::default()
        },
        prefill_chunk_tokens,
        max_running: 8,
        prefix_cache_bytes: prefix_cache_tokens,
        kv_limit_bytes: kv_tokens,
        loop_guard: true,
    };
    (Engine::new(Box::new(backend), text_model(), config).unwrap(), seen)
}

pub(crate) fn asking(id: &str, question: &str, max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        id: id.parse().unwrap(),
        messages: vec![ChatMessage::user(question)],
        max_tokens: Some(max_tokens),
        ..request()
    }
}

/// Requests under way, and what came of them.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) texts: HashMap<String, String>,
    pub(crate) ends: HashMap<String, Result<GenerationSummary, EngineError>>,
}

impl Told {
    pub(crate) fn begin(&mut self, engine: &mut dyn Generator, request: &GenerateRequest) -> CancelToken {
        let cancel = CancelToken::default();
        engine.begin(request, Instant::now(), &cancel, &mut |id, report| self.hear(id.as_str(), report));
        cancel
    }

    pub(crate) fn step(&mut self, engine: &mut dyn Generator) {
        engine.step(&mut |id, report| self.hear(id.as_str(), report));
    }

    pub(crate) fn run(&mut self, engine: &mut dyn Generator) {
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

    pub(crate) fn reason(&self, id: &str) -> Option<FinishReason> {
        self.ends.get(id).and_then(|end| end.as_ref().ok()).map(|summary| summary.finish_reason)
    }
}

/// What the demo model can answer.
pub(crate) const QUESTIONS: [&str; 8] = [
    "What can you do?",
    "How do I stop the daemon?",
    "Which model is this, and how large is it? Tell me what it needs.",
    "Hello!",
    "Where are the conversations kept?",
    "Which commands are there?",
    "What is a workflow?",
    "Who are you?",
];

/// The demo model with two threads.
pub(crate) fn demo(prefill_chunk_tokens: usize, prefix_cache_bytes: u64) -> Box<dyn Generator> {
    let options = EngineOptions {
        threads: Some(2),
        prefill_chunk_tokens,
        max_running: 8,
        prefix_cache_bytes,
        ..EngineOptions::default()
    };
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
    load(&ModelSource::Directory(directory), &options, &mut |_| {}).unwrap()
}
