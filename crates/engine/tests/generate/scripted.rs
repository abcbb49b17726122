//! A backend that answers from a script, and what tests ask of it afterwards.

use boca_core::{
    ChatMessage, GenerateRequest, GenerationEvent, GenerationSummary, ModelInfo, SamplingOverrides,
};
use boca_engine::backend::{Backend, BackendError, Chunk, Logits, LogitsOf, SequenceId, Ticket};
use boca_engine::checkpoint::GenerationDefaults;
use boca_engine::generate::{Engine, EngineConfig};
use boca_engine::text::TextModel;
use boca_engine::{CancelToken, EngineError, Generator};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) const VOCAB_SIZE: usize = 3100;
pub(crate) const CONTEXT_TOKENS: u32 = 400;

/// What the backend was asked to do.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) open: Vec<u64>,
    pub(crate) n_opened: u64,
    /// Tokens of each step, and whether logits were asked for.
    pub(crate) steps: Vec<(Vec<u32>, bool)>,
}

/// Called before a step is computed, with the number of the step.
pub(crate) type Hook = Box<dyn FnMut(usize) -> Result<(), BackendError>>;

/// Gives the n-th token of the script the highest logit in the n-th step that asks for logits; after the script,
/// the last token for ever.
pub(crate) struct ScriptedBackend {
    pub(crate) script: Vec<u32>,
    /// How far the scripted token stands out; 0 makes all tokens equal.
    pub(crate) margin: f32,
    pub(crate) record: Rc<RefCell<Record>>,
    pub(crate) hook: Hook,
    lengths: HashMap<u64, usize>,
    n_asked: usize,
    pending: Option<f32>,
    pub(crate) poison: Option<f32>,
}

impl Backend for ScriptedBackend {
    fn describe(&self) -> String {
        "scripted".into()
    }

    fn open(&mut self, _max_tokens: usize) -> Result<SequenceId, BackendError> {
        let mut record = self.record.borrow_mut();
        record.n_opened += 1;
        let id = record.n_opened;
        record.open.push(id);
        self.lengths.insert(id, 0);
        self.n_asked = 0;
        Ok(SequenceId(id))
    }

    fn fork(&mut self, parent: SequenceId, n_tokens: usize, max: usize) -> Result<SequenceId, BackendError> {
        let id = self.open(max)?;
        assert!(self.len(parent).is_some_and(|len| n_tokens <= len));
        self.lengths.insert(id.0, n_tokens);
        Ok(id)
    }

    fn len(&self, sequence: SequenceId) -> Option<usize> {
        self.lengths.get(&sequence.0).copied()
    }

    fn close(&mut self, sequence: SequenceId) {
        self.lengths.remove(&sequence.0);
        self.record.borrow_mut().open.retain(|id| *id != sequence.0);
    }

    fn launch(&mut self, chunks: &[Chunk<'_>]) -> Result<Ticket, BackendError> {
        let [chunk] = chunks else { panic!("one sequence at a time") };
        let n_steps = self.record.borrow().steps.len();
        (self.hook)(n_steps)?;
        let wants_logits = chunk.logits != LogitsOf::None;
        self.record.borrow_mut().steps.push((chunk.tokens.to_vec(), wants_logits));
        let length = self.lengths.get_mut(&chunk.sequence.0).expect("the sequence is open");
        *length += chunk.tokens.len();
        self.pending = wants_logits.then_some(self.margin);
        Ok(Ticket(n_steps as u64))
    }

    fn collect(&mut self, _ticket: Ticket, logits: &mut Logits) -> Result<(), BackendError> {
        logits.vocab_size = VOCAB_SIZE;
        logits.values.clear();
        if let Some(margin) = self.pending.take() {
            logits.values.resize(VOCAB_SIZE, 0.0);
            let place = self.n_asked.min(self.script.len().saturating_sub(1));
            logits.values[self.script[place] as usize] += margin;
            if let Some(poison) = self.poison {
                logits.values[7] = poison;
            }
            self.n_asked += 1;
        }
        Ok(())
    }

    fn kv_bytes_per_token(&self) -> u64 {
        1
    }

    fn kv_bytes(&self) -> u64 {
        self.lengths.values().map(|len| *len as u64).sum()
    }
}

/// What the backends of these tests pretend to be.
pub(crate) fn small_model(name: &str) -> ModelInfo {
    ModelInfo {
        vocab_size: VOCAB_SIZE as u32,
        context_tokens: CONTEXT_TOKENS,
        kv_bytes_per_token: 1,
        ..ModelInfo::unknown(name)
    }
}

pub(crate) fn text_model() -> TextModel {
    let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
    let read = |file: &str| std::fs::read(demo.join(file)).unwrap();
    let config = serde_json::from_slice(&read("tokenizer_config.json")).unwrap();
    let template = String::from_utf8(read("chat_template.jinja")).unwrap();
    TextModel::new(&read("tokenizer.json"), &config, &template).unwrap()
}

pub(crate) fn id(spelling: &str) -> u32 {
    thread_local!(static TEXT: TextModel = text_model());
    TEXT.with(|text| text.tokenizer().added_id(spelling).unwrap())
}

/// A script: added tokens by their spelling, everything else as text.
pub(crate) fn script(parts: &[&str]) -> Vec<u32> {
    let text = text_model();
    let tokenizer = text.tokenizer();
    parts
        .iter()
        .flat_map(|part| match tokenizer.added_id(part) {
            Some(id) => vec![id],
            None => tokenizer.encode_text(part).unwrap(),
        })
        .collect()
}

pub(crate) struct Scripted {
    pub(crate) engine: Engine,
    pub(crate) record: Rc<RefCell<Record>>,
}

/// Everything that one generation gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<GenerationEvent>,
    pub(crate) summary: GenerationSummary,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        self.events
            .iter()
            .filter_map(|e| if let GenerationEvent::Text(t) = e { Some(t.as_str()) } else { None })
            .collect()
    }

    pub(crate) fn reasoning(&self) -> String {
        self.events
            .iter()
            .filter_map(|e| if let GenerationEvent::Reasoning(t) = e { Some(t.as_str()) } else { None })
            .collect()
    }
}

