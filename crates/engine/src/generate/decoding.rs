//! The state of one answer while it is generated: logits in, token to feed and events out.
//!
//! It knows no backend and no clock, so that one loop can drive one answer or many.

use super::logprobs::logprobs;
use super::loop_guard::LoopGuard;
use super::sampler::{BadLogit, Sampler};
use super::seam::Seam;
use crate::drawing::Draw;
use crate::text::{Detokenizer, Part, StopStrings, StopVerdict, TextModel, ThinkingSplitter};
use boca_core::{FinishReason, GenerationEvent, ThinkingState};
use std::collections::VecDeque;
use std::sync::Arc;

/// The bounds of one answer.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// The most tokens to generate, thinking included; at least 1.
    pub(super) max_tokens: u32,
    /// The most tokens of thinking; `None` is no bound.
    pub(super) thinking_tokens: Option<u32>,
    /// Tokens that end an answer.
    pub(super) eos_ids: Vec<u32>,
    /// Alternatives to report for each token; `None` reports nothing.
    pub(super) top_logprobs: Option<u8>,
    /// Whether an answer that repeats itself is ended.
    pub(super) ends_loops: bool,
}

/// Where the next token comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// It is to be picked from these.
    Logits(&'a [f32]),
    /// The device has drawn it, as [`Decoding::draw`] said; `None` where a logit was not finite.
    Drawn(Option<u32>),
}

/// What comes after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Feed this token and come back with its logits.
    Feed(u32),
    /// The answer is complete.
    Done(FinishReason),
}

/// One answer under way.
#[derive(Debug)]
pub(super) struct Decoding {
    text: Arc<TextModel>,
    limits: Limits,
    sampler: Sampler,
    detokenizer: Detokenizer,
    splitter: ThinkingSplitter,
    stops: StopStrings,
    /// Tokens that are fed instead of picked ones: the end of thinking whose budget is spent.
    forced: VecDeque<u32>,
    /// Whether the tags have no tokens of their own.
    tags_are_text: bool,
    /// Set while nothing has come after text that somebody else wrote.
    seam: Option<Seam>,
    /// Watches for repetition, when somebody wants that.
    loop_guard: Option<LoopGuard>,
    stop_sequence: Option<String>,
    completion_tokens: u32,
    reasoning_tokens: u32,
}

impl Decoding {
    /// Begins after a prompt that leaves the answer in `state`.
    pub(super) fn new(
        text: Arc<TextModel>,
        limits: Limits,
        sampler: Sampler,
        stops: &[String],
        state: ThinkingState,
    ) -> Self {
        let tags_are_text = text.think_open().is_none() || text.think_close().is_none();
        let loop_guard = limits.ends_loops.then(LoopGuard::new);
        Self {
            text,
            limits,
            sampler,
            detokenizer: Detokenizer::default(),
            splitter: ThinkingSplitter::new(state, tags_are_text),
            stops: StopStrings::new(stops),
            forced: VecDeque::new(),
            tags_are_text,
            seam: None,
            loop_guard,
            stop_sequence: None,
            completion_tokens: 0,
            reasoning_tokens: 0,
        }
    }

    /// Goes on inside an answer instead: `answer_so_far` was shown already, and `answer_ids` are its tokens.
    pub(super) fn resume(&mut self, answer_so_far: &str, answer_ids: &[u32]) {
        for id in answer_ids {
            self.sampler.accept(*id);
        }
        self.splitter = ThinkingSplitter::inside_answer(self.tags_are_text);
        self.seam = Some(Seam::after(answer_so_far));
        if let StopVerdict::Stopped(stop) = self.stops.resume(answer_so_far) {
            self.stop_sequence = Some(stop);
        }
    }

    /// Tokens generated so far, thinking included.
    pub(super) fn completion_tokens(&self) -> u32 {
        self.completion_tokens
    }

    /// Tokens of the thinking part so far.
    pub(super) fn reasoning_tokens(&self) -> u32 {
        self.reasoning_tokens
    }

    /// The stop string that ended the answer.
    pub(super) fn stop_sequence(&self) -> Option<String> {
        self.stop_sequence.clone()
    }

    /// Whether a device can draw its tokens: nobody asks for anything that needs all the logits.
    pub(super) fn is_plain(&self) -> bool {
        self.limits.top_logprobs.is_none() && self.sampler.is_plain()
    }

    /// How a device is to draw the token after `n_unread` ones that it has drawn already.
    pub(super) fn draw(&self, n_unread: usize) -> Draw {
        match n_unread.checked_sub(self.forced.len()) {
            Some(n_picked) => self.sampler.draw(n_picked),
            // Nobody will read it: another one is fed in its place.
            None => Draw::MOST_LIKELY,
        }
    }

