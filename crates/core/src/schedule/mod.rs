//! When jobs run: timetables, and what is done about the times that were missed.
//!
//! A **slot** is one instant at which a job is to run. It is named by that instant in UTC, so that the doubled hour of a
//! clock that goes back has two of each, and no change of the clock makes two slots the same.

mod due;
#[cfg(test)]
mod tests;
mod timetable;

pub use due::{Due, MissedPolicy, Passed, due};
pub use timetable::{BadTimetable, Timetable};
