//! Drawing tokens where the logits are: a step need not wait until somebody has read the tokens of the one before.

use crate::backend::{BackendError, Chunk, LogitsOf, SequenceId, Ticket};

/// How one token is drawn, without penalties and biases: temperature, top-k, top-p, min-p, in the order of
/// [`boca_core::Sampling`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Only so many of the most likely tokens; 0 is all.
    pub top_k: u32,
    /// Only the fewest of the most likely tokens that together are as likely as this; 1 is all.
    pub top_p: f32,
    /// Only tokens at least so likely, in parts of the most likely one; 0 is all.
    pub min_p: f32,
    /// Where in `0.0..1.0` of what is left the token lies, tokens in the order that the host's sampler has them in.
    pub unit: f64,
}

impl Draw {
    /// The cheapest one.
    pub const MOST_LIKELY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, unit: 0.0 };

    /// Whether it takes the most likely token. A temperature that f32 has no normal number for counts as none.
    pub fn is_greedy(&self) -> bool {
        self.temperature < f32::MIN_POSITIVE || self.top_k == 1
    }

    /// Whether tokens are counted from the most likely one on, and not in the order of their ids.
    pub fn is_ranked(&self, vocab_size: usize) -> bool {
        (1..vocab_size).contains(&(self.top_k as usize)) || self.top_p < 1.0
    }
}

/// What a chunk appends to its sequence.
#[derive(Debug, Clone, Copy)]
pub enum Feed<'a> {
    /// These tokens: at least one.
    Tokens(&'a [u32]),
    /// The token that the step launched last draws for this sequence, whatever it is.
    Drawn,
}

/// A sequence's part of a step.
#[derive(Debug, Clone, Copy)]
pub struct DrawChunk<'a> {
    /// The sequence to extend.
    pub sequence: SequenceId,
    /// By what.
    pub feed: Feed<'a>,
    /// How the token after it is drawn; `None` inside a prompt.
    pub draw: Option<Draw>,
}

/// A backend that draws.
pub trait Drawing {
    /// These ids are never drawn.
    ///
    /// # Errors
    /// [`BackendError::Device`].
    fn forbid(&mut self, ids: &[u32]) -> Result<(), BackendError>;

    /// Starts one step over chunks of different sequences. Only one launched before it may still be uncollected.
    ///
    /// # Errors
    /// Those of [`crate::backend::Backend::launch`].
    fn launch_drawing(&mut self, chunks: &[DrawChunk<'_>]) -> Result<Ticket, BackendError>;

    /// Waits for a step and gives the tokens that it drew, in the order of chunks; `None` where a logit was not finite.
    ///
    /// # Errors
    /// [`BackendError::Device`].
    fn collect_drawn(&mut self, ticket: Ticket) -> Result<Vec<Option<u32>>, BackendError>;

    /// Nobody will read this step. Its sequences keep what it appends.
    fn forget(&mut self, ticket: Ticket);

    /// Shortens a sequence to its first `n_tokens`; one that holds fewer stays as it is.
    fn cut(&mut self, sequence: SequenceId, n_tokens: usize);
}

impl<'a> DrawChunk<'a> {
    /// The same for a backend that is told every token; `unread` is, or stands for, the one that nobody has read yet.
    pub fn plain(&self, unread: &'a [u32; 1]) -> Chunk<'a> {
        let tokens = match self.feed {
            Feed::Tokens(tokens) => tokens,
            Feed::Drawn => unread,
        };
        let logits = if self.draw.is_some() { LogitsOf::Last } else { LogitsOf::None };
        Chunk { sequence: self.sequence, tokens, logits }
    }
}
