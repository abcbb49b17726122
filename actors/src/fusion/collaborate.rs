//! All at once, then one answer: quorum, grace, deadline, decision.

use super::conductor::{Conductor, Happened, Stop};
use super::part::{News, Part, now};
use boca_core::fusion::{
    CollectBounds, Collection, Decision, Ended, SelectBy, Step, Verdict, decide, rank_by_record,
};
use boca_core::{Answer, ErrorCode, Failure, FinishReason, Role, Strategy};

/// The most of the time left that is kept for a judge or a synthesizer.
const SHARE_OF_HELPERS: u32 = 4;

/// How a collection ended.
enum Collected {
    /// This part is the answer whatever the others say; its text is shown while it comes. The others go on until it has
    /// ended well, in case that it does not.
    Decided(usize),
    /// These have good answers, in the order of preference.
    Good(Vec<usize>),
}

impl Conductor {
    /// Everyone at once, then one answer.
    pub(super) async fn collaborate(&mut self) -> Result<Answer, Stop> {
        self.ask_all();
        let wait_for_all = self.question.manner.waits_for_all;
        let good = match self.collect(wait_for_all, true).await? {
            Collected::Decided(place) => return self.answer_from_lead(place).await,
            Collected::Good(good) => good,
        };
        if good.is_empty() {
            // A part of an answer, as far as content rules or its repetitions allowed, when nobody has a whole one.
            return match (0..self.parts.len()).find(|place| self.parts[*place].is_cut_short()) {
                Some(place) => self.answer_from(place).await,
                None => self.best_of_nothing(),
            };
        }
        if good.iter().any(|place| !self.parts[*place].tool_calls.is_empty()) {
            // A call is no text that could be compared, judged or merged.
            self.because("an answer calls a tool, so the preferred one is taken as it is");
            return self.answer_from(good[0]).await;
        }
        let texts: Vec<&str> = good.iter().map(|place| self.parts[*place].text.as_str()).collect();
        let question = self.question.ask.generate.messages.iter().rfind(|message| message.role == Role::User);
        let question = question.map_or("", |message| message.content.as_str());
        let (strategy, select_by) = (self.question.manner.strategy, self.question.manner.select_by);
        let Decision { verdict, agreement, reason } =
            decide(question, &texts, strategy, select_by, &self.question.settings);
        self.trace.agreement = agreement;
        self.because(reason);
        match verdict {
            Verdict::TakeFirst => {
                self.trace.strategy = (good.len() > 1).then_some(Strategy::Select);
                self.answer_from(good[0]).await
            }
            Verdict::Judge => self.judge(&good).await,
            Verdict::Merge => self.merge(&good).await,
        }
    }

    /// Everyone at once, and every answer side by side. The text of the preferred one is shown.
    pub(super) async fn compare(&mut self) -> Result<Answer, Stop> {
        self.ask_all();
        let Collected::Good(good) = self.collect(true, false).await? else {
            return Err(Stop::Failed(self.nobody()));
        };
        let Some(first) = good.first() else { return self.best_of_nothing() };
        let texts = good.iter().map(|place| self.parts[*place].text.as_str());
        self.trace.agreement = boca_core::fusion::least_agreement(texts);
        self.because("all answers are shown side by side; the preferred one stands as the text");
        self.answer_from(*first).await
    }

