//! The integration tests: the real binary, over its real socket, with the demo model.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests may fail and speak as tests do"
)]

mod adapters;
mod architecture;
mod batch;
mod cancelling;
mod cli;
mod config;
mod context;
mod daemon_chat;
mod daemon_errors;
mod daemon_lifecycle;
mod damaged_models;
mod demo_model;
mod engine_choice;
// It looks into /proc.
#[cfg(target_os = "linux")]
mod engine_process;
mod harness;
mod hosts;
mod memory;
mod providers;
mod service_files;
