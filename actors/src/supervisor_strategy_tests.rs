//! Four children, of which the second needs the first and the third the second, under every strategy: every way to
//! fail under virtual time, every race with real threads.

use super::tests::{Births, Fragile, Poke, echo_in_the_end, in_virtual_time, poke, soon, spec};
use super::*;
use boca_core::{ActorState, ErrorCode, Retry};
use std::sync::atomic::Ordering;

const STRATEGIES: [Strategy; 2] = [Strategy::OneForOne, Strategy::RestForOne];
const NAMES: [&str; 4] = ["base", "middle", "top", "apart"];
const NEEDS: [&[&str]; 4] = [&[], &["base"], &["middle"], &[]];
const ROUNDS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);

struct Family {
    supervisor: Supervisor,
    births: Vec<Arc<Births>>,
    handles: Vec<ActorHandle<Fragile>>,
    strategy: Strategy,
    placement: Placement,
}

impl Family {
    fn start(strategy: Strategy, placement: Placement, born: impl Fn(&'static str) -> Births) -> Self {
        let supervisor = Supervisor::new(strategy);
        let births: Vec<_> = NAMES.iter().map(|name| Arc::new(born(name))).collect();
        let start = |(of, needs): (&Arc<Births>, &'static [&'static str])| {
            let mut spec = spec(of, &births[0], placement);
            spec.needs = needs;
            spec.policy.backoff.first = Duration::from_millis(1);
            supervisor.start(spec)
        };
        let handles = births.iter().zip(NEEDS).map(start).collect();
        Self { supervisor, births, handles, strategy, placement }
    }

    fn plain(strategy: Strategy, placement: Placement) -> Self {
        Self::start(strategy, placement, |name| Births { name, ..Births::default() })
    }

    fn states(&self) -> Vec<ActorState> {
        self.supervisor.report().children.into_iter().map(|(_, report)| report.state).collect()
    }

    fn born(&self) -> Vec<u32> {
        self.births.iter().map(|births| births.born.load(Ordering::SeqCst)).collect()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", self.supervisor.report());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn until_ready(&self) {
        self.until("all ready", |family| family.states() == [ActorState::Ready; 4]).await;
    }

    /// Everyone answers, and nothing is left of what was before.
    async fn is_well(&self) {
        self.until_ready().await;
        for handle in &self.handles {
            echo_in_the_end(handle).await;
        }
        // A stuck one that shares our thread cannot be ended, and keeps what it has.
        if self.placement == Placement::OwnThread {
            self.until("empty mailboxes", |family| {
                family.supervisor.reports().values().all(|report| report.mailbox_depth == 0)
            })
            .await;
        }
    }

    async fn is_stopped(&self) {
        tokio::time::timeout(PATIENCE, self.supervisor.stop_all()).await.expect("stopping ends");
        assert_eq!(self.states(), [ActorState::Down; 4]);
        let born = self.born();
        for handle in &self.handles {
            let refused = poke(handle, Poke::Echo(1)).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::ShuttingDown);
        }
        tokio::task::yield_now().await;
        assert_eq!(self.born(), born, "nobody is started after the end");
    }
}

#[test]
fn every_way_to_fail_is_mended_for_those_whom_the_strategy_names() {
    for strategy in STRATEGIES {
        for fail in [|| Poke::Panic, || Poke::Fail, || Poke::StopQuietly, || Poke::Hang] {
            in_virtual_time(async {
                let family = Family::plain(strategy, Placement::Shared);
                family.until_ready().await;
                poke(&family.handles[0], fail()).await.unwrap_err();
                family.until("a restart", |family| family.born()[0] == 2).await;
                family.is_well().await;
                let (born, stopped) = match family.strategy {
                    Strategy::OneForOne => ([2, 1, 1, 1], &[][..]),
                    Strategy::RestForOne => ([2, 2, 2, 1], &["top", "middle"][..]),
                };
                assert_eq!(family.born(), born);
                assert_eq!(*family.births[0].stopped.lock().unwrap(), stopped);
                let reports = family.supervisor.reports();
                let restarts = NAMES.map(|name| reports[name].restarts as u32 + 1);
                assert_eq!(restarts, born);
                if strategy == Strategy::RestForOne {
                    let why = reports["top"].last_error.as_deref();
                    assert_eq!(why, Some("the base actor, which it needs, ended"));
                }
                family.is_stopped().await;
            });
        }
    }
}

#[test]
fn a_slow_start_holds_up_those_who_need_it_and_calls_wait_for_them() {
    for strategy in STRATEGIES {
        in_virtual_time(async {
            let slow = Duration::from_secs(3);
            let family = Family::start(strategy, Placement::Shared, |name| Births {
                name,
                slow_start: if name == "base" { slow } else { Duration::ZERO },
                ..Births::default()
            });
            let begun = Instant::now();
            family.until("the others", |family| family.states()[3] == ActorState::Ready).await;
            assert_eq!(family.born(), [1, 0, 0, 1]);
            assert_eq!(poke(&family.handles[2], Poke::Echo(7)).await, Ok(7), "it waits for its actor");
            assert!(begun.elapsed() >= slow);
            let impatient = (Instant::now() + Duration::from_millis(1)).into_std();
            assert_eq!(family.handles[2].call(Poke::Echo(1), impatient).await, Ok(1), "there it is");
            family.is_well().await;
            assert_eq!(family.born(), [1, 1, 1, 1]);
            family.is_stopped().await;
            assert_eq!(*family.births[0].stopped.lock().unwrap(), ["apart", "top", "middle", "base"]);
        });
    }
}

