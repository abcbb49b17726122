//! One answer under way: how far its prompt is read, which token is next, how it ends.

use super::clock::Clock;
use super::decoding::{Decoding, Next, Source};
use super::plan::Plan;
use super::sampler::BadLogit;
use crate::CancelToken;
use crate::backend::{LogitsOf, SequenceId};
use crate::drawing::{Draw, Feed};
use crate::text::TextModel;
use boca_core::{FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, RequestId, Usage};
use std::sync::Arc;

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) id: RequestId,
    pub(super) cancel: CancelToken,
    pub(super) clock: Clock,
    pub(super) sequence: SequenceId,
    /// The prompt and every token of the answer but the last one, which may be the next to feed.
    tokens: Vec<u32>,
    n_prompt: usize,
    max_tokens: u32,
    /// How many of them the sequence holds.
    n_held: usize,
    /// How many it holds once the step under way is computed.
    n_launched: usize,
    /// How many it held from the beginning.
    n_cached: usize,
    /// Whether its prompt shared steps with others.
    is_read_in_company: bool,
    decoding: Decoding,
}

/// An answer before it has a sequence.
#[derive(Debug)]
pub(super) struct NewAnswer {
    prompt: Vec<u32>,
    max_tokens: u32,
    decoding: Decoding,
    ended: Option<FinishReason>,
}

impl NewAnswer {
    pub(super) fn new(text: &Arc<TextModel>, plan: Plan, request: &GenerateRequest) -> Self {
        let Plan { prompt, n_answer, sampler, limits, state } = plan;
        let max_tokens = limits.max_tokens;
        let mut decoding = Decoding::new(Arc::clone(text), limits, sampler, &request.stop, state);
        let mut ended = None;
        if n_answer > 0 {
            decoding.resume(&request.answer_so_far, &prompt[prompt.len() - n_answer..]);
            if decoding.stop_sequence().is_some() {
                ended = Some(FinishReason::Stop);
            } else if max_tokens == 0 {
                ended = Some(FinishReason::Length);
            }
        }
        Self { prompt, max_tokens, decoding, ended }
    }

    /// The bounds that hold for it.
    pub(super) fn started(&self) -> GenerationEvent {
        GenerationEvent::Started { prompt_tokens: count(self.prompt.len()), max_tokens: self.max_tokens }
    }

    /// Its end, when it is complete as it stands.
    pub(super) fn end(&self, clock: &Clock) -> Option<GenerationSummary> {
        self.ended.map(|reason| self.unbegun(reason, clock))
    }

    /// What it comes to when it never begins.
    pub(super) fn unbegun(&self, reason: FinishReason, clock: &Clock) -> GenerationSummary {
        summary(reason, self.prompt.len(), 0, &self.decoding, clock)
    }

    pub(super) fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    /// The most tokens that its sequence will hold.
    pub(super) fn n_tokens(&self) -> usize {
        self.prompt.len() + self.max_tokens as usize
    }

    /// Begins in a sequence that holds the first `n_cached` tokens of the prompt.
    pub(super) fn begin(
        self,
        id: RequestId,
        cancel: CancelToken,
        clock: Clock,
        sequence: SequenceId,
        n_cached: usize,
    ) -> Answer {
        let Self { prompt: tokens, max_tokens, decoding, .. } = self;
        let n_prompt = tokens.len();
        let is_read_in_company = false;
        let (n_held, n_launched) = (n_cached, n_cached);
        Answer {
            id,
            cancel,
            clock,
            sequence,
            tokens,
            n_prompt,
            max_tokens,
            n_held,
            n_launched,
            n_cached,
            is_read_in_company,
            decoding,
        }
    }
}

impl Answer {
    /// What its sequence holds.
    pub(super) fn held(&self) -> &[u32] {
        &self.tokens[..self.n_held]
    }

    /// The most tokens that its sequence will hold.
    pub(super) fn max_held(&self) -> usize {
        self.n_prompt + self.max_tokens as usize
    }

    /// How many tokens its sequence holds once the step under way is computed.
    pub(super) fn n_launched(&self) -> usize {
        self.n_launched
    }

    /// Whether nothing was computed for it yet.
    pub(super) fn has_only_what_was_cached(&self) -> bool {
        self.n_launched == self.n_cached
    }

    /// Its prompt shares a step with others.
    pub(super) fn read_in_company(&mut self) {
        self.is_read_in_company = true;
    }

