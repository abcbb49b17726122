//! Starts actors, notices their end, and starts them again.
//!
//! actix's own `Supervisor` does not restart an actor after a panic, so each child here has a task of its own
//! ([`crate::supervisor_child`]) and a factory. An actor holds an [`ExitGuard`]; when its end is reported (or it makes
//! no progress) the task takes the address away and asks the [`Plan`], which knows the strategy, the order and every
//! child's restart policy. When an essential child's restart limit is spent the whole supervisor escalates: the
//! process should end with its documented exit code, and a service manager start it afresh.
//!
//! Children are started in order, each once those that it needs are ready, and stopped in the reverse order, each
//! within its own time limit.

pub use crate::child_status::ActorReport;
pub(crate) use crate::child_status::ChildStatus;
use crate::exit_guard::{Exit, ExitGuard};
use crate::handle::{ActorHandle, Slot};
use crate::restart_policy::{EndedRun, Ending, RestartPolicy};
use crate::supervisor_child::{self, Command, Incarnation};
use crate::supervisor_plan::{Action, End, Plan, Retired, Strategy};
use actix::{Actor, ActorContext, Context, Handler, Message};
use arc_swap::ArcSwapOption;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// The most commands that wait for a child's task; the plan waits for an answer to most of them.
const COMMANDS: usize = 16;

/// How every child is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Supervision {
    /// When an actor is started again, and when that ends.
    pub actors: RestartPolicy,
    /// The same for the engine, which lives below its actor and takes longer to start.
    pub engine: RestartPolicy,
    /// How long a child may take to stop before it is abandoned.
    pub shutdown_timeout: Duration,
    /// Pause between two heartbeats of an actor.
    pub heartbeat_every: Duration,
    /// An actor that has not answered a heartbeat for this long is stuck, and replaced.
    pub heartbeat_patience: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        let actors = RestartPolicy::default();
        Self {
            actors,
            engine: RestartPolicy { within: Duration::from_secs(600), ..actors },
            shutdown_timeout: Duration::from_secs(5),
            heartbeat_every: Duration::from_secs(5),
            heartbeat_patience: Duration::from_secs(30),
        }
    }
}

/// Supervision gave up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {actor} actor failed again and again: {reason}")]
pub struct Escalation {
    /// The actor whose restart limit is spent.
    pub actor: String,
    /// Its last error.
    pub reason: String,
}

/// What a supervisor tells an actor.
#[derive(Debug)]
pub(crate) enum Control {
    /// Stop when that is possible without loss.
    Stop,
    /// Show that messages are still handled.
    Beat,
}

impl Message for Control {
    type Result = ();
}

impl Control {
    /// What an actor does that has nothing to clean up.
    pub(crate) fn obey<A: Actor<Context = Context<A>>>(self, ctx: &mut Context<A>) {
        match self {
            Self::Stop => ctx.stop(),
            Self::Beat => {}
        }
    }
}

/// An actor that can be supervised: it holds its [`ExitGuard`] and obeys [`Control`].
pub(crate) trait Supervised: Actor<Context = Context<Self>> + Handler<Control> {}
impl<A: Actor<Context = Context<A>> + Handler<Control>> Supervised for A {}

/// Which thread an actor runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The supervisor's own; an actor that blocks there blocks its supervisor too.
    #[cfg(test)]
    Shared,
    /// One of its own, new for each incarnation.
    OwnThread,
}

/// One child to be started.
pub(crate) struct ChildSpec<A: Supervised> {
    pub(crate) name: Arc<str>,
    pub(crate) policy: RestartPolicy,
    pub(crate) supervision: Supervision,
    pub(crate) mailbox_capacity: usize,
    pub(crate) placement: Placement,
    /// Whether the process has no use without it.
    pub(crate) is_essential: bool,
    /// Names of those that have to be ready before it is started.
    pub(crate) needs: &'static [&'static str],
    /// Makes one incarnation, on the thread where it will run.
    pub(crate) factory: Arc<dyn Fn(ExitGuard) -> A + Send + Sync>,
}