#[test]
fn who_waits_in_vain_for_an_actor_is_told_that_it_is_being_started() {
    in_virtual_time(async {
        let family = Family::start(Strategy::OneForOne, Placement::Shared, |name| Births {
            name,
            slow_start: Duration::from_secs(20),
            ..Births::default()
        });
        let failure = poke(&family.handles[1], Poke::Echo(1)).await.unwrap_err();
        assert_eq!((failure.code, failure.code.retry()), (ErrorCode::Restarting, Retry::Safe));
        assert_eq!(failure.message, "the middle actor is being started");
        family.is_stopped().await;
    });
}

#[test]
fn who_needs_one_that_gave_up_waits_under_rest_for_one_only() {
    for strategy in STRATEGIES {
        in_virtual_time(async {
            let family = Family::plain(strategy, Placement::Shared);
            family.until_ready().await;
            for _ in 0..4 {
                echo_in_the_end(&family.handles[0]).await;
                poke(&family.handles[0], Poke::Panic).await.unwrap_err();
            }
            let escalation = family.supervisor.escalated().await;
            assert_eq!(escalation.actor, "base");
            tokio::time::sleep(Duration::from_secs(60)).await;
            let rest = match strategy {
                Strategy::OneForOne => ActorState::Ready,
                Strategy::RestForOne => ActorState::Restarting,
            };
            assert_eq!(family.states(), [ActorState::Down, rest, rest, ActorState::Ready]);
            family.is_stopped().await;
        });
    }
}

/// Rounds with threads of their own, in which what is called at the same time comes in any order.
fn race<F: Future<Output = ()>>(
    born: impl Fn(&'static str) -> Births,
    round: impl Fn(Arc<Family>, u64) -> F,
) {
    for strategy in STRATEGIES {
        for nth in 0..ROUNDS {
            actix::System::new().block_on(async {
                let family = Arc::new(Family::start(strategy, Placement::OwnThread, &born));
                // Different in each round, and the same in each run.
                round(Arc::clone(&family), nth as u64 * 37 % 1500).await;
                family.is_stopped().await;
            });
        }
    }
}

fn plain(name: &'static str) -> Births {
    Births { name, ..Births::default() }
}

async fn pause(microseconds: u64) {
    tokio::time::sleep(Duration::from_micros(microseconds)).await;
}

#[test]
fn race_of_a_stop_with_a_restart() {
    race(plain, |family, after| async move {
        family.until_ready().await;
        poke(&family.handles[0], Poke::Panic).await.unwrap_err();
        pause(after).await;
    });
}

#[test]
fn race_of_two_failures() {
    race(plain, |family, nth| async move {
        family.until_ready().await;
        let other = 1 + nth as usize % 3;
        let (first, second) =
            tokio::join!(poke(&family.handles[0], Poke::Panic), poke(&family.handles[other], Poke::Fail));
        assert!(first.is_err() && second.is_err());
        family.is_well().await;
    });
}

#[test]
fn race_of_a_failure_with_the_ordered_start() {
    race(
        |name| Births { panics_in_started: u32::from(name != "apart").into(), ..plain(name) },
        |family, _| async move {
            family.is_well().await;
            assert!(family.born().iter().zip([2, 2, 2, 1]).all(|(born, least)| *born >= least));
        },
    );
}

#[test]
fn race_of_calls_with_a_restart() {
    race(plain, |family, _| async move {
        family.until_ready().await;
        let calls = family.handles.iter().flat_map(|handle| {
            // Beside the one that fails there is room for these.
            (0..3).map(move |n| async move {
                pause(n * 100).await;
                match poke(handle, Poke::Echo(n as u32)).await {
                    Ok(echo) => assert_eq!(echo, n as u32),
                    Err(failure) => {
                        assert_eq!(failure.code, ErrorCode::Restarting, "{failure}");
                        assert_eq!(failure.code.retry(), Retry::Safe);
                    }
                }
            })
        });
        let (failed, _) =
            tokio::join!(poke(&family.handles[0], Poke::Panic), futures_util::future::join_all(calls));
        failed.unwrap_err();
        family.is_well().await;
    });
}

#[test]
fn race_of_a_stop_with_a_slow_start() {
    race(
        |name| Births {
            slow_start: Duration::from_micros(if name == "base" { 700 } else { 0 }),
            ..plain(name)
        },
        |family, after| async move {
            let waiting = family.handles[2].clone();
            let call = actix::spawn(async move { waiting.call(Poke::Echo(3), soon()).await });
            pause(after).await;
            family.supervisor.stop_all().await;
            // It was answered before the end, or learned of the end; it did not hang.
            if let Err(failure) = call.await.unwrap() {
                assert_eq!(failure.code, ErrorCode::ShuttingDown, "{failure}");
            }
        },
    );
}

#[test]
fn race_of_a_stop_with_the_rest_being_stopped() {
    race(plain, |family, after| async move {
        family.until_ready().await;
        let failing = poke(&family.handles[0], Poke::StopQuietly);
        let (failed, ()) = tokio::join!(failing, async {
            pause(after).await;
            family.supervisor.stop_all().await;
        });
        failed.unwrap_err();
    });
}
