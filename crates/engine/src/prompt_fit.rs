//! Where a conversation is to be cut so that it fits the context.

use crate::EngineError;
use crate::prompts::{PromptMaker, left_of};
use boca_core::{ChatMessage, GenerateRequest, TurnSummary};

/// A cut leaves out whole steps of this part of the context, where the conversation allows it. What is kept then begins at
/// the same turn for many questions, and its keys and values are found again.
const STEPS: usize = 4;
/// The part of the context that an answer has at least, where its request names no bound.
const ANSWER_PART: u32 = 4;

/// The room for a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Tokens of prompt and answer together.
    pub context_tokens: u32,
    /// The most tokens of a summary that is to be told in the place of what is left out; `None` without one.
    pub summary_tokens: Option<u32>,
}

/// The next part of a conversation to be summarised.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The first place that is not in it.
    pub to: usize,
    /// The part, with the instructions and the summary before it and the task behind it.
    pub messages: Vec<ChatMessage>,
}

impl PromptMaker {
    /// Tokens that are kept free for the answer when a conversation is cut.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] naming the field.
    pub fn room_for_answer(
        &self,
        request: &GenerateRequest,
        context_tokens: u32,
    ) -> Result<u32, EngineError> {
        let unbounded = request.default_max_tokens.min(context_tokens / ANSWER_PART);
        // What is said already stands in the prompt.
        let n_answer = self.count_text(&request.answer_so_far)?;
        Ok(left_of(request.max_tokens.unwrap_or(unbounded), n_answer).max(1))
    }

    /// Where to cut a conversation of so many tokens: so that it leaves room for its answer and a summary, or the last place
    /// where it can be cut when none does. `None` when it cannot be cut at all.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] naming the field.
    pub fn cut_to_fit(
        &self,
        request: &GenerateRequest,
        whole_tokens: usize,
        room: Room,
    ) -> Result<Option<usize>, EngineError> {
        let cuts = request.cuts();
        let Some(last) = cuts.len().checked_sub(1) else { return Ok(None) };
        let context_tokens = room.context_tokens as usize;
        let around = self.tokens_around_a_turn(request)?;
        let told = match room.summary_tokens {
            Some(tokens) => tokens as usize + around + self.count_text(&TurnSummary::told(""))?,
            None => 0,
        };
        let answer = self.room_for_answer(request, room.context_tokens)? as usize;
        let most = context_tokens.saturating_sub(told).saturating_sub(answer);
        let left_out = self.tokens_before(request, &cuts, around)?;
        let fits = |left_out: &usize| whole_tokens.saturating_sub(*left_out) <= most;
        let mut chosen = left_out.iter().position(fits).unwrap_or(last);
        let step = (context_tokens / STEPS).max(1);
        let whole_steps = left_out[chosen].div_ceil(step).saturating_mul(step);
        // Not at the price of the exchange before the question.
        if let Some(further) = (chosen..last).find(|place| left_out[*place] >= whole_steps) {
            chosen = further;
        }
        // Counted turn by turn the tokens may be a few more than they are together.
        while chosen < last && self.count(&request.cut_at(cuts[chosen], None))? > most {
            chosen += 1;
        }
        Ok(Some(cuts[chosen]))
    }

    /// Tokens of the turns before each cut, from each turn's own and what the template has around it. They do not depend
    /// on what follows, so that the same turns are left out as the conversation goes on.
    fn tokens_before(
        &self,
        request: &GenerateRequest,
        cuts: &[usize],
        around: usize,
    ) -> Result<Vec<usize>, EngineError> {
        let mut before = Vec::with_capacity(cuts.len());
        let (mut sum, mut from) = (0, request.n_instructions());
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
        let bare = GenerateRequest {
            answer_so_far: String::new(),
            tools_json: Vec::new(),
            ..request.cut_at(request.messages.len(), None)
        };
        let with = |messages| self.count(&GenerateRequest { messages, ..bare.clone() });
        let one = with(vec![ChatMessage::user(SAID)])?;
        let two = with(vec![ChatMessage::user(SAID), ChatMessage::assistant(SAID), ChatMessage::user(SAID)])?;
        let text = self.count_text(SAID)?;
        Ok((two.saturating_sub(one) / 2).saturating_sub(text))
    }

    /// The largest piece of the turns from one cut to another that can be summarised at once in so many tokens, with the
    /// `task` behind it and what `summary` tells before it. An exchange that is too large by itself is shortened in the
    /// middle of its texts.
    ///
    /// # Errors
    /// [`EngineError::ContextExceeded`] when there is no room for any of it; [`EngineError::InvalidRequest`].
    pub fn next_piece(
        &self,
        request: &GenerateRequest,
        summary: Option<&TurnSummary>,
        (from, goal): (usize, usize),
        task: &str,
        most_tokens: usize,
    ) -> Result<Piece, EngineError> {
        // Without its turns: instructions and summary.
        let bare = GenerateRequest {
            answer_so_far: String::new(),
            ..request.cut_at(request.messages.len(), summary)
        };
        let n_before = bare.messages.len();
        let with = |turns: &[ChatMessage]| {
            let messages = bare.messages.iter().chain(turns).cloned();
            messages.chain([ChatMessage::user(task)]).collect::<Vec<_>>()
        };
        let count = |messages: Vec<ChatMessage>| self.count(&GenerateRequest { messages, ..bare.clone() });
        let ends: Vec<usize> = request.cuts().into_iter().filter(|cut| *cut > from && *cut <= goal).collect();
        // No more is looked at than a piece holds.
        let around = self.tokens_around_a_turn(request)?;
        let (mut sum, mut counted, mut n_ends) = (count(with(&[]))?, from, 0);
        for end in &ends {
            for message in &request.messages[counted..*end] {
                sum += around + self.count_text(&message.content)?;
            }
            counted = *end;
            if sum > most_tokens {
                break;
            }
            n_ends += 1;
        }
        for to in ends[..n_ends].iter().rev().copied() {
            let messages = with(&request.messages[from..to]);
            if count(messages.clone())? <= most_tokens {
                return Ok(Piece { to, messages });
            }
        }
        let to = ends.first().copied().unwrap_or(goal);
        let mut messages = with(&request.messages[from..to]);
        let n_turns = to - from;
        let longest = messages[n_before..].iter().take(n_turns).map(|message| message.content.len()).max();
        let mut most_bytes = longest.unwrap_or(0);
        while most_bytes > 0 {
            most_bytes /= 2;
            for message in messages[n_before..].iter_mut().take(n_turns) {
                message.content = shortened(&message.content, most_bytes);
                message.reasoning = None;
            }
            if count(messages.clone())? <= most_tokens {
                return Ok(Piece { to, messages });
            }
        }
        let bound = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let prompt_tokens = bound(count(messages)?);
        Err(EngineError::ContextExceeded { prompt_tokens, max_tokens: 1, context_tokens: bound(most_tokens) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_loses_its_middle_between_characters() {
        assert_eq!(shortened("short", 4), "short");
        assert_eq!(shortened("abcdefghijklmnopqrst", 8), "abcd […] qrst");
        assert_eq!(shortened("ääääääääääääää", 6), "ä […] ä");
        assert_eq!(shortened("abcdefghijklmnopqrst", 0), " […] ");
    }
}
