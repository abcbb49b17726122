//! Alerts: when one fires, and when it is over.
//!
//! A rule looks at one figure. It fires when the figure has been beyond its bound for long enough without a break, and is
//! over when the figure has been back behind a second bound, on the good side of the first, for long enough: so a figure
//! that dances on the bound says one thing and not twenty. All that is remembered is a value that can be stored, so that a
//! restart neither forgets an alert nor says it twice.

mod rule;
mod state;
#[cfg(test)]
mod tests;

pub use rule::{AlertRule, BadBounds, Bound};
pub use state::{AlertChange, AlertState};
