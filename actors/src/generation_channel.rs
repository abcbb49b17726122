//! Carries the events of one generation from the engine to its reader.
//!
//! The engine must never wait for a slow reader, and memory must stay bounded. So consecutive texts run together in
//! one buffer, which holds at most one answer, and an answer is bounded by its token budget.

use boca_core::{Failure, GenerationEvent, GenerationSummary, GenerationUpdate, TokenLogprob};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// How a generation ends.
pub(crate) type GenerationEnd = Result<GenerationSummary, Failure>;

/// The shared buffer.
#[derive(Debug, Default)]
pub(crate) struct GenerationChannel {
    state: Mutex<Buffered>,
}

#[derive(Debug, Default)]
struct Buffered {
    /// `Started`, `Text` and `Reasoning` events not yet read; no two neighbours of one kind.
    events: VecDeque<GenerationEvent>,
    /// Apart from the texts, because tokens and texts alternate and would never run together.
    logprobs: Vec<TokenLogprob>,
    end: Option<GenerationEnd>,
    /// The end has been written; what comes later is dropped.
    is_closed: bool,
    reader: Option<Waker>,
}

impl GenerationChannel {
    /// Adds an event. Dropped after the end.
    pub(crate) fn push(&self, event: GenerationEvent) {
        let mut buffered = self.lock();
        if buffered.is_closed {
            return;
        }
        match (event, buffered.events.back_mut()) {
            (GenerationEvent::Text(more), Some(GenerationEvent::Text(text)))
            | (GenerationEvent::Reasoning(more), Some(GenerationEvent::Reasoning(text))) => {
                text.push_str(&more);
            }
            (GenerationEvent::Logprobs(more), _) => buffered.logprobs.extend(more),
            (event, _) => buffered.events.push_back(event),
        }
        wake(buffered);
    }

    /// Writes the end. Only the first one counts.
    pub(crate) fn finish(&self, end: GenerationEnd) {
        let mut buffered = self.lock();
        if !buffered.is_closed {
            buffered.is_closed = true;
            buffered.end = Some(end);
            wake(buffered);
        }
    }

    /// Reads what is next; the waker is kept when nothing is.
    pub(crate) fn poll_read(&self, cx: &Context<'_>) -> Poll<Result<GenerationUpdate, Failure>> {
        let mut buffered = self.lock();
        if let Some(event) = buffered.events.pop_front() {
            return Poll::Ready(Ok(GenerationUpdate::Event(event)));
        }
        if !buffered.logprobs.is_empty() {
            let logprobs = std::mem::take(&mut buffered.logprobs);
            return Poll::Ready(Ok(GenerationUpdate::Event(GenerationEvent::Logprobs(logprobs))));
        }
        if let Some(end) = buffered.end.take() {
            return Poll::Ready(end.map(GenerationUpdate::Finished));
        }
        buffered.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Buffered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut buffered: MutexGuard<'_, Buffered>) {
    let reader = buffered.reader.take();
    drop(buffered);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::{ErrorCode, TopLogprob};

    fn read(channel: &GenerationChannel) -> Option<Result<GenerationUpdate, Failure>> {
        match channel.poll_read(&Context::from_waker(Waker::noop())) {
            Poll::Ready(update) => Some(update),
            Poll::Pending => None,
        }
    }

    fn text(text: &str) -> GenerationEvent {
        GenerationEvent::Text(text.into())
    }

    fn logprob(token: &str) -> TokenLogprob {
        let chosen = TopLogprob { token: token.into(), bytes: token.into(), logprob: -0.5 };
        TokenLogprob { chosen, top: Vec::new() }
    }

    #[test]
    fn texts_run_together_and_keep_their_order() {
        let channel = GenerationChannel::default();
        let started = GenerationEvent::Started { prompt_tokens: 3, max_tokens: 9 };
        channel.push(started.clone());
        channel.push(GenerationEvent::Reasoning("th".into()));
        for (token, piece) in ["ink", "ing"].into_iter().enumerate() {
            channel.push(GenerationEvent::Logprobs(vec![logprob(&token.to_string())]));
            channel.push(GenerationEvent::Reasoning(piece.into()));
        }
        for piece in ["a", "b", "c"] {
            channel.push(text(piece));
        }
        let event = |event| Some(Ok(GenerationUpdate::Event(event)));
        assert_eq!(read(&channel), event(started));
        assert_eq!(read(&channel), event(GenerationEvent::Reasoning("thinking".into())));
        assert_eq!(read(&channel), event(text("abc")));
        assert_eq!(read(&channel), event(GenerationEvent::Logprobs(vec![logprob("0"), logprob("1")])));
        assert_eq!(read(&channel), None);
        channel.push(text("d"));
        assert_eq!(read(&channel), event(text("d")));
    }

    #[test]
    fn a_million_unread_pieces_take_one_place() {
        let channel = GenerationChannel::default();
        for _ in 0..1_000_000 {
            channel.push(text("x"));
        }
        assert_eq!(channel.lock().events.len(), 1);
    }

    #[test]
    fn the_first_end_counts_and_nothing_follows_it() {
        let channel = GenerationChannel::default();
        channel.push(text("kept"));
        let first = Failure::new(ErrorCode::EngineFailed, "first");
        channel.finish(Err(first.clone()));
        channel.finish(Err(Failure::new(ErrorCode::Internal, "second")));
        channel.push(text("late"));
        assert_eq!(read(&channel), Some(Ok(GenerationUpdate::Event(text("kept")))));
        assert_eq!(read(&channel), Some(Err(first)));
        assert_eq!(read(&channel), None);
    }
}
