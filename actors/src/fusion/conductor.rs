//! The work on one answer: who is asked, what is shown, and how it ends.
//!
//! A conductor runs as one future that the reader of the answer drives. What it asks of providers runs where they run
//! (the engine's thread, the providers' own tasks), so all sources of a question work at once whatever this future
//! does. It ends in exactly one answer or one failure. The ways of working together are in files of their own:
//! `shapes` (one, one after the other, a race), `collaborate` (all at once, then a decision), `helpers` (judge and
//! synthesizer), `continue_answer` (going on where another broke off), `finish` (the answer and its trace).

use super::outbox::Outbox;
use super::part::{News, Part, now};
use super::running::Registration;
use super::track_records::TrackRecords;
use crate::source::Source;
use boca_core::fusion::{Admitted, Candidate, FusionSettings, Manner, Plan, Shape};
use boca_core::{Answer, Ask, ErrorCode, Failure, FusionTrace, GenerateRequest, SourceRole};
use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long after the deadline a source may take to say that it has ended. The engine winds up in this time.
const WIND_UP: Duration = Duration::from_secs(3);

/// Everything that one answer needs.
pub(crate) struct Question {
    /// The question itself.
    pub(crate) ask: Ask,
    /// How it is to be answered.
    pub(crate) manner: Manner,
    /// Who is asked.
    pub(crate) plan: Plan,
    /// Those who may see it. Nobody else is within reach of the work.
    pub(crate) sources: Admitted<Arc<dyn Source>>,
    /// What a person can set.
    pub(crate) settings: Arc<FusionSettings>,
    /// What is known of the providers.
    pub(crate) records: TrackRecords,
    /// When the question arrived.
    pub(crate) arrived: Instant,
    /// When the answer has to be there.
    pub(crate) deadline: Instant,
    /// Decides the order of anonymised sources.
    pub(crate) seed: u64,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("id", &self.ask.generate.id)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// Why the work stops where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stop {
    /// There is no answer.
    Failed(Failure),
    /// Somebody wants it to end with what there is.
    Cancelled,
    /// The deadline has passed, and the time to wind up with it.
    TimeUp,
}

/// What has been shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The part that writes it.
    pub(super) writer: Option<usize>,
    pub(super) text: String,
    pub(super) reasoning: String,
    /// When the first of it came.
    pub(super) first: Option<Instant>,
}

/// What happened next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Happened {
    /// To the part at this place.
    News(usize, News),
    /// The time that was waited for has come.
    Time,
}

/// The work on one answer.
#[derive(Debug)]
pub(crate) struct Conductor {
    pub(super) question: Question,
    pub(super) parts: Vec<Part>,
    pub(super) shown: Shown,
    pub(super) trace: FusionTrace,
    pub(super) out: Outbox,
    registration: Registration,
    /// The part that is looked at first, so that none is heard more than the others.
    turn: usize,
}

impl Conductor {
    pub(crate) fn new(question: Question, registration: Registration, out: Outbox) -> Self {
        let trace = FusionTrace {
            mode: question.plan.mode.clone(),
            reasons: question.plan.reasons.clone(),
            ..FusionTrace::default()
        };
        Self { question, parts: Vec::new(), shown: Shown::default(), trace, out, registration, turn: 0 }
    }

    /// Works until there is an answer or a failure, and says so.
    pub(crate) async fn run(mut self) {
        let end = match self.question.plan.shape {
            Shape::Single => self.single().await,
            Shape::Fallback => self.fallback().await,
            Shape::Race => self.race().await,
            Shape::Collaborative => self.collaborate().await,
            Shape::Compare => self.compare().await,
        };
        let end = match end {
            Ok(answer) => Ok(answer),
            Err(stop) => self.stopped(stop).await,
        };
        // Also after a failure nothing goes on that nobody waits for.
        self.cut_off_all_but(None);
        for part in &self.parts {
            self.question.records.note_answer(part);
        }
        let Self { out, registration, .. } = self;
        // Whoever reads that it is over may use the id again.
        drop(registration);
        out.end(end);
    }

