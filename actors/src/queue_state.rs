//! What the queue of generations holds: those that wait, those that run, and the engine.

use crate::engine_host::{EngineCommand, EngineHost};
use crate::fair_order::FairOrder;
use crate::generation_channel::{GenerationChannel, GenerationEnd};
use crate::generation_queue::{Epoch, Ticket};
use crate::service_time::{ServiceTime, Share, advice, guess};
use boca_core::{ErrorCode, Failure, GenerateRequest, GenerationEvent, Priority, RequestId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// All of it.
#[derive(Debug)]
pub(crate) struct State {
    /// The most requests in the engine at once.
    pub(crate) max_running: usize,
    pub(crate) next_ticket: u64,
    pub(crate) waiting: Waiting,
    /// Oldest first.
    running: Vec<Running>,
    /// The engine that was started last, and whether it is ready.
    pub(crate) engine: Option<Engine>,
    /// Why nothing is taken, when waiting would not help.
    pub(crate) refusal: Option<Failure>,
    /// The next request is taken all the same.
    pub(crate) lets_one_in: bool,
    pub(crate) service_time: ServiceTime,
}

/// The engine that requests go to.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) epoch: Epoch,
    pub(crate) host: Arc<dyn EngineHost>,
    pub(crate) is_ready: bool,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) ticket: Ticket,
    pub(crate) request: Box<GenerateRequest>,
    pub(crate) accepted_at: Instant,
    pub(crate) deadline: Instant,
    pub(crate) channel: Arc<GenerationChannel>,
    /// It was in an engine that is gone.
    is_second_try: bool,
    /// Its reader was told that it has begun, and is not told again.
    has_started: bool,
    /// Its reader was told something else too: nobody else can take it over.
    has_shown: bool,
}

/// Those that wait: people's requests before all others, and fairly among themselves.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    interactive: FairOrder<Entry>,
    background: FairOrder<Entry>,
}

/// A request in the engine.
#[derive(Debug)]
pub(crate) struct Running {
    /// What it was while it waited, and is again when it is put back.
    pub(crate) entry: Entry,
    pub(crate) epoch: Epoch,
    pub(crate) share: Share,
    /// When the engine was first told to end it.
    pub(crate) told_to_end: Option<Instant>,
    /// Why, when it was not its caller who wanted that.
    pub(crate) reason_to_end: Option<Failure>,
    /// Where it may have to make room, or nobody reads along, what it has said is kept back until its end, so that it can
    /// begin anew.
    pub(crate) held_back: Option<Vec<GenerationEvent>>,
    may_make_room: bool,
    /// It makes room for somebody who waits, and goes on waiting itself.
    pub(crate) makes_room: bool,
}

impl Entry {
    pub(crate) fn new(
        ticket: Ticket,
        request: Box<GenerateRequest>,
        accepted_at: Instant,
        deadline: Instant,
        channel: Arc<GenerationChannel>,
    ) -> Self {
        let (is_second_try, has_started, has_shown) = (false, false, false);
        Self { ticket, request, accepted_at, deadline, channel, is_second_try, has_started, has_shown }
    }

    /// What its reader is to be told of this, and where; nothing when it knows.
    pub(crate) fn tell(
        &mut self,
        event: GenerationEvent,
    ) -> Option<(Arc<GenerationChannel>, GenerationEvent)> {
        if !matches!(event, GenerationEvent::Started { .. }) {
            self.has_shown = true;
        } else if std::mem::replace(&mut self.has_started, true) {
            return None;
        }
        Some((Arc::clone(&self.channel), event))
    }

    /// Once it may go to another engine, as long as nobody can tell the difference. True when this is that time.
    pub(crate) fn may_try_again(&mut self) -> bool {
        !self.has_shown && !std::mem::replace(&mut self.is_second_try, true)
    }
}

