//! What was measured, kept over time: so much for each minute, and less of it the older it is.

mod grain;
mod objective;
mod spread;
mod tally;
#[cfg(test)]
mod tests;

pub use grain::{Grain, Period, Thinning, thinning};
pub use objective::{BadShare, Compliance, Objective};
pub use spread::Spread;
pub use tally::{SeriesKey, Tally};