    /// The token that is fed next whatever is drawn, if that is so.
    pub(super) fn forced(&self) -> Option<&u32> {
        self.forced.front()
    }

    /// Takes what follows the last token and decides on the next one. After [`Next::Done`] there is no more.
    pub(super) fn step(
        &mut self,
        source: Source<'_>,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<Next, BadLogit> {
        let (id, is_forced) = match (self.forced.pop_front(), source) {
            (Some(id), _) => (id, true),
            (None, Source::Logits(logits)) => (self.sampler.pick(logits)?, false),
            (None, Source::Drawn(drawn)) => {
                self.sampler.drawn();
                (drawn.ok_or(BadLogit::Unknown)?, false)
            }
        };
        self.sampler.accept(id);
        self.completion_tokens += 1;
        let before = self.splitter.state();
        if !is_forced && self.limits.eos_ids.contains(&id) {
            if before == ThinkingState::Reasoning {
                self.reasoning_tokens += 1;
            }
            self.finish(emit);
            return Ok(Next::Done(FinishReason::Stop));
        }
        let is_tag = self.read(id, emit);
        let after = self.splitter.state();
        if before == ThinkingState::Reasoning || after == ThinkingState::Reasoning || is_tag {
            self.reasoning_tokens += 1;
        } else if let (Some(n_top), Source::Logits(logits)) = (self.limits.top_logprobs, source) {
            let entry = logprobs(logits, id, usize::from(n_top), self.text.tokenizer());
            emit(GenerationEvent::Logprobs(vec![entry]));
        }
        if self.stop_sequence.is_some() {
            return Ok(Next::Done(FinishReason::Stop));
        }
        if self.completion_tokens >= self.limits.max_tokens {
            self.finish(emit);
            return Ok(Next::Done(FinishReason::Length));
        }
        let is_looping = self.loop_guard.as_mut().is_some_and(|guard| guard.is_looping_after(id));
        if is_looping && after != ThinkingState::Reasoning {
            self.finish(emit);
            return Ok(Next::Done(FinishReason::Repetition));
        }
        let is_spent = self.limits.thinking_tokens.is_some_and(|most| self.reasoning_tokens >= most);
        if (is_spent || is_looping) && after == ThinkingState::Reasoning && self.forced.is_empty() {
            self.forced.extend(self.text.close_ids());
            self.loop_guard.iter_mut().for_each(LoopGuard::forget);
        }
        Ok(Next::Feed(id))
    }

    /// Gives out everything that was held back; for an answer that ends by itself or is ended from outside.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(GenerationEvent)) {
        let mut parts = Vec::new();
        self.end_characters(&mut parts);
        self.splitter.finish(&mut parts);
        self.show(parts, emit);
        if self.stop_sequence.is_none() {
            let mut rest = String::new();
            self.stops.finish(&mut rest);
            emit_text(rest, emit);
        }
    }

    /// Takes a token in; true when it is a thinking tag.
    fn read(&mut self, id: u32, emit: &mut dyn FnMut(GenerationEvent)) -> bool {
        let mut parts = Vec::new();
        let is_open = !self.tags_are_text && Some(id) == self.text.think_open();
        let is_close = !self.tags_are_text && Some(id) == self.text.think_close();
        if is_open || is_close {
            self.end_characters(&mut parts);
            if is_open {
                self.splitter.open(&mut parts);
            } else {
                self.splitter.close(&mut parts);
            }
        } else {
            let mut piece = String::new();
            self.detokenizer.push(self.text.tokenizer().visible_bytes(id), &mut piece);
            self.splitter.push(&piece, &mut parts);
        }
        self.show(parts, emit);
        is_open || is_close
    }

    /// A character that is incomplete here stays so.
    fn end_characters(&mut self, parts: &mut Vec<Part>) {
        let mut rest = String::new();
        self.detokenizer.finish(&mut rest);
        if !rest.is_empty() {
            self.splitter.push(&rest, parts);
        }
    }

    fn show(&mut self, parts: Vec<Part>, emit: &mut dyn FnMut(GenerationEvent)) {
        for part in parts {
            match part {
                Part::Reasoning(text) => emit(GenerationEvent::Reasoning(text)),
                Part::Text(_) if self.stop_sequence.is_some() => {}
                Part::Text(text) => {
                    let text = match self.seam.take() {
                        Some(seam) => seam.join(text),
                        None => text,
                    };
                    let mut certain = String::new();
                    if let StopVerdict::Stopped(stop) = self.stops.push(&text, &mut certain) {
                        self.stop_sequence = Some(stop);
                    }
                    emit_text(certain, emit);
                }
            }
        }
    }
}

fn emit_text(text: String, emit: &mut dyn FnMut(GenerationEvent)) {
    if !text.is_empty() {
        emit(GenerationEvent::Text(text));
    }
}
