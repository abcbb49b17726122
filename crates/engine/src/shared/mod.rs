//! One model on several hosts.
//!
//! The first host leads: it is the engine that everybody knows, and asks its backend for steps as ever. [`LeadBackend`]
//! tells each of them to the other hosts before it is taken, and they ask theirs for the same, in the same order
//! ([`follow`]). What a layer needs of all hosts is added up by MLX, over connections of its own (`mlx::Group`); what
//! is told goes over plain TCP connections to the first host, which are also how hosts notice each other's end: an idle
//! host waits for nothing in MLX, which would keep a core busy, and sums that nobody will finish have no end of their own.
//!
//! - [`Hosts`]: who takes part, and what MLX must find in the environment.
//! - `wire`: what is said.
//! - `links`: the first host's connections.
//! - `lead`, `follow`: either end of them.
//!
//! Nothing here is secret or signed: like MLX's own connections these are for a network that is trusted.

mod follow;
mod hosts;
mod lead;
mod links;
mod wire;

#[cfg(any(target_os = "macos", feature = "mlx"))]
mod join;

pub use follow::{FollowError, FollowOptions, Stage, follow};
pub use hosts::{BadHosts, Hosts};
pub use lead::LeadBackend;
pub use links::{GatherError, Links};
pub use wire::Offer;

#[cfg(any(target_os = "macos", feature = "mlx"))]
pub use join::lead;

use std::time::Duration;

/// How long the first host waits for the others when it loads the model.
pub const GATHER_PATIENCE: Duration = Duration::from_secs(60);
/// How often hosts tell each other that they live.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A host that has said nothing for so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(15);
/// How long it may take to hand something to a host that is there.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