    /// Asks everyone of the plan, all at the same moment. Their parts are in the order of preference.
    pub(super) fn ask_all(&mut self) {
        for place in self.question.plan.asked.clone() {
            self.ask_one(place, self.question.deadline);
        }
    }

    /// Asks the source at `place` the question itself; gives the place of its part.
    pub(super) fn ask_one(&mut self, place: usize, deadline: Instant) -> usize {
        let arrived = self.question.arrived;
        let request = GenerateRequest {
            time_left: deadline.saturating_duration_since(arrived),
            ..self.question.ask.generate.clone()
        };
        self.begin(place, request, SourceRole::Answer, arrived, deadline)
    }

    /// Asks a source once more that was cut off. It may still be about to end its first request, so this one has an id
    /// of its own.
    pub(super) fn ask_again(&mut self, place: usize, round: usize) {
        let (arrived, deadline) = (self.question.arrived, self.question.deadline);
        let ask = &self.question.ask.generate;
        let request = GenerateRequest {
            id: ask.id.derived(&format!("again{round}")),
            time_left: deadline.saturating_duration_since(arrived),
            ..ask.clone()
        };
        self.begin(place, request, SourceRole::Answer, arrived, deadline);
    }

    /// Asks the source at `place` for help with the answer.
    pub(super) fn ask_helper(
        &mut self,
        place: usize,
        request: GenerateRequest,
        role: SourceRole,
        deadline: Instant,
    ) -> usize {
        let asked_at = now();
        let request = GenerateRequest { time_left: deadline.saturating_duration_since(asked_at), ..request };
        self.begin(place, request, role, asked_at, deadline)
    }

    fn begin(
        &mut self,
        place: usize,
        request: GenerateRequest,
        role: SourceRole,
        asked_at: Instant,
        deadline: Instant,
    ) -> usize {
        let source = Arc::clone(&self.question.sources.sources()[place]);
        // Where several answer, what one of them has said so far decides about the others.
        let is_alone = self.question.plan.shape == Shape::Single || role == SourceRole::Judge;
        let request = GenerateRequest { is_read_whole: request.is_read_whole && is_alone, ..request };
        let part = Part::ask(source, request, role, self.question.arrived, asked_at, deadline);
        self.out.source(&part.trace);
        self.parts.push(part);
        self.parts.len() - 1
    }

