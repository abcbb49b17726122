//! The actors as the daemon uses them, over an engine whose every step a test decides and providers on loopback.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod answers;
mod context;
mod demo_model;
mod draining;
mod failures;
mod loading;
mod overload;
mod providers;
mod residency;
mod support;
