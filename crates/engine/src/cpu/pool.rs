//! Threads that share the work of one step.
//!
//! Work comes in regions of numbered units. The caller opens a region, takes part in it, and returns when all units
//! are done. A worker that is asleep, or that the system does not run just then, is not waited for: units are taken
//! one at a time, and only who has joined a region has to leave it. Workers look for a new region for a few dozen
//! microseconds after the last one, then park.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// How many times a worker looks for a new region before it parks: 30 to 100 µs, longer than the gap between two
/// regions of a step and shorter than a user's patience for a busy core.
const LOOKS_BEFORE_PARKING: u32 = 2_000;
/// How many times the caller looks whether the last worker has left before it parks too. It only comes to that when
/// the system has given that worker's core to somebody else.
const LOOKS_BEFORE_WAITING: u32 = 5_000;

/// Set in [`Shared::state`] while workers may join.
const OPEN: u64 = 1 << 31;
/// Set in [`Shared::state`] when the caller sleeps until the last worker leaves.
const WAITING: u64 = 1 << 30;
/// The workers that are in the region.
const JOINED: u64 = WAITING - 1;
/// One region later.
const NEXT_REGION: u64 = 1 << 32;

/// A unit panicked; the text of the first panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkerPanic(pub(super) String);

/// The threads. Dropping it ends and joins them.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// `region number << 32 | OPEN | WAITING | workers that joined`
    state: AtomicU64,
    /// The region of that number; valid while it is open or someone is in it.
    region: AtomicPtr<Region<'static>>,
    stop: AtomicBool,
    parked: Vec<AtomicBool>,
    /// Who to wake when `WAITING` is set.
    caller: Mutex<Option<Thread>>,
}

/// One piece of work, on the caller's stack.
struct Region<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    n_units: usize,
    next: AtomicUsize,
    panic: AtomicPtr<String>,
}