/// A supervisor and its children, in the order in which they were started.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisionReport {
    /// Who is started again when a child ends.
    pub strategy: Strategy,
    /// The children.
    pub children: Vec<(String, ActorReport)>,
}

/// Starts, watches and stops its children.
#[derive(Debug)]
pub(crate) struct Supervisor {
    core: Arc<SupervisorCore>,
}

/// What a supervisor shares with the tasks of its children.
#[derive(Debug)]
pub(crate) struct SupervisorCore {
    state: Mutex<State>,
    origin: Instant,
    escalation: watch::Sender<Option<Escalation>>,
    is_over: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    plan: Plan,
    children: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    status: Arc<ChildStatus>,
    commands: mpsc::Sender<Command>,
}

impl Supervisor {
    pub(crate) fn new(strategy: Strategy) -> Self {
        crate::exit_guard::keep_panic_notes();
        let state = State { plan: Plan::new(strategy), children: Vec::new() };
        let core = SupervisorCore {
            state: Mutex::new(state),
            origin: Instant::now(),
            escalation: watch::Sender::new(None),
            is_over: watch::Sender::new(false),
        };
        Self { core: Arc::new(core) }
    }

    /// Starts a child, at once when all that it needs are ready. Must be called inside an actix system.
    pub(crate) fn start<A: Supervised>(&self, spec: ChildSpec<A>) -> ActorHandle<A> {
        let status = ChildStatus::new(Arc::clone(&spec.name), spec.mailbox_capacity);
        let status = Arc::new(status.governed_by(spec.policy.restart, spec.needs));
        let slot = Arc::new(Slot { addr: ArcSwapOption::empty(), status: Arc::clone(&status) });
        let (commands, wanted) = mpsc::channel(COMMANDS);
        let mut state = self.core.lock();
        let needs = state.numbers_of(spec.needs);
        let (child, actions) = state.plan.add(needs, spec.policy, spec.is_essential);
        state.children.push(Child { status, commands });
        // The first incarnation is made at once, so that a message sent right after this call finds its mailbox.
        let first = actions.contains(&Action::Start(child)).then(|| Incarnation::start(&spec, &slot));
        let rest = actions.into_iter().filter(|action| *action != Action::Start(child)).collect();
        self.core.perform(&state, rest, None);
        drop(state);
        let (core, task_slot) = (Arc::clone(&self.core), Arc::clone(&slot));
        actix::spawn(supervisor_child::run(child, spec, task_slot, core, wanted, first));
        ActorHandle::new(slot)
    }

    /// Every child, by name.
    #[cfg(test)]
    pub(crate) fn reports(&self) -> std::collections::BTreeMap<String, ActorReport> {
        self.report().children.into_iter().collect()
    }

    /// Every child, in order.
    pub(crate) fn report(&self) -> SupervisionReport {
        let state = self.core.lock();
        let children = state.children.iter();
        SupervisionReport {
            strategy: state.plan.strategy(),
            children: children.map(|child| (child.status.name().to_owned(), child.status.report())).collect(),
        }
    }

