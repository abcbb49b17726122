//! The integration tests: the real binary, over its real socket, with the demo model.

mod architecture;
mod cli;
mod config;
mod daemon_chat;
mod daemon_errors;
mod daemon_lifecycle;
mod damaged_models;
mod demo_model;
mod harness;
mod service_files;
