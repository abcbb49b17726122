//! The backends against mlx-lm, on every checkpoint under `tests/data` and every adapter under `tests/data-adapters` (see
//! their READMEs for what is recorded).
//!
//! **Tolerance.** References are recorded after `set_dtype(float32)`: both sides compute in f32 from the very same
//! stored weights, and differ only in the order of sums and in the last bit of `exp`, `sin` and `cos`. A few layers
//! turn rounding errors of 6e-8 into some 1e-5 of the spread of a shape's logits (their standard deviation);
//! [`TOLERANCE`] allows five times that. It is the same for every number format of the weights, because bf16 and f16
//! are widened exactly and quantised values are off by one rounding at most.
//!
//! The recording in bf16 is shown, not matched, by the CPU backend: mlx's x86 code then accumulates in 8 bits of mantissa,
//! which now and then sends a token to another expert and moves logits by more than their spread's half. All that is
//! asked is that we are as far from it as the f32 reference is. The MLX backend computes the same in the same way.
//!
//! Run with `--nocapture` for the table.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "also in the helpers of tests")]

mod adapters;
#[cfg(any(target_os = "macos", feature = "mlx"))]
mod agreement;
mod cpu;
#[cfg(any(target_os = "macos", feature = "mlx"))]
#[path = "../rules/draw.rs"]
mod draw_rule;
#[cfg(any(target_os = "macos", feature = "mlx"))]
mod hosts;
#[cfg(any(target_os = "macos", feature = "mlx"))]
mod mlx;
#[cfg(any(target_os = "macos", feature = "mlx"))]
mod mlx_drawing;
mod reference;
#[cfg(any(target_os = "macos", feature = "mlx"))]
mod serving;
#[cfg(any(target_os = "macos", feature = "mlx"))]
mod wide;
