//! HTTP over the Unix socket. Only translates: wire types in, calls of services and handles, wire types out. One file
//! an API resource, the same names as in `crates/api` and in the commands of `crates/cli`.

mod batch;
mod body;
mod chat;
mod compare;
mod context;
mod convert;
mod error;
mod feedback;
mod guard;
mod health;
mod listener;
mod metrics;
mod model;
mod peer;
mod providers;
mod query;
mod requests;
mod server;
mod sessions;
mod sse;
mod status;

#[cfg(test)]
mod tests;

pub(crate) use convert::{context_cut as wire_context_cut, usage as wire_usage};
pub(crate) use error::detail as wire_error;
pub(crate) use listener::{BoundSocket, ListenError};
pub(crate) use server::{HttpServerHandle, Parts, start};
