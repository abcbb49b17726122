//! Kernels and what they are made of.

#[path = "../../../crates/engine/src/cpu/isa.rs"]
mod isa;
#[path = "../../../crates/engine/src/cpu/kernels/mod.rs"]
mod kernels;
#[path = "../../../crates/engine/src/cpu/lanes/mod.rs"]
mod lanes;

pub use isa::Isa;
