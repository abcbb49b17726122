//! A backend that draws tokens itself, made of the one for processors: tokens follow from the host's rules, in f64.

use crate::draw_rule::draw_of;
use boca_engine::backend::{Backend, BackendError, Chunk, KvImage, Logits, SequenceId, Ticket};
use boca_engine::cpu::CpuBackend;
use boca_engine::drawing::{DrawChunk, Drawing};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// What it was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Launch(u64),
    Collect(u64),
    Forget(u64),
    Cut { from: usize, to: usize },
}

#[derive(Default)]
pub(crate) struct Diary {
    pub(crate) asked: Vec<Asked>,
    pub(crate) n_open: usize,
    /// Steps that were launched, and neither collected nor forgotten.
    pub(crate) n_unread: usize,
    /// The step with this number fails when it is collected.
    pub(crate) fails: Option<u64>,
    /// The next launch fails like this.
    pub(crate) refuses: Option<BackendError>,
    /// The step with this number panics when it is collected.
    pub(crate) panics: Option<u64>,
}

pub(crate) struct DrawingBackend {
    inner: CpuBackend,
    diary: Rc<RefCell<Diary>>,
    /// Sequences of the inner backend, which cannot cut its own.
    inner_ids: HashMap<SequenceId, SequenceId>,
    n_opened: u64,
    n_steps: u64,
    drawn: HashMap<u64, Vec<Option<u32>>>,
    unread: HashMap<SequenceId, u32>,
    forbidden: Vec<u32>,
}

impl DrawingBackend {
    pub(crate) fn new(inner: CpuBackend, diary: Rc<RefCell<Diary>>) -> Self {
        Self {
            inner,
            diary,
            inner_ids: HashMap::new(),
            n_opened: 0,
            n_steps: 0,
            drawn: HashMap::new(),
            unread: HashMap::new(),
            forbidden: Vec::new(),
        }
    }

    fn insert(&mut self, inner: SequenceId) -> SequenceId {
        self.n_opened += 1;
        let id = SequenceId(1000 + self.n_opened);
        self.inner_ids.insert(id, inner);
        self.diary.borrow_mut().n_open = self.inner_ids.len();
        id
    }

    fn compute(&mut self, chunks: &[Chunk<'_>]) -> Result<Logits, BackendError> {
        let ticket = self.launch(chunks)?;
        let mut logits = Logits::default();
        self.inner.collect(ticket, &mut logits)?;
        Ok(logits)
    }
}

impl Backend for DrawingBackend {
    fn describe(&self) -> String {
        "drawing".into()
    }

    fn open(&mut self, max_tokens: usize) -> Result<SequenceId, BackendError> {
        let inner = self.inner.open(max_tokens)?;
        Ok(self.insert(inner))
    }

    fn fork(&mut self, parent: SequenceId, n: usize, max: usize) -> Result<SequenceId, BackendError> {
        let inner = self.inner.fork(self.inner_ids[&parent], n, max)?;
        Ok(self.insert(inner))
    }

    fn len(&self, sequence: SequenceId) -> Option<usize> {
        self.inner.len(*self.inner_ids.get(&sequence)?)
    }

    fn close(&mut self, sequence: SequenceId) {
        if let Some(inner) = self.inner_ids.remove(&sequence) {
            self.inner.close(inner);
        }
        self.diary.borrow_mut().n_open = self.inner_ids.len();
    }

    fn launch(&mut self, chunks: &[Chunk<'_>]) -> Result<Ticket, BackendError> {
        let inner: Vec<Chunk<'_>> = chunks
            .iter()
            .map(|chunk| Chunk { sequence: self.inner_ids[&chunk.sequence], ..*chunk })
            .collect();
        self.inner.launch(&inner)
    }

    fn collect(&mut self, ticket: Ticket, logits: &mut Logits) -> Result<(), BackendError> {
        self.inner.collect(ticket, logits)
    }

    fn drawing(&mut self) -> Option<&mut dyn Drawing> {
        Some(self)
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.inner.kv_bytes_per_token()
    }

    fn kv_granule_tokens(&self) -> usize {
        self.inner.kv_granule_tokens()
    }

    fn kv_bytes(&self) -> u64 {
        self.inner.kv_bytes()
    }

    fn kv_bytes_of(&self, sequences: &[SequenceId]) -> u64 {
        let inner: Vec<SequenceId> = sequences.iter().map(|id| self.inner_ids[id]).collect();
        self.inner.kv_bytes_of(&inner)
    }

    fn export(&self, sequence: SequenceId) -> Option<Box<dyn KvImage>> {
        self.inner.export(*self.inner_ids.get(&sequence)?)
    }
}

impl Drawing for DrawingBackend {
    fn forbid(&mut self, ids: &[u32]) -> Result<(), BackendError> {
        self.forbidden = ids.to_vec();
        Ok(())
    }

    fn launch_drawing(&mut self, chunks: &[DrawChunk<'_>]) -> Result<Ticket, BackendError> {
        if let Some(error) = self.diary.borrow_mut().refuses.take() {
            return Err(error);
        }
        self.n_steps += 1;
        self.diary.borrow_mut().asked.push(Asked::Launch(self.n_steps));
        let unread = std::mem::take(&mut self.unread);
        let of = |chunk: &DrawChunk<'_>| [unread.get(&chunk.sequence).copied().unwrap_or(u32::MAX)];
        let unread: Vec<[u32; 1]> = chunks.iter().map(of).collect();
        let plain: Vec<Chunk<'_>> =
            chunks.iter().zip(&unread).map(|(chunk, unread)| chunk.plain(unread)).collect();
        let logits = self.compute(&plain)?;
        let drawing = chunks.iter().filter_map(|chunk| Some((chunk.sequence, chunk.draw?)));
        let mut tokens = Vec::new();
        for (row, (sequence, draw)) in drawing.enumerate() {
            let token = draw_of(logits.row(row), &self.forbidden, draw);
            self.unread.insert(sequence, token);
            tokens.push(Some(token));
        }
        self.drawn.insert(self.n_steps, tokens);
        self.diary.borrow_mut().n_unread = self.drawn.len();
        Ok(Ticket(self.n_steps))
    }

    fn collect_drawn(&mut self, ticket: Ticket) -> Result<Vec<Option<u32>>, BackendError> {
        let mut diary = self.diary.borrow_mut();
        diary.asked.push(Asked::Collect(ticket.0));
        assert_ne!(diary.panics, Some(ticket.0), "in the device");
        let drawn = self.drawn.remove(&ticket.0).expect("it was launched");
        diary.n_unread = self.drawn.len();
        if diary.fails == Some(ticket.0) {
            return Err(BackendError::Device { after: std::time::Duration::ZERO, reason: "gone".into() });
        }
        Ok(drawn)
    }

    fn forget(&mut self, ticket: Ticket) {
        self.diary.borrow_mut().asked.push(Asked::Forget(ticket.0));
        self.drawn.remove(&ticket.0).expect("it was launched");
        self.diary.borrow_mut().n_unread = self.drawn.len();
    }

    fn cut(&mut self, sequence: SequenceId, n_tokens: usize) {
        let inner = self.inner_ids[&sequence];
        let from = self.inner.len(inner).unwrap();
        self.diary.borrow_mut().asked.push(Asked::Cut { from, to: n_tokens });
        let shorter = self.inner.fork(inner, n_tokens, n_tokens).unwrap();
        self.inner.close(inner);
        self.inner_ids.insert(sequence, shorter);
    }
}