impl Pool {
    /// A pool in which `threads` threads work, the caller among them. When the system gives fewer, it works with
    /// those.
    pub(super) fn new(threads: usize) -> Self {
        let n_workers = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            region: AtomicPtr::new(ptr::null_mut()),
            stop: AtomicBool::new(false),
            parked: (0..n_workers).map(|_| AtomicBool::new(false)).collect(),
            caller: Mutex::new(None),
        });
        let mut workers = Vec::with_capacity(n_workers);
        for index in 0..n_workers {
            let shared = Arc::clone(&shared);
            let name = format!("boca-cpu-{}", index + 1);
            match thread::Builder::new().name(name).spawn(move || shared.work(index)) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    tracing::warn!(wanted = threads, got = index + 1, %error, "cannot start all compute threads");
                    break;
                }
            }
        }
        Self { shared, workers }
    }

    /// Threads that work, the caller among them.
    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task` for every unit below `n_units`, on all threads.
    ///
    /// # Errors
    /// [`WorkerPanic`] when a unit panicked; the units after it may not have run.
    pub(super) fn run(&mut self, n_units: usize, task: &(dyn Fn(usize) + Sync)) -> Result<(), WorkerPanic> {
        let region =
            Region { task, n_units, next: AtomicUsize::new(0), panic: AtomicPtr::new(ptr::null_mut()) };
        if n_units > 1 && !self.workers.is_empty() {
            let guard = self.open(&region);
            region.take_units();
            drop(guard);
        } else {
            region.take_units();
        }
        region.outcome()
    }

    fn open(&self, region: &Region<'_>) -> OpenRegion<'_> {
        let shared = &*self.shared;
        shared.region.store(ptr::from_ref(region).cast_mut().cast(), Ordering::Relaxed);
        let closed = shared.state.load(Ordering::Relaxed);
        debug_assert_eq!(closed & (OPEN | JOINED), 0, "regions do not nest");
        let number = (closed / NEXT_REGION + 1) % NEXT_REGION;
        shared.state.store((number * NEXT_REGION) | OPEN, Ordering::Release);
        // Pairs with the fence in `park`: either the worker sees the region, or we see that it parks.
        fence(Ordering::SeqCst);
        for (parked, worker) in shared.parked.iter().zip(&self.workers) {
            if parked.load(Ordering::Relaxed) && parked.swap(false, Ordering::Relaxed) {
                worker.thread().unpark();
            }
        }
        OpenRegion { shared }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.workers.iter().map(JoinHandle::thread).for_each(Thread::unpark);
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a compute thread died of a panic outside its work");
            }
        }
    }
}

/// Closes the region and waits until everyone has left it, even if the caller's own unit panicked.
struct OpenRegion<'a> {
    shared: &'a Shared,
}

impl Drop for OpenRegion<'_> {
    fn drop(&mut self) {
        self.shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        for _ in 0..LOOKS_BEFORE_WAITING {
            if self.shared.is_empty() {
                return;
            }
            std::hint::spin_loop();
        }
        *self.shared.caller() = Some(thread::current());
        self.shared.state.fetch_or(WAITING, Ordering::AcqRel);
        while !self.shared.is_empty() {
            thread::park();
        }
    }
}

impl Shared {
    fn work(&self, index: usize) {
        let mut last_region = 0;
        let mut looks = 0;
        while !self.stop.load(Ordering::Acquire) {
            if self.join(&mut last_region) {
                // SAFETY: the region lives on the stack of a caller that cannot return from `run` before `JOINED` is
                // zero again, and this thread is counted there until `leave`.
                let region = unsafe { &*self.region.load(Ordering::Relaxed) };
                region.take_units();
                self.leave();
                looks = 0;
            } else if looks < LOOKS_BEFORE_PARKING {
                looks += 1;
                std::hint::spin_loop();
            } else {
                self.park(index, last_region);
                looks = 0;
            }
        }
    }

    /// Enters the current region if it is open and new to this worker.
    fn join(&self, last_region: &mut u64) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        if !is_new(state, *last_region) {
            return false;
        }
        // The number is part of what is compared, so a region that closed meanwhile cannot be joined by mistake.
        if self.state.compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        *last_region = state / NEXT_REGION;
        true
    }

    fn leave(&self) {
        let before = self.state.fetch_sub(1, Ordering::AcqRel);
        if before & WAITING != 0
            && before & JOINED == 1
            && let Some(caller) = &*self.caller()
        {
            caller.unpark();
        }
    }

    /// Whether all workers have left.
    fn is_empty(&self) -> bool {
        self.state.load(Ordering::Acquire) & JOINED == 0
    }

    fn caller(&self) -> MutexGuard<'_, Option<Thread>> {
        // Nothing that holds the lock can panic half-way.
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn park(&self, index: usize, last_region: u64) {
        self.parked[index].store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !is_new(self.state.load(Ordering::Relaxed), last_region) && !self.stop.load(Ordering::Acquire) {
            thread::park();
        }
        self.parked[index].store(false, Ordering::Relaxed);
    }
}

fn is_new(state: u64, last_region: u64) -> bool {
    state & OPEN != 0 && state / NEXT_REGION != last_region
}

impl Region<'_> {
    fn take_units(&self) {
        let units = || {
            loop {
                let unit = self.next.fetch_add(1, Ordering::Relaxed);
                if unit >= self.n_units {
                    break;
                }
                (self.task)(unit);
            }
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(units)) {
            // Nobody needs the rest.
            self.next.store(self.n_units, Ordering::Relaxed);
            let text = Box::into_raw(Box::new(panic_text(payload.as_ref())));
            let first =
                self.panic.compare_exchange(ptr::null_mut(), text, Ordering::AcqRel, Ordering::Relaxed);
            if first.is_err() {
                // SAFETY: made by `into_raw` above and stored nowhere.
                drop(unsafe { Box::from_raw(text) });
            }
        }
    }

    fn outcome(self) -> Result<(), WorkerPanic> {
        let text = self.panic.into_inner();
        if text.is_null() {
            return Ok(());
        }
        // SAFETY: made by `into_raw` in `take_units`; everyone has left the region, so nobody else has it.
        Err(WorkerPanic(*unsafe { Box::from_raw(text) }))
    }
}

/// What a panic said.
pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_runs_once_in_many_regions() {
        let mut pool = Pool::new(4);
        assert_eq!(pool.threads(), 4);
        for round in 0..3_000 {
            let n_units = round % 37;
            let counts: Vec<AtomicUsize> = (0..n_units).map(|_| AtomicUsize::new(0)).collect();
            pool.run(n_units, &|unit| {
                counts[unit].fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "round {round}");
        }
    }

    #[test]
    fn parked_workers_wake_up_again() {
        let mut pool = Pool::new(3);
        for _ in 0..20 {
            let all_parked = || pool.shared.parked.iter().all(|parked| parked.load(Ordering::SeqCst));
            while !all_parked() {
                thread::yield_now();
            }
            // Two units that wait for each other need two threads: the caller and one that woke up.
            let arrived = AtomicUsize::new(0);
            pool.run(2, &|_| {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 2 {
                    thread::yield_now();
                }
            })
            .unwrap();
        }
    }

    #[test]
    fn a_panic_is_an_error_and_the_pool_goes_on() {
        let mut pool = Pool::new(4);
        for _ in 0..50 {
            let outcome = pool.run(100, &|unit| assert!(unit != 57, "unit {unit} broke"));
            assert_eq!(outcome, Err(WorkerPanic("unit 57 broke".into())));
            pool.run(100, &|_| ()).unwrap();
        }
    }

    #[test]
    fn one_thread_needs_no_workers() {
        let mut pool = Pool::new(1);
        let sum = AtomicUsize::new(0);
        pool.run(10, &|unit| {
            sum.fetch_add(unit, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!((pool.threads(), sum.into_inner()), (1, 45));
    }
}
