//! Whether the weights should be in memory: the rules of `keep_alive`, of memory that runs short, and of people who
//! load and unload by hand.
//!
//! Pure: the clock, the queue's length and the memory's level are arguments. [`crate::model`] does what it says.

use crate::memory_level::MemoryLevel;
use std::time::Duration;

/// Why there are no weights in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unloaded {
    /// Nobody asked for `keep_alive`. The next request loads them.
    Idle,
    /// Memory ran short. They come back when it is there again.
    Memory,
    /// Somebody wanted it so. They come back when somebody wants that.
    ByHand,
}

impl Unloaded {
    /// For people.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Idle => "the model is unloaded, because nobody used it; the next request loads it",
            Self::Memory => "the model is unloaded, because memory is short; it comes back when that is over",
            Self::ByHand => "the model was unloaded by hand; `boca model load` loads it",
        }
    }
}

/// What to do about the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Residence {
    /// Nothing.
    Stay,
    /// Stop the engine, which has nothing to do.
    Unload(Unloaded),
    /// Start it.
    Load,
}

/// Whether requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Yes.
    Open,
    /// Not now: memory is short.
    Short,
    /// Not until the weights are back.
    Away(Unloaded),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Loaded,
    /// As soon as nothing runs any more.
    Unloading(Unloaded),
    Away(Unloaded),
}

/// What happened since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// From any fixed origin.
    pub(crate) now: Duration,
    /// Requests that run or wait.
    pub(crate) n_requests: usize,
    /// Whether an engine is there and loaded.
    pub(crate) is_loaded: bool,
    /// How short memory is.
    pub(crate) level: MemoryLevel,
}

/// The state of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Residency {
    keep_alive: Option<Duration>,
    phase: Phase,
    last_used: Duration,
    level: MemoryLevel,
}

impl Residency {
    pub(crate) fn new(keep_alive: Option<Duration>) -> Self {
        Self { keep_alive, phase: Phase::Loaded, last_used: Duration::ZERO, level: MemoryLevel::Normal }
    }

    /// Looks at the state of things. A look is no use of the model.
    pub(crate) fn look(&mut self, look: Look) -> Residence {
        self.level = look.level;
        // The time before the weights were there is no idle time.
        if look.n_requests > 0 || (self.phase == Phase::Loaded && !look.is_loaded) {
            self.last_used = look.now;
        }
        let idle_for = look.now.saturating_sub(self.last_used);
        match self.phase {
            Phase::Loaded if !look.is_loaded => {}
            Phase::Loaded if look.level == MemoryLevel::Hard => {
                self.phase = Phase::Unloading(Unloaded::Memory)
            }
            Phase::Loaded if self.keep_alive.is_some_and(|time| idle_for >= time) => {
                self.phase = Phase::Unloading(Unloaded::Idle);
            }
            // It was over before the last request was.
            Phase::Unloading(Unloaded::Memory) if look.level < MemoryLevel::Hard => {
                self.phase = Phase::Loaded
            }
            Phase::Away(Unloaded::Memory) if look.level == MemoryLevel::Normal => {
                self.come_back(look.now);
                return Residence::Load;
            }
            Phase::Loaded | Phase::Unloading(_) | Phase::Away(_) => {}
        }
        match self.phase {
            // While they are still being loaded somebody wants them gone: once they are there.
            Phase::Unloading(Unloaded::ByHand) if !look.is_loaded => Residence::Stay,
            Phase::Unloading(_) if !look.is_loaded => {
                // The engine ended by itself; what follows is its restart's business.
                self.phase = Phase::Loaded;
                Residence::Stay
            }
            Phase::Unloading(why) if look.n_requests == 0 => {
                self.phase = Phase::Away(why);
                Residence::Unload(why)
            }
            Phase::Loaded | Phase::Unloading(_) | Phase::Away(_) => Residence::Stay,
        }
    }

    /// A request came.
    pub(crate) fn asked(&mut self, now: Duration) -> Residence {
        self.last_used = now;
        match self.phase {
            Phase::Away(Unloaded::Idle) => {
                self.come_back(now);
                Residence::Load
            }
            Phase::Unloading(Unloaded::Idle) => {
                self.phase = Phase::Loaded;
                Residence::Stay
            }
            Phase::Loaded | Phase::Unloading(_) | Phase::Away(_) => Residence::Stay,
        }
    }

    /// Somebody wants the weights in memory. What the memory is like is for the load to judge.
    pub(crate) fn load(&mut self, now: Duration) -> Residence {
        match self.phase {
            Phase::Away(_) => {
                self.come_back(now);
                Residence::Load
            }
            Phase::Loaded | Phase::Unloading(_) => {
                self.come_back(now);
                Residence::Stay
            }
        }
    }

    /// Somebody wants the weights out of memory, once what runs has ended.
    pub(crate) fn unload(&mut self) {
        self.phase = match self.phase {
            Phase::Away(_) => Phase::Away(Unloaded::ByHand),
            Phase::Loaded | Phase::Unloading(_) => Phase::Unloading(Unloaded::ByHand),
        };
    }

    /// Whether requests are taken now.
    pub(crate) fn admission(&self) -> Admission {
        match self.phase {
            Phase::Loaded | Phase::Unloading(Unloaded::Idle) if self.level >= MemoryLevel::Soft => {
                Admission::Short
            }
            Phase::Loaded | Phase::Unloading(Unloaded::Idle) | Phase::Away(Unloaded::Idle) => Admission::Open,
            Phase::Unloading(why) | Phase::Away(why) => Admission::Away(why),
        }
    }

    /// Why the weights are not there, if they are not.
    pub(crate) fn away(&self) -> Option<Unloaded> {
        match self.phase {
            Phase::Away(why) => Some(why),
            Phase::Loaded | Phase::Unloading(_) => None,
        }
    }

    fn come_back(&mut self, now: Duration) {
        self.phase = Phase::Loaded;
        self.last_used = now;
    }
}

#[cfg(test)]
#[path = "model_residency_tests.rs"]
mod tests;
