//! A scripted actor that fails in every way there is, under virtual time where the way allows it.

use super::*;
use crate::handle::{ActorRequest, Call};
use crate::restart_policy::{Backoff, Restart};
use actix::{AsyncContext, WrapFuture};
use boca_core::{ActorState, ErrorCode, Failure};
use futures_util::FutureExt;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the actor is told to do.
pub(super) enum Poke {
    Echo(u32),
    Panic,
    Fail,
    StopQuietly,
    /// Handle no further message, ever.
    Hang,
    /// Keep the call unanswered.
    Keep,
    /// Be busy for so long before the next message.
    Work(Duration),
}

impl ActorRequest for Poke {
    type Reply = u32;
}

/// What goes wrong when the next incarnations start.
#[derive(Default)]
pub(super) struct Births {
    pub(super) born: AtomicU32,
    pub(super) panics_in_factory: AtomicU32,
    pub(super) panics_in_started: AtomicU32,
    /// How long no message is handled after a start.
    pub(super) slow_start: Duration,
    pub(super) ignores_stop: bool,
    pub(super) name: &'static str,
    pub(super) stopped: Mutex<Vec<&'static str>>,
}

fn take_one(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

pub(super) struct Fragile {
    births: Arc<Births>,
    order: Arc<Births>,
    kept: Vec<Call<Poke>>,
    exit: ExitGuard,
}

impl Actor for Fragile {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if !self.births.slow_start.is_zero() {
            ctx.wait(tokio::time::sleep(self.births.slow_start).into_actor(self));
        }
        if take_one(&self.births.panics_in_started) {
            panic!("cannot start");
        }
    }
}

impl Handler<Control> for Fragile {
    type Result = ();

    fn handle(&mut self, control: Control, ctx: &mut Self::Context) {
        if matches!(control, Control::Stop) {
            if self.births.ignores_stop {
                return;
            }
            self.order.stopped.lock().unwrap().push(self.births.name);
        }
        control.obey(ctx);
    }
}

impl Handler<Call<Poke>> for Fragile {
    type Result = ();

    fn handle(&mut self, call: Call<Poke>, ctx: &mut Self::Context) {
        match &call.request {
            Poke::Echo(n) => {
                let n = *n;
                call.reply(|_| n);
            }
            Poke::Panic => panic!("poked"),
            Poke::Fail => {
                self.exit.fail("disk gone");
                ctx.stop();
            }
            Poke::StopQuietly => ctx.stop(),
            Poke::Hang => {
                self.kept.push(call);
                ctx.wait(std::future::pending::<()>().into_actor(self));
            }
            Poke::Keep => self.kept.push(call),
            Poke::Work(time) => {
                ctx.wait(tokio::time::sleep(*time).into_actor(self));
                call.reply(|_| 0);
            }
        }
    }
}

pub(super) fn supervision() -> Supervision {
    let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1), jitter: 0.5 };
    Supervision {
        actors: RestartPolicy {
            restart: Restart::Permanent,
            max_restarts: 3,
            within: Duration::from_secs(60),
            backoff,
            stable_after: Duration::from_secs(30),
        },
        ..Supervision::default()
    }
}

pub(super) fn spec(births: &Arc<Births>, order: &Arc<Births>, placement: Placement) -> ChildSpec<Fragile> {
    let (births, order) = (Arc::clone(births), Arc::clone(order));
    ChildSpec {
        name: births.name.into(),
        policy: supervision().actors,
        supervision: supervision(),
        mailbox_capacity: 4,
        placement,
        is_essential: true,
        needs: &[],
        factory: Arc::new(move |exit| {
            births.born.fetch_add(1, Ordering::SeqCst);
            if take_one(&births.panics_in_factory) {
                panic!("cannot be made");
            }
            Fragile { births: Arc::clone(&births), order: Arc::clone(&order), kept: Vec::new(), exit }
        }),
    }
}

pub(super) fn births(name: &'static str) -> Arc<Births> {
    Arc::new(Births { name, ..Births::default() })
}

pub(super) fn soon() -> std::time::Instant {
    (Instant::now() + Duration::from_secs(5)).into_std()
}