    /// Those who may see the question, as things stand now.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        self.question.sources.sources().iter().map(|source| candidate(source.as_ref())).collect()
    }

    /// Waits for what comes next, at most until `until`.
    pub(super) async fn next(&mut self, until: Option<Instant>) -> Result<Happened, Stop> {
        let last = self.question.deadline + WIND_UP;
        let until = until.map_or(last, |until| until.min(last));
        let Self { parts, registration, turn, .. } = self;
        let heard = std::future::poll_fn(|cx| {
            for n in 0..parts.len() {
                let place = (*turn + n) % parts.len();
                if let Poll::Ready(news) = parts[place].poll_news(cx) {
                    *turn = place + 1;
                    return Poll::Ready((place, news));
                }
            }
            Poll::Pending
        });
        let heard = tokio::select! {
            biased;
            () = registration.cancelled() => return Err(Stop::Cancelled),
            heard = heard => heard,
            () = tokio::time::sleep_until(until.into()) => {
                return if now() >= last { Err(Stop::TimeUp) } else { Ok(Happened::Time) };
            }
        };
        let (place, news) = heard;
        self.heard(place, &news);
        Ok(Happened::News(place, news))
    }

    /// Tells the reader what is new.
    pub(super) fn heard(&mut self, place: usize, news: &News) {
        let is_first = {
            let part = &self.parts[place];
            let said = part.text.len() + part.reasoning.len();
            match news {
                News::Text(more) | News::Reasoning(more) => said == more.len(),
                News::Other | News::Accepted => false,
                News::Started | News::Finished | News::Failed(_) => true,
            }
        };
        if *news == News::Accepted {
            self.out.accepted();
        }
        if *news == News::Started
            && let Some(cut) = &self.parts[place].trace.context_cut
        {
            let (reason, summary) = (cut.sentence(&self.parts[place].facts.name), cut.summary.clone());
            self.because(reason);
            // Whoever is asked later need not have it written again.
            let plan = &mut self.question.ask.generate.context;
            plan.summary = summary.or(plan.summary.take());
        }
        if is_first {
            self.out.source(&self.parts[place].trace);
        }
        if self.shown.writer == Some(place) {
            match news {
                News::Text(more) => self.show_text(more),
                News::Reasoning(more) => self.show_reasoning(more),
                _ => {}
            }
        }
    }

    /// From now on the text of this part is the answer. Whatever was shown before is taken back.
    pub(super) fn show(&mut self, place: usize) {
        if let Some(before) = self.shown.writer
            && self.shown.first.is_some()
        {
            let (before, name) = (&self.parts[before].facts.name, &self.parts[place].facts.name);
            let reason =
                format!("`{before}` broke off; the answer of `{name}` takes the place of its beginning");
            self.out.restart(&reason);
            self.shown = Shown::default();
            self.because(reason);
        }
        self.show_more_by(place);
    }

    /// From now on this part's text is added to what was shown; what it has said so far is shown at once.
    pub(super) fn show_more_by(&mut self, place: usize) {
        self.shown.writer = Some(place);
        let (reasoning, text) = (self.parts[place].reasoning.clone(), self.parts[place].text.clone());
        self.show_reasoning(&reasoning);
        self.show_text(&text);
    }

    fn show_text(&mut self, more: &str) {
        if !more.is_empty() {
            self.shown.first.get_or_insert_with(now);
            self.shown.text.push_str(more);
            self.out.text(more);
        }
    }

    fn show_reasoning(&mut self, more: &str) {
        if !more.is_empty() {
            self.shown.first.get_or_insert_with(now);
            self.shown.reasoning.push_str(more);
            self.out.reasoning(more);
        }
    }

    /// Cancels everyone who still works, except one.
    pub(super) fn cut_off_all_but(&mut self, kept: Option<usize>) {
        for (place, part) in self.parts.iter_mut().enumerate() {
            if Some(place) != kept && part.cut_off() {
                self.out.source(&part.trace);
            }
        }
    }

    /// Cuts off the answer that the source at `place` still writes.
    pub(super) fn cut_off_answer_of(&mut self, place: usize) {
        let name = self.question.sources.sources()[place].facts().name;
        for part in &mut self.parts {
            if part.facts.name == name && part.cut_off() {
                self.out.source(&part.trace);
            }
        }
    }

    /// Takes a part as failed that ended well but without an answer. True when it was one.
    pub(super) fn reject_if_empty(&mut self, place: usize) -> bool {
        let part = &mut self.parts[place];
        if !part.is_good() || part.has_spoken() {
            return false;
        }
        let failure = match part.summary.as_ref().map(|summary| summary.finish_reason) {
            Some(boca_core::FinishReason::ContentFilter) => {
                Failure::new(ErrorCode::ContentBlocked, "its content rules forbid an answer")
            }
            _ => Failure::new(ErrorCode::ProviderFailed, "its answer was empty"),
        };
        part.reject(failure);
        self.out.source(&part.trace);
        true
    }

    /// Ends the work where it stands.
    async fn stopped(&mut self, stop: Stop) -> Result<Answer, Failure> {
        match stop {
            Stop::Failed(failure) => Err(failure),
            Stop::Cancelled => self.cancelled().await,
            Stop::TimeUp => self.out_of_time(),
        }
    }

    /// The time since the question arrived.
    pub(super) fn since_arrival(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.question.arrived)
    }

    pub(super) fn because(&mut self, reason: impl Into<String>) {
        self.trace.reasons.push(reason.into());
    }
}

/// A source as the rules see it, as things stand now.
pub(crate) fn candidate(source: &dyn Source) -> Candidate {
    Candidate { facts: source.facts(), availability: source.availability(), load: source.load() }
}
