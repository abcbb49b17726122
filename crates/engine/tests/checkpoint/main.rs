//! Opening checkpoints: every layout that mlx-lm writes, every kind of damage, and one of full size.

// Helpers outside of test functions may unwrap as the tests themselves do.
#![allow(clippy::unwrap_used)]

mod adapters;
mod damaged;
mod full_size;
mod layouts;
mod support;
mod verify;
