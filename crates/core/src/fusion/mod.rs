//! How one answer comes out of several: pure rules, without I/O and without a clock.
//!
//! A question is [`Admitted`] to those who may see it, [`resolve`] says who is asked, a [`Collection`] when enough of
//! them have answered, [`decide`] what happens with the answers, and [`continuation`] who goes on when a text breaks
//! off. Every time in here is a [`std::time::Duration`] handed in by the caller, so that each rule can be tested with
//! any order of events.

mod admitted;
mod agreement;
mod collect;
mod effort;
mod helper;
mod open_question;
mod prompts;
mod resolve;
mod seam;
mod select;
mod settings;
mod source;
#[cfg(test)]
mod testing;
mod verdict;
mod words;

pub use admitted::Admitted;
pub use agreement::{agreement, least_agreement};
pub use collect::{CollectBounds, Collection, Ended, Step};
pub use effort::{Manner, effort_sampling};
pub use helper::helper;
pub use open_question::is_open_question;
pub use prompts::{FusionPrompt, judge_prompt, merge_prompt};
pub use resolve::{Candidate, Plan, Shape, resolve};
pub use seam::continuation;
pub use select::{Decision, TrackRecord, Verdict, decide, rank_by_record};
pub use settings::{FusionSettings, SelectBy, SelectWeights};
pub use source::SourceFacts;
pub use verdict::{BadVerdict, JudgeVerdict, read_verdict};
