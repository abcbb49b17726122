//! One source, one after the other, and the race.

use super::conductor::{Conductor, Happened, Stop};
use super::continue_answer::may_be_replaced;
use super::part::{News, now};
use boca_core::{Answer, ErrorCode, Failure};
use std::time::Instant;

impl Conductor {
    /// One source answers, and its text is shown as it comes.
    pub(super) async fn single(&mut self) -> Result<Answer, Stop> {
        self.ask_all();
        match self.answer_from(0).await {
            Err(Stop::Failed(failure)) if self.shown.text.is_empty() => {
                Err(Stop::Failed(self.nobody_answered(failure)))
            }
            end => end,
        }
    }

    /// One after the other, until one says something. Each but the last has its share of the time for that.
    pub(super) async fn fallback(&mut self) -> Result<Answer, Stop> {
        let order = self.question.plan.asked.clone();
        for (n, source) in order.iter().enumerate() {
            let n_left = u32::try_from(order.len() - n).unwrap_or(u32::MAX);
            let time_left = self.question.deadline.saturating_duration_since(now());
            let patience = (n_left > 1).then(|| now() + time_left / n_left);
            let place = self.ask_one(*source, self.question.deadline);
            let failure = match self.until_spoken(place, patience).await? {
                Ok(()) => match self.answer_from(place).await {
                    Err(Stop::Failed(failure)) if may_be_replaced(&failure) => failure,
                    end => return end,
                },
                Err(failure) => failure,
            };
            let name = self.parts[place].facts.name.clone();
            self.because(format!("`{name}` gave no answer: {failure}"));
        }
        Err(Stop::Failed(self.nobody()))
    }

    /// All at once; the first to say something answers, and the others are cancelled at once. When it breaks off and
    /// nobody can go on, those who were cancelled for it race again.
    pub(super) async fn race(&mut self) -> Result<Answer, Stop> {
        let mut runners = self.question.plan.asked.clone();
        loop {
            let n_before = self.parts.len();
            for source in &runners {
                if n_before == 0 {
                    self.ask_one(*source, self.question.deadline);
                } else {
                    self.ask_again(*source, n_before);
                }
            }
            let Some(winner) = self.first_to_speak(n_before).await? else {
                return Err(Stop::Failed(self.nobody()));
            };
            let name = self.parts[winner].facts.name.clone();
            self.because(format!("`{name}` was the first to answer"));
            match self.answer_from(winner).await {
                Err(Stop::Failed(failure)) if may_be_replaced(&failure) => {
                    runners.retain(|source| !self.has_failed(*source));
                    if runners.is_empty() {
                        return Err(Stop::Failed(self.nobody_answered(failure)));
                    }
                }
                end => return end,
            }
        }
    }

    /// Whether the source at `place` has failed at anything here.
    fn has_failed(&self, place: usize) -> bool {
        let name = self.question.sources.sources()[place].facts().name;
        self.parts.iter().any(|part| part.facts.name == name && part.trace.failure.is_some())
    }

    /// The first of the parts from `n_before` on to say something; `None` when all of them failed.
    async fn first_to_speak(&mut self, n_before: usize) -> Result<Option<usize>, Stop> {
        loop {
            let winner = (n_before..self.parts.len()).find(|place| self.parts[*place].has_spoken());
            if winner.is_some() || !self.parts.iter().any(|part| part.is_working()) {
                return Ok(winner);
            }
            if let Happened::News(place, News::Finished) = self.next(None).await? {
                self.reject_if_empty(place);
            }
        }
    }

    /// Waits until a part has said something that can be shown. The inner error says why it has not.
    pub(super) async fn until_spoken(
        &mut self,
        place: usize,
        patience: Option<Instant>,
    ) -> Result<Result<(), Failure>, Stop> {
        loop {
            if self.parts[place].has_spoken() {
                return Ok(Ok(()));
            }
            if !self.parts[place].is_working() {
                self.reject_if_empty(place);
                let failure = self.parts[place].trace.failure.clone();
                return Ok(Err(failure.unwrap_or_else(|| {
                    Failure::new(ErrorCode::Cancelled, "it was cancelled before it said anything")
                })));
            }
            match self.next(patience).await? {
                Happened::Time => {
                    let message = "it said nothing in its share of the time";
                    let failure = Failure::new(ErrorCode::DeadlineExceeded, message);
                    self.parts[place].reject(failure.clone());
                    self.out.source(&self.parts[place].trace);
                    return Ok(Err(failure));
                }
                Happened::News(..) => {}
            }
        }
    }
}
