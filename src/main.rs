//! boca.
mod config;
fn main() {}