    /// Waits until supervision gives up. Never resolves while all is well.
    pub(crate) async fn escalated(&self) -> Escalation {
        let mut escalation = self.core.escalation.subscribe();
        loop {
            if let Some(escalation) = escalation.borrow_and_update().clone() {
                return escalation;
            }
            if escalation.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops every child, the youngest first, each within its time limit.
    pub(crate) async fn stop_all(&self) {
        self.core.change(None, Plan::stop_all);
        // The sender lives as long as this supervisor.
        self.core.is_over.subscribe().wait_for(|is_over| *is_over).await.ok();
    }
}

impl State {
    fn numbers_of(&self, names: &[&str]) -> Vec<usize> {
        let number = |name: &&str| self.children.iter().position(|child| child.status.name() == *name);
        let numbers: Vec<usize> = names.iter().filter_map(number).collect();
        debug_assert_eq!(numbers.len(), names.len(), "{names:?} must all be started before");
        numbers
    }
}

impl SupervisorCore {
    pub(crate) fn ready(&self, child: usize) {
        let state = self.lock();
        state.children[child].status.ready();
        drop(state);
        self.change(None, |plan| plan.ready(child));
    }

    pub(crate) fn stopped(&self, child: usize) {
        self.change(None, |plan| plan.stopped(child));
    }

    pub(crate) fn pause_over(&self, child: usize) {
        self.change(None, |plan| plan.pause_over(child));
    }

    pub(crate) fn ended(&self, child: usize, exit: Exit, ran_for: Duration) {
        let ending = if exit == Exit::Normal { Ending::Normal } else { Ending::Failed };
        let end = match exit {
            Exit::GiveUp(_) => End::Hopeless,
            _ => End::Run(EndedRun { ending, at: self.origin.elapsed(), ran_for, draw: fastrand::f64() }),
        };
        self.change(exit.reason(), |plan| plan.ended(child, end));
    }

    fn change(&self, reason: Option<String>, event: impl FnOnce(&mut Plan) -> Vec<Action>) {
        let mut state = self.lock();
        let actions = event(&mut state.plan);
        self.perform(&state, actions, reason);
    }

    /// Publishes and does what the plan says. `reason` is why the child ended that all this is about.
    fn perform(&self, state: &State, actions: Vec<Action>, reason: Option<String>) {
        for action in actions {
            match action {
                Action::Start(child) => {
                    state.children[child].status.starting();
                    state.tell(child, Command::Start);
                }
                Action::Stop(child) => state.tell(child, Command::Stop),
                Action::Pause(child, after) => {
                    let Child { status, .. } = &state.children[child];
                    let after_ms = after.as_millis() as u64;
                    tracing::warn!(actor = status.name(), reason, after_ms, "actor restarts");
                    status.restarting(reason.clone(), (Instant::now() + after).into_std());
                    state.tell(child, Command::Pause(after));
                }
                Action::Rest(child, need) => {
                    let (status, need) = (&state.children[child].status, state.children[need].status.name());
                    tracing::warn!(actor = status.name(), need, "actor restarts with the one that it needs");
                    let reason = format!("the {need} actor, which it needs, ended");
                    status.restarting(Some(reason), Instant::now().into_std());
                }
                Action::Retire(child, why) => self.retire(state, child, why, reason.clone()),
                Action::Escalate(child) => {
                    let actor = state.children[child].status.name().to_owned();
                    let reason = reason.clone().unwrap_or_else(|| KEPT_ENDING.into());
                    self.escalation.send_if_modified(|first| {
                        let is_first = first.is_none();
                        first.get_or_insert(Escalation { actor, reason });
                        is_first
                    });
                }
            }
        }
        if state.plan.is_over() {
            self.is_over.send_replace(true);
        }
    }

    fn retire(&self, state: &State, child: usize, why: Retired, reason: Option<String>) {
        let status = &state.children[child].status;
        let actor = status.name();
        match why {
            Retired::Stopped => {
                status.stopping();
                status.down(None);
            }
            Retired::Done => {
                tracing::info!(actor, "actor ended and stays so");
                status.stopping();
                status.down(reason);
            }
            Retired::GaveUp => {
                let reason = reason.unwrap_or_else(|| KEPT_ENDING.into());
                tracing::error!(actor, reason, "supervision gives up");
                status.down(Some(reason));
            }
        }
        state.tell(child, Command::Retire);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For an actor that gave no reason.
const KEPT_ENDING: &str = "it kept ending";

impl State {
    fn tell(&self, child: usize, command: Command) {
        let Child { status, commands } = &self.children[child];
        // A task that is gone has nobody to command; it never lags so far behind.
        if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(command) {
            tracing::error!(actor = status.name(), ?command, "a command to an actor's supervisor was lost");
        }
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "supervisor_strategy_tests.rs"]
mod strategy_tests;
