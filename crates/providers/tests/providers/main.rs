//! The client against real servers on loopback that speak every protocol, rightly and wrongly.

mod answers;
mod bodies;
mod documents;
mod faults;
mod support;