impl Scripted {
    pub(crate) fn new(script: Vec<u32>) -> Self {
        Self::with(script, 10.0, None, Box::new(|_| Ok(())))
    }

    pub(crate) fn with(script: Vec<u32>, margin: f32, poison: Option<f32>, hook: Hook) -> Self {
        Self::with_guard(script, margin, poison, hook, false)
    }

    /// An engine that ends answers which repeat themselves.
    pub(crate) fn guarded(script: Vec<u32>) -> Self {
        Self::with_guard(script, 10.0, None, Box::new(|_| Ok(())), true)
    }

    fn with_guard(script: Vec<u32>, margin: f32, poison: Option<f32>, hook: Hook, loop_guard: bool) -> Self {
        let record = Rc::new(RefCell::new(Record::default()));
        let backend = ScriptedBackend {
            script,
            margin,
            record: Rc::clone(&record),
            hook,
            lengths: HashMap::new(),
            n_asked: 0,
            pending: None,
            poison,
        };
        let config = EngineConfig {
            info: small_model("scripted"),
            defaults: GenerationDefaults {
                sampling: SamplingOverrides::default(),
                eos_token_ids: vec![id("<|endoftext|>"), id("<|user|>"), id("<|observation|>")],
            },
            prefill_chunk_tokens: 8,
            max_running: 4,
            prefix_cache_bytes: 0,
            kv_limit_bytes: None,
            loop_guard,
        };
        Self { engine: Engine::new(Box::new(backend), text_model(), config).unwrap(), record }
    }

    pub(crate) fn generate(&mut self, request: &GenerateRequest) -> Result<Outcome, EngineError> {
        self.generate_with(request, &CancelToken::default(), &mut |_| {})
    }

    /// Also lets the caller see each event as it comes.
    pub(crate) fn generate_with(
        &mut self,
        request: &GenerateRequest,
        cancel: &CancelToken,
        watch: &mut dyn FnMut(&GenerationEvent),
    ) -> Result<Outcome, EngineError> {
        let mut events = Vec::new();
        let summary = self.engine.generate(request, Instant::now(), cancel, &mut |event| {
            watch(&event);
            events.push(event);
        })?;
        assert!(self.record.borrow().open.is_empty(), "the sequence is closed");
        Ok(Outcome { events, summary })
    }

    /// Tokens fed one by one after the prompt.
    pub(crate) fn fed(&self) -> Vec<u32> {
        let record = self.record.borrow();
        let prompt_end = record.steps.iter().position(|(_, wants)| *wants).map_or(0, |at| at + 1);
        record.steps[prompt_end..].iter().flat_map(|(tokens, _)| tokens.clone()).collect()
    }
}

/// A greedy request with one short question.
pub(crate) fn request() -> GenerateRequest {
    GenerateRequest {
        sampling: SamplingOverrides { temperature: Some(0.0), ..SamplingOverrides::default() },
        ..GenerateRequest::new(
            "r1".parse().unwrap(),
            vec![ChatMessage::user("Hello")],
            100,
            Duration::from_secs(600),
        )
    }
}
