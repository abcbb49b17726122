//! One source's part in an answer: what it was asked, what it said, how it ended.

use crate::source::{Source, SourceStream};
use boca_core::fusion::SourceFacts;
use boca_core::{
    ErrorCode, Failure, FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, GenerationUpdate,
    MicroUsd, ProviderKind, SourceAnswer, SourceRole, SourceState, SourceTrace, TokenLogprob, ToolCall,
};
use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// What is new about a part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum News {
    /// It took the request on.
    Accepted,
    /// Its prompt is read.
    Started,
    /// More thinking.
    Reasoning(String),
    /// More text.
    Text(String),
    /// Something that is not shown as it comes.
    Other,
    /// It is over, and good.
    Finished,
    /// It is over, and bad.
    Failed(Failure),
}

/// The wire to a source.
enum Line {
    Asking(BoxFuture<'static, Result<SourceStream, Failure>>),
    Open(SourceStream),
    Closed,
}

/// One part.
pub(crate) struct Part {
    source: Arc<dyn Source>,
    line: Line,
    arrived: Instant,
    /// What it is.
    pub(crate) facts: SourceFacts,
    /// What it was asked.
    pub(crate) request: GenerateRequest,
    /// How it went.
    pub(crate) trace: SourceTrace,
    /// What it said.
    pub(crate) text: String,
    /// What it thought.
    pub(crate) reasoning: String,
    pub(crate) logprobs: Option<Vec<TokenLogprob>>,
    pub(crate) tool_calls: Vec<ToolCall>,
    /// Its end, when that was a good one.
    pub(crate) summary: Option<GenerationSummary>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("trace", &self.trace).finish_non_exhaustive()
    }
}

impl Part {
    /// Asks `source`. Times of its trace count from `arrived`, the time of its request from `asked_at`.
    pub(crate) fn ask(
        source: Arc<dyn Source>,
        request: GenerateRequest,
        role: SourceRole,
        arrived: Instant,
        asked_at: Instant,
        deadline: Instant,
    ) -> Self {
        let facts = source.facts();
        let began = now().saturating_duration_since(arrived);
        let trace =
            SourceTrace { model: facts.model.clone(), role, ..SourceTrace::asked(facts.name.clone(), began) };
        let line = Line::Asking(source.ask(request.clone(), asked_at, deadline));
        Self {
            source,
            line,
            arrived,
            facts,
            request,
            trace,
            text: String::new(),
            reasoning: String::new(),
            logprobs: None,
            tool_calls: Vec::new(),
            summary: None,
        }
    }

    /// Whether it may still say something.
    pub(crate) fn is_working(&self) -> bool {
        !matches!(self.line, Line::Closed)
    }

    /// Whether it is over, and good.
    pub(crate) fn is_good(&self) -> bool {
        self.trace.state == SourceState::Finished
    }

    /// Whether it was cut off after some of it was said: by content rules, or because it repeated itself.
    pub(crate) fn is_cut_short(&self) -> bool {
        let reason = self.summary.as_ref().map(|summary| summary.finish_reason);
        self.is_good()
            && self.has_spoken()
            && matches!(reason, Some(FinishReason::ContentFilter | FinishReason::Repetition))
    }

    /// Whether it has said anything that can be shown.
    pub(crate) fn has_spoken(&self) -> bool {
        !self.text.trim().is_empty() || !self.tool_calls.is_empty()
    }

    /// The name under which its text is given out.
    pub(crate) fn writer_name(&self) -> String {
        match (self.facts.kind, self.source.facts().model) {
            (ProviderKind::Engine, Some(model)) => model,
            _ => self.facts.name.clone(),
        }
    }

    /// Its whole answer, when it is good.
    pub(crate) fn answer(&self) -> Option<SourceAnswer> {
        let summary = self.summary.as_ref().filter(|_| self.is_good())?;
        Some(SourceAnswer {
            provider: self.facts.name.clone(),
            text: self.text.clone(),
            finish_reason: summary.finish_reason,
            usage: summary.usage,
        })
    }

    /// Tells it to end with the text that it has; false when it ends without a word.
    pub(crate) fn wind_up(&self) -> bool {
        self.is_working() && self.source.cancel(&self.request.id)
    }