impl Waiting {
    fn of(&mut self, priority: Priority) -> &mut FairOrder<Entry> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Background => &mut self.background,
        }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        let key = entry.request.fairness_key.clone();
        self.of(entry.request.priority).push(&key, entry);
    }

    /// It had its turn and got nothing of it.
    pub(crate) fn put_back(&mut self, entry: Entry) {
        let key = entry.request.fairness_key.clone();
        self.of(entry.request.priority).put_back(&key, entry);
    }

    pub(crate) fn take(&mut self, is_it: impl Fn(&Entry) -> bool) -> Option<Entry> {
        self.interactive.take(&is_it).or_else(|| self.background.take(&is_it))
    }

    /// The next of all, when nothing runs any more.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        self.interactive.pop().or_else(|| self.background.pop())
    }

    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&Entry) -> bool) {
        self.interactive.retain(&mut is_kept);
        self.background.retain(&mut is_kept);
    }

    pub(crate) fn n_of(&self, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len(),
            Priority::Background => self.background.len(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.interactive.len() + self.background.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.interactive.is_empty() && self.background.is_empty()
    }

    /// In the order in which they go when nobody else comes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.interactive.iter().chain(self.background.iter())
    }
}

impl Running {
    pub(crate) fn id(&self) -> &RequestId {
        &self.entry.request.id
    }

    /// Gives out what was held back, and the end.
    pub(crate) fn finish(self, end: GenerationEnd) {
        let channel = &self.entry.channel;
        self.held_back.into_iter().flatten().for_each(|event| channel.push(event));
        channel.finish(match (end, self.reason_to_end) {
            // The engine had not begun, or was lost, and all that is known is that it was told not to go on.
            (Err(failure), Some(reason)) if failure.code == ErrorCode::Cancelled => Err(reason),
            (end, _) => end,
        });
    }

    fn is_background(&self) -> bool {
        self.entry.request.priority == Priority::Background
    }
}

impl State {
    pub(crate) fn new(max_running: usize) -> Self {
        Self {
            max_running: max_running.max(1),
            next_ticket: 0,
            waiting: Waiting::default(),
            running: Vec::new(),
            engine: None,
            refusal: None,
            lets_one_in: false,
            service_time: ServiceTime::default(),
        }
    }

    /// Whether the engine takes one more of this priority. The last free place is kept for people.
    pub(crate) fn can_run_at_once(&self, priority: Priority) -> bool {
        let n_kept = usize::from(priority == Priority::Background && self.max_running > 1);
        self.running.len() + n_kept < self.max_running && self.is_engine_ready()
    }

    pub(crate) fn is_engine_ready(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.is_ready)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    pub(crate) fn n_accepted(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    pub(crate) fn all_running(&self) -> &[Running] {
        &self.running
    }

    pub(crate) fn all_running_mut(&mut self) -> impl Iterator<Item = &mut Running> {
        self.running.iter_mut()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &RequestId> {
        let running = self.running.iter().map(Running::id);
        running.chain(self.waiting.iter().map(|entry| &entry.request.id))
    }

    pub(crate) fn take_waiting(&mut self, ticket: Ticket) -> Option<Entry> {
        self.waiting.take(|entry| entry.ticket == ticket)
    }

    /// The request whose turn it is, when the engine has room for it.
    pub(crate) fn take_next(&mut self) -> Option<Entry> {
        let priority = Priority::ALL.into_iter().find(|priority| self.waiting.n_of(*priority) > 0)?;
        if self.can_run_at_once(priority) { self.waiting.of(priority).pop() } else { None }
    }

    pub(crate) fn running(&mut self, ticket: Ticket) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.entry.ticket == ticket)
    }

    /// A request is in the engine.
    pub(crate) fn begins(&mut self, entry: Entry, epoch: Epoch, now: Instant) {
        self.service_time.now_run(self.running.len() + 1, now);
        let may_make_room = self.max_running == 1 && entry.request.priority == Priority::Background;
        let is_held_back = may_make_room || entry.request.is_read_whole;
        self.running.push(Running {
            entry,
            epoch,
            share: self.service_time.begin(now),
            told_to_end: None,
            reason_to_end: None,
            held_back: is_held_back.then(Vec::new),
            may_make_room,
            makes_room: false,
        });
    }