    /// Waits for the answers. `may_decide`: a part whose text is the answer in any case is shown while it comes.
    async fn collect(&mut self, wait_for_all: bool, may_decide: bool) -> Result<Collected, Stop> {
        let n_sources = self.parts.len();
        let mut collection = Collection::new(n_sources, self.bounds(wait_for_all));
        let order = self.order();
        loop {
            if may_decide && let Some(place) = self.decided_early(&collection, &order) {
                return Ok(Collected::Decided(place));
            }
            match collection.step(self.since_arrival(now())) {
                Step::WaitUntil(until) => match self.next(self.question.arrived.checked_add(until)).await? {
                    Happened::News(place, News::Failed(_)) => collection.failed(place),
                    Happened::News(place, News::Finished) => {
                        let part = &self.parts[place];
                        let is_whole = part.is_good() && !part.is_cut_short();
                        if self.reject_if_empty(place) || !is_whole {
                            collection.failed(place);
                        } else {
                            collection.finished(place, self.since_arrival(now()));
                        }
                    }
                    Happened::News(..) | Happened::Time => {}
                },
                Step::Decide { survivors, cancel, ended } => {
                    if survivors.is_empty() {
                        return Ok(Collected::Good(Vec::new()));
                    }
                    if !cancel.is_empty() {
                        let names: Vec<String> = cancel
                            .iter()
                            .map(|place| format!("`{}`", self.parts[*place].facts.name))
                            .collect();
                        let why = match ended {
                            Ended::Grace => "enough answers were in and the grace was over",
                            Ended::Time => "the time for collecting was over",
                            Ended::Complete => "all answers were in",
                        };
                        self.because(format!("{} is not waited for: {why}", names.join(", ")));
                        self.cut_off_all_but(None);
                    }
                    return Ok(Collected::Good(
                        order.into_iter().filter(|place| survivors.contains(place)).collect(),
                    ));
                }
            }
        }
    }

    /// The part whose text is the answer whatever the others say, once it has any text: the only one left; or, where
    /// nobody judges, the first in the order that has not failed.
    fn decided_early(&mut self, collection: &Collection, order: &[usize]) -> Option<usize> {
        let spoken = |place: &usize| self.parts[*place].has_spoken();
        let manner = &self.question.manner;
        let only = collection.only_hope().filter(spoken);
        if let Some(place) = only {
            let name = self.parts[place].facts.name.clone();
            self.because(format!("`{name}` is the only one left, so its text is the answer"));
            return Some(place);
        }
        if manner.select_by == SelectBy::Judge || manner.strategy == Some(Strategy::Merge) {
            return None;
        }
        let lead =
            order.iter().copied().find(|place| self.parts[*place].trace.failure.is_none()).filter(spoken)?;
        let by = if manner.select_by == SelectBy::Record { "has the best record" } else { "is preferred" };
        let name = self.parts[lead].facts.name.clone();
        self.trace.strategy = Some(Strategy::Select);
        self.because(format!("`{name}` {by}, so its text is the answer"));
        Some(lead)
    }

    /// The parts in the order in which their answers are preferred.
    pub(super) fn order(&self) -> Vec<usize> {
        if self.question.manner.select_by != SelectBy::Record {
            return (0..self.parts.len()).collect();
        }
        let records: Vec<_> =
            self.parts.iter().map(|part| self.question.records.of(&part.facts.name)).collect();
        rank_by_record(&records, &self.question.settings.weights)
    }

    fn bounds(&self, wait_for_all: bool) -> CollectBounds {
        let settings = &self.question.settings;
        let n_sources = self.parts.len();
        let deadline = self.since_arrival(self.question.deadline);
        // Whoever decides needs time too.
        let kept_back = settings.judge_for.min(deadline / SHARE_OF_HELPERS);
        CollectBounds {
            quorum: if wait_for_all { n_sources } else { settings.quorum.min(n_sources) },
            grace: settings.grace,
            collect_until: settings.collect_for.min(deadline.saturating_sub(kept_back)),
            deadline,
        }
    }

    /// Nobody has a whole answer: the longest beginning of one, when the deadline cut it, is better than nothing.
    fn best_of_nothing(&mut self) -> Result<Answer, Stop> {
        let was_cut = |part: &Part| {
            let by_deadline = |failure: &Failure| failure.code == ErrorCode::DeadlineExceeded;
            part.has_spoken() && (part.is_working() || part.trace.failure.as_ref().is_some_and(by_deadline))
        };
        let begun = |place: &usize| was_cut(&self.parts[*place]);
        let longest = (0..self.parts.len()).filter(begun).max_by_key(|place| self.parts[*place].text.len());
        let Some(place) = longest else {
            self.fail_working();
            return Err(Stop::Failed(self.nobody()));
        };
        self.show(place);
        self.cut_off_all_but(None);
        let name = self.parts[place].facts.name.clone();
        self.because(format!("no answer was complete at the deadline; `{name}` had come furthest"));
        Ok(self.unfinished_answer(place, FinishReason::Deadline))
    }
}
