//! boca.
fn main() {}
