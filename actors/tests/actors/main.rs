//! The actors as the daemon uses them, over an engine whose every step a test decides.

mod answers;
mod demo_model;
mod draining;
mod failures;
mod loading;
mod overload;
mod support;
