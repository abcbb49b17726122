//! GLM-4 MoE inference over MLX checkpoints.
//!
//! - [`checkpoint`]: opens and checks a checkpoint directory, maps its weights.
//! - [`backend`]: the small trait that a device implements; [`cpu`] is the native one, `mlx` uses Apple's library.
//! - [`text`]: tokenizer, chat template, streaming detokenisation, thinking and stop strings.
//! - [`memory`]: what a model takes, what is free, and whether it fits.
//! - [`synthetic`]: makes checkpoints of random weights, for benchmarks and tests.
//! - [`shared`]: one model on several hosts.
//! - [`generate`]: everything above a backend: batching, sampling, budgets, cancellation, events.
//!
//! An engine is built, used and dropped on one thread ([`Generator`] is not `Send` for that reason); what crosses
//! threads is the factory and the plain messages of `boca-core`.
//!
//! ```no_run
//! use boca_engine::generate::{EngineOptions, load};
//! use boca_engine::{CancelToken, Generator, ModelSource};
//! # fn answer(request: boca_core::GenerateRequest) -> Result<(), boca_engine::EngineError> {
//! let source = ModelSource::Directory("models/glm4.5-air-mlx-4bit".into());
//! let mut model = load(&source, &EngineOptions::default(), &mut |progress| drop(progress))?;
//! let now = std::time::Instant::now();
//! model.generate(&request, now, &CancelToken::default(), &mut |event| drop(event))?;
//! # Ok(())
//! # }
//! ```

pub mod backend;
pub mod checkpoint;
pub mod cpu;
pub mod drawing;
pub mod generate;
pub mod memory;
#[cfg(any(target_os = "macos", feature = "mlx"))]
pub mod mlx;
pub mod shared;
pub mod synthetic;
pub mod text;

/// Stack of a thread that makes prompts: chat templates and split patterns recurse. Only touched pages cost memory.
pub const TEXT_STACK_BYTES: usize = 16 << 20;

mod error;
mod generator;
mod one_by_one;
mod path_bytes;
mod prompt_fit;
mod prompts;
mod sequences;
mod source;
mod step;

pub use error::EngineError;
pub use generator::{CancelToken, Doubt, Generator, GeneratorFactory, Report, ReportSink};
pub use one_by_one::{OneByOne, SoloModel};
pub use prompt_fit::{Piece, Room};
pub use prompts::{PromptMaker, PromptMakerFactory};
pub use source::{EmbeddedCheckpoint, EmbeddedFile, ModelSource};
