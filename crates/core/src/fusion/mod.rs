//! How one answer comes out of several: pure rules, without I/O and without a clock.
//!
//! Every time in here is a [`std::time::Duration`] since the question arrived, handed in by the caller, so that each
//! rule can be tested with any order of events.

mod settings;
mod source;

pub use settings::{FusionSettings, SelectBy, SelectWeights};
pub use source::SourceFacts;