pub(super) async fn poke(handle: &ActorHandle<Fragile>, poke: Poke) -> Result<u32, Failure> {
    handle.call(poke, soon()).await
}

/// Asks until the actor answers, with patience for its restarts.
pub(super) async fn echo_in_the_end(handle: &ActorHandle<Fragile>) -> u32 {
    for nth in 0..10_000 {
        match poke(handle, Poke::Echo(nth)).await {
            Ok(n) => {
                assert_eq!(n, nth);
                return nth;
            }
            Err(failure) => assert_eq!(failure.code, ErrorCode::Restarting, "{failure}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the actor did not come back");
}

pub(super) fn in_virtual_time(test: impl Future<Output = ()>) {
    actix::System::new().block_on(async {
        tokio::time::pause();
        test.await;
    });
}

#[test]
fn a_panic_in_a_handler_is_mended_by_a_new_actor() {
    in_virtual_time(async {
        let (births, supervisor) = (births("fragile"), Supervisor::new(Strategy::OneForOne));
        let handle = supervisor.start(spec(&births, &births, Placement::Shared));
        assert_eq!(poke(&handle, Poke::Echo(7)).await, Ok(7));
        let failure = poke(&handle, Poke::Panic).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Restarting);
        assert!(failure.retry_after.is_some());
        echo_in_the_end(&handle).await;
        let report = supervisor.reports().remove("fragile").unwrap();
        assert_eq!((report.restarts, births.born.load(Ordering::SeqCst)), (1, 2));
        let error = report.last_error.unwrap();
        assert!(error.starts_with("panicked: poked (") && error.contains("supervisor_tests.rs"), "{error}");
        assert_eq!(report.mailbox_depth, 0, "the lost call has left the mailbox");
    });
}

#[test]
fn an_error_and_a_quiet_end_are_mended_too() {
    in_virtual_time(async {
        let (births, supervisor) = (births("fragile"), Supervisor::new(Strategy::OneForOne));
        let handle = supervisor.start(spec(&births, &births, Placement::Shared));
        assert!(poke(&handle, Poke::Fail).await.is_err());
        echo_in_the_end(&handle).await;
        assert_eq!(supervisor.reports()["fragile"].last_error.as_deref(), Some("disk gone"));
        assert!(poke(&handle, Poke::StopQuietly).await.is_err());
        echo_in_the_end(&handle).await;
        assert_eq!(supervisor.reports()["fragile"].restarts, 2);
    });
}

#[test]
fn a_transient_actor_that_ends_quietly_stays_ended() {
    in_virtual_time(async {
        let (births, supervisor) = (births("fragile"), Supervisor::new(Strategy::OneForOne));
        let mut spec = spec(&births, &births, Placement::Shared);
        spec.policy.restart = Restart::Transient;
        let handle = supervisor.start(spec);
        assert!(poke(&handle, Poke::StopQuietly).await.is_err());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(supervisor.reports()["fragile"].state, ActorState::Down);
        assert_eq!(poke(&handle, Poke::Echo(1)).await.unwrap_err().code, ErrorCode::ShuttingDown);
        assert_eq!(births.born.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn panics_at_birth_are_mended() {
    in_virtual_time(async {
        let births = Arc::new(Births {
            name: "fragile",
            panics_in_factory: 1.into(),
            panics_in_started: 2.into(),
            ..Births::default()
        });
        let supervisor = Supervisor::new(Strategy::OneForOne);
        let handle = supervisor.start(spec(&births, &births, Placement::Shared));
        echo_in_the_end(&handle).await;
        assert_eq!(births.born.load(Ordering::SeqCst), 4);
        let report = supervisor.reports().remove("fragile").unwrap();
        assert!(report.last_error.unwrap().starts_with("panicked: cannot start ("));
        // Ready is what the first heartbeat says.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(supervisor.reports()["fragile"].state, ActorState::Ready);
    });
}

#[test]
fn repeated_panics_escalate_and_spare_the_sibling() {
    in_virtual_time(async {
        let (births, sibling) = (births("fragile"), births("sibling"));
        let supervisor = Supervisor::new(Strategy::OneForOne);
        let handle = supervisor.start(spec(&births, &births, Placement::Shared));
        let other = supervisor.start(spec(&sibling, &sibling, Placement::Shared));
        let escalated = supervisor.escalated();
        tokio::pin!(escalated);
        for nth in 0..4 {
            echo_in_the_end(&handle).await;
            assert!(escalated.as_mut().now_or_never().is_none(), "too early: {nth}");
            assert!(poke(&handle, Poke::Panic).await.is_err());
        }
        let escalation = escalated.await;
        assert_eq!(escalation.actor, "fragile");
        assert!(escalation.reason.starts_with("panicked: poked"), "{escalation}");
        assert_eq!(births.born.load(Ordering::SeqCst), 4);
        let failure = poke(&handle, Poke::Echo(1)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::ShuttingDown);
        assert_eq!(supervisor.reports()["fragile"].state, ActorState::Down);
        assert_eq!(poke(&other, Poke::Echo(2)).await, Ok(2));
        assert_eq!(supervisor.reports()["sibling"].restarts, 0);
        // Those who ask late learn it as well.
        assert_eq!(supervisor.escalated().await, escalation);
    });
}

#[test]
fn a_stuck_actor_is_replaced() {
    in_virtual_time(async {
        let (births, supervisor) = (births("fragile"), Supervisor::new(Strategy::OneForOne));
        let handle = supervisor.start(spec(&births, &births, Placement::Shared));
        let failure = poke(&handle, Poke::Hang).await;
        // The caller has its own deadline, long before anyone calls the actor stuck.
        assert_eq!(failure.unwrap_err().code, ErrorCode::DeadlineExceeded);
        let patience = supervision().heartbeat_every + supervision().heartbeat_patience;
        tokio::time::sleep(patience + Duration::from_secs(1)).await;
        echo_in_the_end(&handle).await;
        let report = supervisor.reports().remove("fragile").unwrap();
        assert_eq!(report.last_error.as_deref(), Some("did not answer its heartbeat"));
        assert_eq!(report.restarts, 1);
    });
}

#[test]
fn a_slow_actor_with_a_long_mailbox_is_not_taken_for_a_stuck_one() {
    in_virtual_time(async {
        let (births, supervisor) = (births("fragile"), Supervisor::new(Strategy::OneForOne));
        let handle = supervisor.start(spec(&births, &births, Placement::Shared));
        assert_eq!(poke(&handle, Poke::Echo(1)).await, Ok(1));
        // All of it takes far longer than a heartbeat may, and each call less.
        let work = supervision().heartbeat_patience / 2;
        let deadline = (Instant::now() + work * 10).into_std();
        let calls: Vec<_> = (0..4).map(|_| handle.post(Poke::Work(work), deadline).unwrap()).collect();
        for call in calls {
            assert_eq!(call.await, Ok(0));
        }
        tokio::time::sleep(work * 2).await;
        assert_eq!(supervisor.reports()["fragile"].restarts, 0);
    });
}

/// To the actor: something that counts.
struct Once;

impl ActorRequest for Once {
    const IS_REPEATABLE: bool = false;

    type Reply = ();
}

impl Handler<Call<Once>> for Fragile {
    type Result = ();

    fn handle(&mut self, _: Call<Once>, _: &mut Self::Context) {
        panic!("done, but not said");
    }
}

#[test]
fn a_lost_call_tells_whether_it_may_be_repeated() {
    use boca_core::Retry;
    in_virtual_time(async {
        let (births, supervisor) = (births("fragile"), Supervisor::new(Strategy::OneForOne));
        let handle = supervisor.start(spec(&births, &births, Placement::Shared));
        let lost = poke(&handle, Poke::Panic).await.unwrap_err();
        assert_eq!(lost.code.retry(), Retry::Safe, "{lost}");
        echo_in_the_end(&handle).await;
        let lost = handle.call(Once, soon()).await.unwrap_err();
        assert_eq!(lost.code.retry(), Retry::Unsafe, "{lost}");
        // One that was not even sent has done nothing.
        let refused = handle.call(Once, soon()).await.unwrap_err();
        assert_eq!(refused.code.retry(), Retry::Safe, "{refused}");
    });
}

#[test]
fn a_full_mailbox_refuses_at_once_and_empties() {
    in_virtual_time(async {
        let (births, supervisor) = (births("fragile"), Supervisor::new(Strategy::OneForOne));
        let handle = supervisor.start(spec(&births, &births, Placement::Shared));
        let waiting: Vec<_> = (0..4).map(|_| handle.post(Poke::Keep, soon()).unwrap()).collect();
        let failure = poke(&handle, Poke::Echo(1)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Overloaded);
        assert_eq!(failure.message, "the fragile actor's mailbox is full (4 calls)");
        assert!(failure.retry_after.is_some());
        assert_eq!(supervisor.reports()["fragile"].mailbox_depth, 4);
        drop(waiting);
        // Its places are free again when the actor is gone.
        supervisor.stop_all().await;
        assert_eq!(supervisor.reports()["fragile"].mailbox_depth, 0);
    });
}

#[test]
fn children_stop_in_reverse_and_a_deaf_one_is_abandoned() {
    in_virtual_time(async {
        let supervisor = Supervisor::new(Strategy::OneForOne);
        let order = births("first");
        let deaf = Arc::new(Births { name: "deaf", ignores_stop: true, ..Births::default() });
        let handles = [
            supervisor.start(spec(&order, &order, Placement::Shared)),
            supervisor.start(spec(&deaf, &order, Placement::Shared)),
            supervisor.start(spec(&births("third"), &order, Placement::Shared)),
        ];
        let began = Instant::now();
        supervisor.stop_all().await;
        let (took, limit) = (began.elapsed(), supervision().shutdown_timeout);
        assert!(took >= limit && took < limit * 2, "{took:?}");
        assert_eq!(*order.stopped.lock().unwrap(), ["third", "first"]);
        for handle in &handles {
            let failure = poke(handle, Poke::Echo(1)).await.unwrap_err();
            assert_eq!(failure.code, ErrorCode::ShuttingDown);
        }
        let reports = supervisor.reports();
        assert_eq!(reports.keys().collect::<Vec<_>>(), ["deaf", "first", "third"]);
        assert!(reports.values().all(|report| report.state == ActorState::Down));
    });
}

#[test]
fn a_stop_ends_the_pause_before_a_restart() {
    in_virtual_time(async {
        let (births, supervisor) = (births("fragile"), Supervisor::new(Strategy::OneForOne));
        let handle = supervisor.start(spec(&births, &births, Placement::Shared));
        assert!(poke(&handle, Poke::Panic).await.is_err());
        tokio::task::yield_now().await;
        supervisor.stop_all().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(births.born.load(Ordering::SeqCst), 1);
        assert_eq!(poke(&handle, Poke::Echo(1)).await.unwrap_err().code, ErrorCode::ShuttingDown);
    });
}

/// Real threads: one child panics again and again while many callers use it and its sibling.
#[test]
fn callers_race_with_restarts_and_nobody_hangs() {
    for _ in 0..50 {
        actix::System::new().block_on(async {
            let (births, sibling) = (births("fragile"), births("sibling"));
            let supervisor = Supervisor::new(Strategy::OneForOne);
            let mut quick = spec(&births, &births, Placement::OwnThread);
            quick.policy.backoff.first = Duration::from_millis(1);
            let handle = supervisor.start(quick);
            let other = supervisor.start(spec(&sibling, &sibling, Placement::OwnThread));
            let bully = async {
                for _ in 0..3 {
                    echo_in_the_end(&handle).await;
                    poke(&handle, Poke::Panic).await.unwrap_err();
                }
            };
            let callers = futures_util::future::join_all((0..3).map(|_| async {
                for _ in 0..10 {
                    match poke(&handle, Poke::Echo(5)).await {
                        Ok(n) => assert_eq!(n, 5),
                        Err(failure) => {
                            assert!(matches!(failure.code, ErrorCode::Restarting), "{failure}");
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }));
            let neighbours = async {
                for n in 0..20 {
                    assert_eq!(poke(&other, Poke::Echo(n)).await, Ok(n));
                }
            };
            tokio::join!(bully, callers, neighbours);
            echo_in_the_end(&handle).await;
            assert_eq!(births.born.load(Ordering::SeqCst), 4);
            assert_eq!(sibling.born.load(Ordering::SeqCst), 1);
            supervisor.stop_all().await;
        });
    }
}
