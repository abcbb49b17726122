//! One source, one after the other, and the race.

use super::conductor::{Conductor, Happened, Stop};
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
            match self.until_spoken(place, patience).await? {
                Ok(()) => return self.answer_from(place).await,
                Err(failure) => {
                    let name = self.parts[place].facts.name.clone();
                    self.because(format!("`{name}` gave no answer: {failure}"));
                }
            }
        }
        Err(Stop::Failed(self.nobody()))
    }

    /// All at once; the first to say something answers, and the others are cancelled at once: its text is shown, so
    /// nobody else's can be the answer any more.
    pub(super) async fn race(&mut self) -> Result<Answer, Stop> {
        self.ask_all();
        loop {
            let winner = self.parts.iter().position(|part| part.has_spoken());
            if let Some(winner) = winner {
                let name = self.parts[winner].facts.name.clone();
                self.because(format!("`{name}` was the first to answer"));
                return self.answer_from(winner).await;
            }
            if !self.parts.iter().any(|part| part.is_working()) {
                return Err(Stop::Failed(self.nobody()));
            }
            if let Happened::News(place, News::Finished) = self.next(None).await? {
                self.reject_if_empty(place);
            }
        }
    }

    /// Waits until a part has said something that can be shown. The inner error says why it has not.
    async fn until_spoken(
        &mut self,
        place: usize,
        patience: Option<Instant>,
    ) -> Result<Result<(), Failure>, Stop> {
        loop {
            if self.parts[place].has_spoken() {
                return Ok(Ok(()));
            }
            match self.next(patience).await? {
                Happened::Time => {
                    let message = "it said nothing in its share of the time";
                    let failure = Failure::new(ErrorCode::DeadlineExceeded, message);
                    self.parts[place].reject(failure.clone());
                    self.out.source(&self.parts[place].trace);
                    return Ok(Err(failure));
                }
                Happened::News(at, News::Failed(failure)) if at == place => return Ok(Err(failure)),
                Happened::News(at, News::Finished) if at == place && self.reject_if_empty(place) => {
                    let failure = self.parts[place].trace.failure.clone();
                    return Ok(Err(failure.unwrap_or_else(|| {
                        Failure::new(ErrorCode::ProviderFailed, "its answer was empty")
                    })));
                }
                Happened::News(..) => {}
            }
        }
    }
}
