//! The answer and its trace, and the words for having none.

use super::conductor::Conductor;
use super::helpers::in_one_sentence;
use super::part::{News, now};
use boca_core::fusion::Shape;
use boca_core::{Answer, ErrorCode, Failure, FinishReason, GenerationSummary, Mode, Timings};
use std::time::Duration;

/// How long a cancelled source may take to end by itself.
const CANCEL_PATIENCE: Duration = Duration::from_secs(3);

impl Conductor {
    /// The answer that the part at `place` wrote.
    pub(super) fn answer(&mut self, place: usize) -> Answer {
        self.cut_off_all_but(None);
        let is_merged = self.is_merged(place);
        let part = &self.parts[place];
        let summary =
            part.summary.clone().unwrap_or_else(|| unfinished(part.trace.usage, FinishReason::Stop));
        let model_used = if is_merged { Mode::Collaborative.as_str().to_owned() } else { part.writer_name() };
        if !is_merged {
            self.trace.chosen = Some(part.facts.name.clone());
        }
        let part = &mut self.parts[place];
        let (logprobs, tool_calls) = (part.logprobs.take(), std::mem::take(&mut part.tool_calls));
        self.compose(summary, model_used, logprobs, tool_calls)
    }

    /// The same for a part that was cut off.
    pub(super) fn unfinished_answer(&mut self, place: usize, reason: FinishReason) -> Answer {
        let usage = self.parts[place].trace.usage;
        self.parts[place].summary.get_or_insert_with(|| unfinished(usage, reason));
        Answer { finish_reason: reason, ..self.answer(place) }
    }

    /// The answer that one began and another finished.
    pub(super) fn continued_answer(&mut self, began: usize, finished: usize) -> Answer {
        let is_merged = self.is_merged(began);
        let model_used = if is_merged {
            Mode::Collaborative.as_str().to_owned()
        } else {
            format!("{} + {}", self.parts[began].writer_name(), self.parts[finished].writer_name())
        };
        let began = self.parts[began].facts.name.clone();
        let answer = self.answer(finished);
        self.trace.chosen = (!is_merged).then_some(began);
        Answer { model_used, logprobs: None, trace: self.trace.clone(), ..answer }
    }

    fn compose(
        &mut self,
        summary: GenerationSummary,
        model_used: String,
        logprobs: Option<Vec<boca_core::TokenLogprob>>,
        tool_calls: Vec<boca_core::ToolCall>,
    ) -> Answer {
        let reasoning = std::mem::take(&mut self.shown.reasoning);
        let shape = self.question.plan.shape;
        let mut complete: Vec<_> = self.parts.iter().collect();
        complete.sort_by_key(|part| part.trace.ended);
        let answers = complete.into_iter().filter(|part| part.trace.role == boca_core::SourceRole::Answer);
        let answers = match shape {
            Shape::Collaborative | Shape::Compare => answers.filter_map(|part| part.answer()).collect(),
            Shape::Single | Shape::Fallback | Shape::Race => Vec::new(),
        };
        // Of several, only the whole is known from the question's arrival on.
        let timings = match shape {
            Shape::Single if self.trace.seam.is_none() => summary.timings,
            _ => Timings {
                time_to_first_token: self
                    .shown
                    .first
                    .map_or(Duration::ZERO, |first| self.since_arrival(first)),
                total: self.since_arrival(now()),
                ..summary.timings
            },
        };
        Answer {
            text: self.shown.text.clone(),
            reasoning: (!reasoning.is_empty()).then_some(reasoning),
            model_used,
            finish_reason: summary.finish_reason,
            stop_sequence: summary.stop_sequence,
            logprobs,
            usage: summary.usage,
            timings,
            tool_calls,
            sources: self.parts.iter().map(|part| part.trace.clone()).collect(),
            answers,
            trace: self.trace.clone(),
        }
    }

