//! The answer of one provider, passed through.

use crate::generation_stream::GenerationStream;
use crate::model_handle::ModelHandle;
use boca_core::{
    Answer, AnswerEvent, Failure, FinishReason, FusionTrace, GenerationEvent, GenerationSummary,
    GenerationUpdate, SourceState, SourceTrace, TokenLogprob, ToolCall,
};
use futures_util::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Turns the events of one generation into the events of an answer.
#[derive(Debug)]
pub(crate) struct SingleSource {
    generation: GenerationStream,
    /// Asked for its model's name when the answer is complete; before, it may not be loaded yet.
    model: ModelHandle,
    arrived: Instant,
    trace: SourceTrace,
    text: String,
    reasoning: String,
    logprobs: Option<Vec<TokenLogprob>>,
    tool_calls: Vec<ToolCall>,
    /// Events that are due before the next one of the generation.
    due: VecDeque<Result<AnswerEvent, Failure>>,
}

impl SingleSource {
    /// The answer of `provider`, asked `began` after the question `arrived`.
    pub(crate) fn new(
        provider: String,
        generation: GenerationStream,
        model: ModelHandle,
        arrived: Instant,
        began: Duration,
    ) -> Self {
        let trace = SourceTrace::asked(provider, began);
        let due = VecDeque::from([Ok(AnswerEvent::Source(trace.clone()))]);
        let (text, reasoning, logprobs) = (String::new(), String::new(), None);
        Self { generation, model, arrived, trace, text, reasoning, logprobs, tool_calls: Vec::new(), due }
    }

    fn take(&mut self, update: Result<GenerationUpdate, Failure>) {
        match update {
            Ok(GenerationUpdate::Event(GenerationEvent::Started { prompt_tokens, .. })) => {
                self.trace.usage.prompt_tokens = prompt_tokens;
                self.show_trace();
            }
            Ok(GenerationUpdate::Event(GenerationEvent::Reasoning(more))) => {
                self.is_answering();
                self.reasoning.push_str(&more);
                self.due.push_back(Ok(AnswerEvent::Reasoning(more)));
            }
            Ok(GenerationUpdate::Event(GenerationEvent::Text(more))) => {
                self.is_answering();
                self.text.push_str(&more);
                self.due.push_back(Ok(AnswerEvent::Text(more)));
            }
            Ok(GenerationUpdate::Event(GenerationEvent::Logprobs(more))) => {
                self.logprobs.get_or_insert_default().extend(more);
            }
            Ok(GenerationUpdate::Event(GenerationEvent::ToolCall(call))) => {
                self.is_answering();
                self.tool_calls.push(call);
            }
            Ok(GenerationUpdate::Finished(summary)) => self.finish(summary),
            Err(failure) => {
                self.trace.ended = Some(self.arrived.elapsed());
                self.trace.state = SourceState::Failed;
                self.trace.failure = Some(failure.clone());
                self.show_trace();
                self.due.push_back(Err(failure));
            }
        }
    }

    fn is_answering(&mut self) {
        if self.trace.state == SourceState::Asked {
            self.trace.state = SourceState::Answering;
            self.trace.first_token = Some(self.arrived.elapsed());
            self.show_trace();
        }
    }

    fn finish(&mut self, summary: GenerationSummary) {
        self.trace.ended = Some(self.arrived.elapsed());
        self.trace.usage = summary.usage;
        self.trace.state = match summary.finish_reason {
            FinishReason::Cancelled => SourceState::Cancelled,
            FinishReason::Stop
            | FinishReason::Length
            | FinishReason::Deadline
            | FinishReason::ContentFilter
            | FinishReason::ToolCalls => SourceState::Finished,
        };
        self.show_trace();
        let reasoning = std::mem::take(&mut self.reasoning);
        let answer = Answer {
            text: std::mem::take(&mut self.text),
            reasoning: (!reasoning.is_empty()).then_some(reasoning),
            model_used: self.model.model_name().unwrap_or_else(|| self.trace.provider.clone()),
            finish_reason: summary.finish_reason,
            stop_sequence: summary.stop_sequence,
            logprobs: self.logprobs.take(),
            usage: summary.usage,
            timings: summary.timings,
            tool_calls: std::mem::take(&mut self.tool_calls),
            sources: vec![self.trace.clone()],
            answers: Vec::new(),
            trace: FusionTrace::default(),
        };
        self.due.push_back(Ok(AnswerEvent::Done(Box::new(answer))));
    }

    fn show_trace(&mut self) {
        self.due.push_back(Ok(AnswerEvent::Source(self.trace.clone())));
    }
}

impl Stream for SingleSource {
    type Item = Result<AnswerEvent, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.due.pop_front() {
                return Poll::Ready(Some(event));
            }
            match ready!(Pin::new(&mut self.generation).poll_next(cx)) {
                Some(update) => self.take(update),
                None => return Poll::Ready(None),
            }
        }
    }
}
