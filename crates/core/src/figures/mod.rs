//! Figures that a text may name, and whether it names others.
//!
//! A summary's figures are computed by code and handed to a model, which writes about them. Whatever number it then writes
//! must be one of them, to the digits that it shows.

mod number;
mod table;
#[cfg(test)]
mod tests;

pub use table::{Figure, Figures, Quantity, UnknownNumber};