    /// Cuts it off, when it still works. True when it did.
    pub(crate) fn cut_off(&mut self) -> bool {
        let worked = self.is_working();
        if worked {
            self.line = Line::Closed;
            self.end(SourceState::Cancelled);
        }
        worked
    }

    /// Takes it as failed after all: an answer that ended well but cannot be used.
    pub(crate) fn reject(&mut self, failure: Failure) {
        self.line = Line::Closed;
        self.trace.failure = Some(failure);
        self.end(SourceState::Failed);
    }

    /// What comes next; pending for ever when it is over.
    pub(crate) fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        match &mut self.line {
            Line::Closed => Poll::Pending,
            Line::Asking(asking) => match ready!(asking.as_mut().poll(cx)) {
                Ok(stream) => {
                    self.line = Line::Open(stream);
                    Poll::Ready(News::Accepted)
                }
                Err(failure) => Poll::Ready(self.fail(failure)),
            },
            Line::Open(stream) => {
                let update = ready!(stream.as_mut().poll_next(cx));
                Poll::Ready(match update {
                    Some(Ok(GenerationUpdate::Event(event))) => self.take(event),
                    Some(Ok(GenerationUpdate::Finished(summary))) => self.finish(summary),
                    Some(Err(failure)) => self.fail(failure),
                    None => self.fail(Failure::new(
                        ErrorCode::ProviderFailed,
                        "the answer broke off without saying why",
                    )),
                })
            }
        }
    }

    fn take(&mut self, event: GenerationEvent) -> News {
        match event {
            GenerationEvent::ContextCut(cut) => {
                self.trace.context_cut = Some(cut);
                News::Other
            }
            GenerationEvent::Started { prompt_tokens, .. } => {
                self.trace.usage.prompt_tokens = prompt_tokens;
                News::Started
            }
            GenerationEvent::Reasoning(more) => {
                self.speaks();
                self.reasoning.push_str(&more);
                News::Reasoning(more)
            }
            GenerationEvent::Text(more) => {
                self.speaks();
                self.text.push_str(&more);
                News::Text(more)
            }
            GenerationEvent::Logprobs(more) => {
                self.logprobs.get_or_insert_default().extend(more);
                News::Other
            }
            GenerationEvent::ToolCall(call) => {
                self.speaks();
                self.tool_calls.push(call);
                News::Other
            }
        }
    }

    fn speaks(&mut self) {
        if self.trace.state == SourceState::Asked {
            self.trace.state = SourceState::Answering;
            self.trace.first_token = Some(self.since_arrival());
        }
    }

    fn finish(&mut self, summary: GenerationSummary) -> News {
        self.line = Line::Closed;
        // What nobody reads along comes all at once, and was said before.
        let said = self.trace.began + summary.timings.time_to_first_token;
        if !summary.timings.time_to_first_token.is_zero() {
            self.trace.first_token = self.trace.first_token.map(|seen| seen.min(said));
        }
        self.trace.usage = summary.usage;
        self.trace.cost = self.source.cost(&summary.usage);
        let state = match summary.finish_reason {
            FinishReason::Cancelled => SourceState::Cancelled,
            FinishReason::Stop
            | FinishReason::Length
            | FinishReason::Deadline
            | FinishReason::ContentFilter
            | FinishReason::Repetition
            | FinishReason::ToolCalls => SourceState::Finished,
        };
        self.summary = Some(summary);
        self.end(state);
        News::Finished
    }

    fn fail(&mut self, failure: Failure) -> News {
        self.reject(failure.clone());
        News::Failed(failure)
    }

    fn end(&mut self, state: SourceState) {
        self.trace.state = state;
        self.trace.ended = Some(self.since_arrival());
        // The name may be known only now, when the weights were being loaded before.
        self.trace.model = self.source.facts().model.or(self.trace.model.take());
    }

    fn since_arrival(&self) -> std::time::Duration {
        now().saturating_duration_since(self.arrived)
    }

    /// What it cost, as far as anybody knows.
    pub(crate) fn cost(&self) -> Option<MicroUsd> {
        self.trace.cost
    }
}

/// The time by tokio's clock, which tests can hold.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