    /// Takes the request of this id out of those in this engine.
    pub(crate) fn take_running(&mut self, epoch: Epoch, id: &RequestId, now: Instant) -> Option<Running> {
        let of_id = |running: &Running| running.epoch == epoch && running.id() == id;
        let place = self.running.iter().position(of_id)?;
        self.service_time.now_run(self.running.len() - 1, now);
        Some(self.running.remove(place))
    }

    /// Takes out all that ran in this engine.
    pub(crate) fn take_all_of(&mut self, epoch: Epoch, now: Instant) -> Vec<Running> {
        let all = std::mem::take(&mut self.running);
        let (lost, kept) = all.into_iter().partition(|running| running.epoch == epoch);
        self.running = kept;
        self.service_time.now_run(self.running.len(), now);
        lost
    }

    /// Tells the engine to end a request for good; nothing when it does not run.
    pub(crate) fn tell_to_end(&mut self, ticket: Ticket, now: Instant) {
        if let Some(running) = self.running(ticket) {
            running.makes_room = false;
        }
        self.cancel_in_engine(ticket, now);
    }

    /// Where one runs at a time, work that has time makes room when somebody waits who has not: it begins anew later.
    pub(crate) fn make_room(&mut self, now: Instant) {
        let is_wanted = self.waiting.n_of(Priority::Interactive) > 0 && self.max_running == 1;
        let in_the_way = self
            .running
            .first_mut()
            .filter(|running| is_wanted && running.is_background() && running.told_to_end.is_none());
        if let Some(running) = in_the_way {
            running.makes_room = true;
            let ticket = running.entry.ticket;
            self.cancel_in_engine(ticket, now);
        }
    }

    fn cancel_in_engine(&mut self, ticket: Ticket, now: Instant) {
        let Some(running) = self.running(ticket) else { return };
        if running.told_to_end.replace(running.told_to_end.unwrap_or(now)).is_some() {
            return;
        }
        let id = running.id().clone();
        if let Some(engine) = &self.engine {
            // An engine that is gone needs no telling: its end is about to be reported.
            engine.host.send(EngineCommand::Cancel { id }).ok();
        }
    }

    /// How long a person's request that came now would wait for its first step: what is left of the one that ends
    /// first, when there is no room, and the mean shares of those that wait before it. Before the first measurement
    /// nobody knows, and it counts as no wait.
    pub(crate) fn expected_wait(&self, now: Instant) -> Duration {
        let Some(mean) = self.service_time.mean(Priority::Interactive) else { return Duration::ZERO };
        let makes_room = |running: &Running| running.may_make_room;
        let until_room = if self.running.len() < self.max_running || self.running.iter().any(makes_room) {
            Duration::ZERO
        } else {
            let left = self.running.iter().map(|running| self.left_of(running, now)).min();
            left.unwrap_or_default().saturating_mul(number(self.running.len()))
        };
        mean.saturating_mul(number(self.waiting.n_of(Priority::Interactive))).saturating_add(until_room)
    }

    /// When a request of this priority that is refused now should come again: when those that go before it have gone.
    pub(crate) fn retry_after(&self, priority: Priority, now: Instant) -> Duration {
        let running: Duration = self.running.iter().map(|running| self.left_of(running, now)).sum();
        let goes_before = |other: &Priority| *other <= priority;
        let waiting = Priority::ALL
            .into_iter()
            .filter(goes_before)
            .map(|priority| self.mean_or_guess(priority).saturating_mul(number(self.waiting.n_of(priority))));
        advice(waiting.fold(running, Duration::saturating_add))
    }

    /// What is left of the engine's time for one that runs, when it takes as long as others did.
    fn left_of(&self, running: &Running, now: Instant) -> Duration {
        let mean = self.mean_or_guess(running.entry.request.priority);
        mean.saturating_sub(self.service_time.spent(running.share, now))
    }

    fn mean_or_guess(&self, priority: Priority) -> Duration {
        self.service_time.mean(priority).unwrap_or_else(|| guess(self.max_running))
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
