//! Real servers on loopback, for tests: they speak the protocols of Gemini, OpenAI, Ollama and Anthropic in the shapes
//! of their public documentation, record what they were asked, and misbehave on command.
//!
//! One [`FakeProvider`] speaks all four protocols at once; the path of a request says which one is meant. It runs on
//! the tokio runtime of whoever starts it and ends when it is dropped.

mod behaviour;
mod check;
mod connection;
mod exchange;
mod fault_spec;
mod http;
mod protocol;
mod seen;
mod server;

pub use behaviour::{Answer, Behaviour, Fault, words};
pub use fault_spec::FAULT_FORMS;
pub use seen::Seen;
pub use server::FakeProvider;
