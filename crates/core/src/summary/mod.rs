//! What a scheduled summary says: its figures, computed here, and the text that is written when no model writes one.

mod facts;
mod figures;
mod show;
#[cfg(test)]
mod tests;
mod text;

pub use facts::{AlertLine, ProviderFacts, SummaryFacts, WindowFacts};
pub use text::{SummaryLength, SummaryStyle};
