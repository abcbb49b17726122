//! The client against real servers on loopback that speak every protocol, rightly and wrongly.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod answers;
mod bodies;
mod documents;
mod faults;
mod support;
