//! Where a conversation is to be cut so that it fits the context.

use crate::EngineError;
use crate::prompts::PromptMaker;
use boca_core::{ChatMessage, GenerateRequest};

/// A cut leaves out whole steps of this part of the context, where the conversation allows it. What is kept then begins at
/// the same turn for many questions, and its keys and values are found again.
const STEPS: usize = 4;
/// The part of the context that an answer has at least, where its request names no bound.
const ANSWER_PART: u32 = 4;

/// Where a conversation is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutting {
    /// The first place that is kept.
    pub cut: usize,
    /// Tokens of the whole conversation.
    pub whole_tokens: usize,
}

/// The next part of a conversation to be summarised, as a request without sampling of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The first place that is not in it.
    pub to: usize,
    /// The part, with the instructions before it and the task behind it.
    pub messages: Vec<ChatMessage>,
}

impl PromptMaker {
    /// Tokens that are kept free for the answer when a conversation is cut.
    pub fn room_for_answer(&self, request: &GenerateRequest, context_tokens: u32) -> u32 {
        let unbounded = request.default_max_tokens.min(context_tokens / ANSWER_PART);
        request.max_tokens.unwrap_or(unbounded).max(1)
    }

    /// Where to cut a conversation so that it leaves room for its answer and `more` tokens; the last place where it can be
    /// cut when none does. `None` when it cannot be cut at all.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] naming the field.
    pub fn cut_to_fit(
        &self,
        request: &GenerateRequest,
        context_tokens: u32,
        more: u32,
    ) -> Result<Option<Cutting>, EngineError> {
        let cuts = request.cuts();
        let Some(last) = cuts.len().checked_sub(1) else { return Ok(None) };
        let whole_tokens = self.count(request)?;
        let room = self.room_for_answer(request, context_tokens);
        let most = context_tokens.saturating_sub(more).saturating_sub(room) as usize;
        let left_out = self.tokens_before(request, &cuts)?;
        let first = left_out.iter().position(|left_out| whole_tokens - left_out.min(&whole_tokens) <= most);
        let mut chosen = first.unwrap_or(last);
        let step = (context_tokens as usize / STEPS).max(1);
        let whole_steps = left_out[chosen].div_ceil(step).saturating_mul(step);
        // Not at the price of the exchange before the question.
        if let Some(further) = (chosen..last).find(|place| left_out[*place] >= whole_steps) {
            chosen = further;
        }
        // Counted turn by turn the tokens may be fewer than they are.
        while chosen < last && self.count(&request.cut_at(cuts[chosen], None))? > most {
            chosen += 1;
        }
        Ok(Some(Cutting { cut: cuts[chosen], whole_tokens }))
    }

    /// Tokens of the turns before each cut, from each turn's own and what the template has around it. They do not depend
    /// on what follows, so that the same turns are left out as the conversation goes on.
    fn tokens_before(&self, request: &GenerateRequest, cuts: &[usize]) -> Result<Vec<usize>, EngineError> {
        let n_turns = request.context.turns.len();
        let first = cuts.last().map_or(0, |last| last + 1).saturating_sub(n_turns);
        let around = self.tokens_around_a_turn(request)?;
        let mut before = Vec::with_capacity(cuts.len());
        let (mut sum, mut from) = (0, first);
        for cut in cuts {
            for message in &request.messages[from..*cut] {
                sum += around + self.count_text(&message.content)?;
            }
            from = *cut;
            before.push(sum);
        }
        Ok(before)
    }

    /// What the template has around a turn of the past.
    fn tokens_around_a_turn(&self, request: &GenerateRequest) -> Result<usize, EngineError> {
        const SAID: &str = "x";
        let with = |messages| {
            self.count(&GenerateRequest { messages, ..request.cut_at(request.messages.len(), None) })
        };
        let one = with(vec![ChatMessage::user(SAID)])?;
        let two = with(vec![ChatMessage::user(SAID), ChatMessage::assistant(SAID), ChatMessage::user(SAID)])?;
        let text = self.count_text(SAID)?;
        Ok((two.saturating_sub(one) / 2).saturating_sub(text))
    }

    /// The largest piece of the turns from one cut to another that can be summarised at once in so many tokens, with the
    /// `task` behind it. `earlier` is the request without the turns before it. An exchange that is too large by itself is
    /// shortened in the middle of its texts.
    ///
    /// # Errors
    /// [`EngineError::ContextExceeded`] when there is no room for any of it; [`EngineError::InvalidRequest`].
    pub fn next_piece(
        &self,
        request: &GenerateRequest,
        earlier: &GenerateRequest,
        (from, goal): (usize, usize),
        task: &str,
        most_tokens: usize,
    ) -> Result<Piece, EngineError> {
        let ends: Vec<usize> = request.cuts().into_iter().filter(|cut| *cut > from && *cut <= goal).collect();
        let n_before = earlier.messages.len() - (request.messages.len() - from);
        let until = |to: usize| {
            let mut messages = earlier.messages[..n_before + (to - from)].to_vec();
            messages.push(ChatMessage::user(task));
            messages
        };
        let fits = |messages: &[ChatMessage]| {
            let piece = GenerateRequest { messages: messages.to_vec(), ..earlier.clone() };
            Ok::<_, EngineError>(self.count(&piece)? <= most_tokens)
        };
        // From the last one on: mostly all of it fits at once.
        let mut n_ends = ends.len();
        while n_ends > 0 {
            let messages = until(ends[n_ends - 1]);
            if fits(&messages)? {
                return Ok(Piece { to: ends[n_ends - 1], messages });
            }
            n_ends /= 2;
        }
        let to = ends.first().copied().unwrap_or(goal);
        let mut messages = until(to);
        let mut most_bytes =
            messages[n_before..].iter().map(|message| message.content.len()).max().unwrap_or(0);
        while most_bytes > 0 {
            most_bytes /= 2;
            let last = messages.len() - 1;
            for message in &mut messages[n_before..last] {
                message.content = shortened(&message.content, most_bytes);
                message.reasoning = None;
            }
            if fits(&messages)? {
                return Ok(Piece { to, messages });
            }
        }
        let bound = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Err(EngineError::ContextExceeded {
            prompt_tokens: bound(self.count(&GenerateRequest { messages, ..earlier.clone() })?),
            max_tokens: 1,
            context_tokens: bound(most_tokens),
        })
    }
}

/// A text without its middle, when it is too long.
fn shortened(text: &str, most_bytes: usize) -> String {
    const GAP: &str = " […] ";
    if text.len() <= most_bytes + GAP.len() {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(most_bytes / 2);
    let tail = text.ceil_char_boundary(text.len() - most_bytes / 2);
    format!("{}{GAP}{}", &text[..head], &text[tail..])
}
