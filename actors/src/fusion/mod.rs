//! The work on one answer by several sources. The rules are in [`boca_core::fusion`]; here they meet real sources,
//! real time and a reader.

mod collaborate;
mod conductor;
mod continue_answer;
mod finish;
mod helpers;
mod outbox;
mod part;
mod running;
#[cfg(test)]
mod scripted;
mod shapes;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_ends;
#[cfg(test)]
mod tests_survivors;
mod track_records;

pub(crate) use conductor::{Conductor, Question, candidate};
pub(crate) use outbox::{Outbox, Work};
pub(crate) use part::now;
pub(crate) use running::Running;
pub(crate) use track_records::TrackRecords;