    /// Whether the time that its prompt took says how fast prompts are read.
    pub(super) fn was_read_alone(&self) -> bool {
        !self.is_read_in_company
    }

    /// Tokens of the prompt that are still to be read.
    pub(super) fn n_unread(&self) -> usize {
        self.n_prompt.saturating_sub(self.n_launched)
    }

    /// Whether its prompt has been read.
    pub(super) fn is_decoding(&self) -> bool {
        self.n_held >= self.n_prompt
    }

    /// Whether the step under way has something of it that nobody has seen.
    pub(super) fn is_ahead(&self) -> bool {
        self.n_launched > self.n_held
    }

    /// How many tokens are drawn for it that nobody has read.
    fn n_drawn_unread(&self) -> usize {
        usize::from(self.is_ahead() && self.n_unread() == 0)
    }

    /// Whether the next step is to give it a token beyond its prompt.
    pub(super) fn wants_token(&self) -> bool {
        let n_tokens = self.decoding.completion_tokens() as usize + self.n_drawn_unread();
        self.n_unread() == 0 && n_tokens < self.max_tokens as usize
    }

    /// Whether a device can draw its tokens.
    pub(super) fn is_plain(&self) -> bool {
        self.decoding.is_plain()
    }

    /// How its next token is to be drawn.
    pub(super) fn draw(&self) -> Draw {
        self.decoding.draw(self.n_drawn_unread())
    }

    /// What a step feeds that is launched before the last one was read.
    pub(super) fn feed(&self, n_prompt: usize) -> Feed<'_> {
        match &self.tokens[self.n_launched.min(self.tokens.len())..] {
            [] => {
                self.decoding.forced().map_or(Feed::Drawn, |token| Feed::Tokens(std::slice::from_ref(token)))
            }
            known => Feed::Tokens(&known[..n_prompt.max(1)]),
        }
    }

    /// Such a step was launched.
    pub(super) fn launched(&mut self, n_prompt: usize) {
        self.n_launched += n_prompt.max(1);
    }

    /// What a step feeds: at most `n_prompt` tokens of the prompt, or the next token.
    pub(super) fn tokens(&self, n_prompt: usize) -> &[u32] {
        &self.tokens[self.n_held..][..n_prompt.max(1)]
    }

    /// Whether somebody reads the logits after so many more tokens of the prompt.
    pub(super) fn logits_after(&self, n_prompt: usize) -> LogitsOf {
        if n_prompt < self.n_unread() { LogitsOf::None } else { LogitsOf::Last }
    }

    /// A step was computed with so many tokens of the prompt, or with the next token.
    pub(super) fn computed(&mut self, n_prompt: usize) {
        self.n_held += n_prompt.max(1);
        self.n_launched = self.n_launched.max(self.n_held);
        if n_prompt > 0 && self.is_decoding() {
            self.clock.prefilled();
        }
    }

    /// Takes what follows the last token; the summary when that was the end.
    pub(super) fn decode(
        &mut self,
        source: Source<'_>,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<Option<GenerationSummary>, BadLogit> {
        let next = self.decoding.step(source, emit)?;
        self.clock.count_token();
        Ok(match next {
            Next::Feed(token) => {
                self.tokens.push(token);
                None
            }
            Next::Done(reason) => Some(self.summary(reason)),
        })
    }

    /// Gives out what was held back, and ends.
    pub(super) fn cut(
        &mut self,
        reason: FinishReason,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> GenerationSummary {
        if self.is_decoding() {
            self.decoding.finish(emit);
        }
        self.summary(reason)
    }

    fn summary(&self, reason: FinishReason) -> GenerationSummary {
        summary(reason, self.n_prompt, self.n_cached, &self.decoding, &self.clock)
    }
}

fn summary(
    finish_reason: FinishReason,
    n_prompt: usize,
    n_cached: usize,
    decoding: &Decoding,
    clock: &Clock,
) -> GenerationSummary {
    GenerationSummary {
        finish_reason,
        stop_sequence: decoding.stop_sequence(),
        usage: Usage {
            prompt_tokens: count(n_prompt),
            cached_tokens: count(n_cached),
            completion_tokens: decoding.completion_tokens(),
            reasoning_tokens: decoding.reasoning_tokens(),
        },
        timings: clock.timings(),
    }
}

fn count(n_tokens: usize) -> u32 {
    u32::try_from(n_tokens).unwrap_or(u32::MAX)
}
