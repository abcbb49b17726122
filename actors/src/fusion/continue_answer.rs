//! Reading one source's answer to its end, and going on where it broke off.

use super::conductor::{Conductor, Happened, Stop};
use super::part::{News, Part, now};
use boca_core::fusion::continuation;
use boca_core::{Answer, ErrorCode, Failure, FinishReason, GenerateRequest, Seam, SourceRole};

impl Conductor {
    /// The text of the part at `place` is the answer, and nobody else's: the others are cut off.
    pub(super) async fn answer_from(&mut self, place: usize) -> Result<Answer, Stop> {
        self.cut_off_all_but(Some(place));
        self.answer_from_lead(place).await
    }

    /// The text of the part at `place` is the answer, unless it breaks off and nobody can go on, or repeats itself: then
    /// the answer of another who was asked takes its place, from the beginning.
    pub(super) async fn answer_from_lead(&mut self, place: usize) -> Result<Answer, Stop> {
        let mut end = self.write_out(place).await;
        while let Err(Stop::Failed(failure)) = &end
            && may_be_replaced(failure)
            && let Some(survivor) = self.survivor()
        {
            end = match self.until_spoken(survivor, None).await? {
                Ok(()) => self.write_out(survivor).await,
                Err(failure) => Err(Stop::Failed(failure)),
            };
        }
        match end {
            // What was shown is better than nothing, when there was no time for anything else.
            Err(Stop::Failed(failure))
                if failure.code == ErrorCode::DeadlineExceeded && !self.shown.text.trim().is_empty() =>
            {
                self.because("the deadline passed before another answer was there; it ends with what it has");
                let writer = self.shown.writer.unwrap_or(place);
                Ok(self.unfinished_answer(writer, FinishReason::Deadline))
            }
            Err(Stop::Failed(failure)) if may_be_replaced(&failure) && self.n_failed_answers() > 1 => {
                Err(Stop::Failed(self.nobody()))
            }
            end => end,
        }
    }

    fn n_failed_answers(&self) -> usize {
        let has_failed = |part: &&Part| part.trace.role == SourceRole::Answer && part.trace.failure.is_some();
        self.parts.iter().filter(has_failed).count()
    }

    /// Who was asked the same and has a whole answer, or may still have one.
    fn survivor(&self) -> Option<usize> {
        let order =
            self.order().into_iter().filter(|place| self.parts[*place].trace.role == SourceRole::Answer);
        let order: Vec<usize> = order.collect();
        let whole = |place: &usize| {
            let part = &self.parts[*place];
            part.is_good() && part.has_spoken() && !part.is_cut_short()
        };
        let working = |place: &usize| self.parts[*place].is_working();
        order.iter().copied().find(whole).or_else(|| order.iter().copied().find(working))
    }

    /// Shows the text of the part at `place` as it comes, to its end. When it breaks off after some of it was shown,
    /// another goes on from exactly there, if there is one who can.
    pub(super) async fn write_out(&mut self, mut place: usize) -> Result<Answer, Stop> {
        let failure = loop {
            self.show(place);
            match self.read_to_end(place).await? {
                Err(failure) => break failure,
                Ok(()) => match self.who_does_not_repeat(place).await? {
                    Some(other) => place = other,
                    None => return Ok(self.answer(place)),
                },
            }
        };
        if self.shown.text.trim().is_empty() {
            return Err(Stop::Failed(failure));
        }
        if failure.code == ErrorCode::DeadlineExceeded {
            self.because("the deadline passed before the answer was complete; it ends with what it has");
            return Ok(self.unfinished_answer(place, FinishReason::Deadline));
        }
        if matches!(failure.code, ErrorCode::Cancelled | ErrorCode::ShuttingDown | ErrorCode::ContentBlocked)
            || !self.parts[place].tool_calls.is_empty()
        {
            return Err(Stop::Failed(failure));
        }
        self.continue_from(place, failure).await
    }

    /// Whose answer is better than that of the part at `place`, which said the same thing over and over.
    async fn who_does_not_repeat(&mut self, place: usize) -> Result<Option<usize>, Stop> {
        let part = &self.parts[place];
        let reason = part.summary.as_ref().map(|summary| summary.finish_reason);
        if reason != Some(FinishReason::Repetition) || part.trace.role != SourceRole::Answer {
            return Ok(None);
        }
        self.because(format!("`{}` repeated itself over and over", self.parts[place].facts.name));
        while let Some(survivor) = self.survivor() {
            if self.until_spoken(survivor, None).await?.is_ok() {
                return Ok(Some(survivor));
            }
        }
        Ok(None)
    }

    /// Asks somebody to go on from what was shown.
    async fn continue_from(&mut self, broken: usize, failure: Failure) -> Result<Answer, Stop> {
        let from = self.parts[broken].facts.name.clone();
        let time_left = self.question.deadline.saturating_duration_since(now());
        self.because(format!("`{from}` broke off in mid-answer: {failure}"));
        let source = match continuation(&from, &self.candidates(), &self.question.settings, time_left) {
            Ok(source) => source,
            Err(reason) => {
                self.because(reason);
                return Err(Stop::Failed(failure));
            }
        };
        let broken_request = &self.parts[broken].request;
        let request = GenerateRequest {
            id: self.question.ask.generate.id.derived("rest"),
            answer_so_far: self.shown.text.clone(),
            // What somebody else wrote has no log-probabilities here.
            top_logprobs: None,
            ..broken_request.clone()
        };
        let at_byte = self.shown.text.len() as u64;
        // Whoever goes on has better to do than an answer of its own.
        self.cut_off_answer_of(source);
        let place = self.ask_helper(source, request, SourceRole::Continuation, self.question.deadline);
        let to = self.parts[place].facts.name.clone();
        self.because(format!("`{to}` goes on from there"));
        self.trace.seam = Some(Seam { at_byte, from: from.clone(), to: to.clone() });
        // Its text is the rest, so it is added to what was shown.
        self.show_more_by(place);
        match self.read_to_end(place).await? {
            Ok(()) => Ok(self.continued_answer(broken, place)),
            Err(failure) if failure.code == ErrorCode::DeadlineExceeded => {
                self.because("the deadline passed before the answer was complete; it ends with what it has");
                let answer = self.continued_answer(broken, place);
                Ok(Answer { finish_reason: FinishReason::Deadline, ..answer })
            }
            Err(second) => {
                self.trace.seam = None;
                let message = format!("`{from}` broke off: {failure}; `{to}` could not go on: {second}");
                Err(Stop::Failed(Failure { message, ..second }))
            }
        }
    }

    /// Waits for the end of one part. The inner error is its failure.
    pub(super) async fn read_to_end(&mut self, place: usize) -> Result<Result<(), Failure>, Stop> {
        loop {
            if !self.parts[place].is_working() {
                return Ok(match &self.parts[place].trace.failure {
                    Some(failure) => Err(failure.clone()),
                    None => Ok(()),
                });
            }
            if let Happened::News(at, News::Failed(failure)) = self.next(None).await?
                && at == place
            {
                return Ok(Err(failure));
            }
        }
    }
}

/// Whether somebody else's answer helps: not when it is the question that is to end.
pub(super) fn may_be_replaced(failure: &Failure) -> bool {
    !matches!(failure.code, ErrorCode::Cancelled | ErrorCode::ShuttingDown)
}