    /// Ends with what was shown, because somebody wants that.
    pub(super) async fn cancelled(&mut self) -> Result<Answer, Failure> {
        let writer = self.shown.writer.or((self.parts.len() == 1).then_some(0));
        if let Some(place) = writer {
            self.cut_off_all_but(Some(place));
            if self.parts[place].wind_up() {
                self.wind_up(place).await;
            }
            let ended_itself = self.parts[place].summary.is_some();
            if ended_itself || !self.shown.text.is_empty() {
                self.because("the request was cancelled; the answer ends with what it has");
                return Ok(self.unfinished_answer(place, FinishReason::Cancelled));
            }
            if let Some(failure) = &self.parts[place].trace.failure {
                return Err(failure.clone());
            }
        }
        Err(Failure::new(ErrorCode::Cancelled, "the request was cancelled"))
    }

    /// Lets a part end by itself, for a while.
    async fn wind_up(&mut self, place: usize) {
        let patience = now() + CANCEL_PATIENCE;
        let ending = async {
            loop {
                let part = &mut self.parts[place];
                match std::future::poll_fn(|cx| part.poll_news(cx)).await {
                    News::Finished | News::Failed(_) => return,
                    news => self.heard(place, &news),
                }
            }
        };
        tokio::time::timeout_at(patience.into(), ending).await.ok();
        self.out.source(&self.parts[place].trace);
    }

    /// The deadline has passed, and whoever writes did not end.
    pub(super) fn out_of_time(&mut self) -> Result<Answer, Failure> {
        match self.shown.writer {
            Some(place) if !self.shown.text.trim().is_empty() => {
                self.because("the deadline passed before the answer was complete; it ends with what it has");
                Ok(self.unfinished_answer(place, FinishReason::Deadline))
            }
            _ => {
                self.fail_working();
                Err(self.nobody())
            }
        }
    }

    /// Takes those who still work at the deadline as failed.
    pub(super) fn fail_working(&mut self) {
        let message = "the answer was not complete at the deadline";
        for part in self.parts.iter_mut().filter(|part| part.is_working()) {
            part.reject(Failure::new(ErrorCode::DeadlineExceeded, message));
            self.out.source(&part.trace);
        }
    }

    /// The failure of a question that one source alone was asked.
    pub(super) fn nobody_answered(&self, failure: Failure) -> Failure {
        if self.question.plan.left_out.is_empty() || is_about_the_request(failure.code) {
            failure
        } else {
            self.nobody()
        }
    }

    /// Everyone who was asked failed: names each, with its reason.
    pub(super) fn nobody(&self) -> Failure {
        let asked = self.parts.iter().filter_map(|part| {
            let failure = part.trace.failure.as_ref()?;
            Some((part.facts.name.as_str(), failure))
        });
        let left_out = self.question.plan.left_out.iter().map(|(name, failure)| (name.as_str(), failure));
        let all: Vec<(&str, &Failure)> = asked.chain(left_out).collect();
        if let [(_, only)] = all[..] {
            return only.clone();
        }
        let each: Vec<String> =
            all.iter().map(|(name, failure)| format!("`{name}`: {}", in_one_sentence(failure))).collect();
        let message = format!("no provider answered: {}", each.join("; "));
        // When all say the same of the request itself, sending it again is as pointless as with one of them.
        let shared = all.first().map(|(_, failure)| failure.code);
        let shared =
            shared.filter(|code| is_about_the_request(*code) && all.iter().all(|(_, f)| f.code == *code));
        let param = shared.and_then(|_| all[0].1.param.clone());
        let retry_after = all.iter().filter_map(|(_, failure)| failure.retry_after).min();
        Failure { code: shared.unwrap_or(ErrorCode::NoProviderAnswered), message, param, retry_after }
    }
}

/// Whether a failure says something about the request, and not about who was asked.
fn is_about_the_request(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::InvalidRequest
            | ErrorCode::ContextLengthExceeded
            | ErrorCode::ContentBlocked
            | ErrorCode::Cancelled
            | ErrorCode::Conflict
            | ErrorCode::ShuttingDown
    )
}

fn unfinished(usage: boca_core::Usage, finish_reason: FinishReason) -> GenerationSummary {
    GenerationSummary { finish_reason, stop_sequence: None, usage, timings: Timings::default() }
}
