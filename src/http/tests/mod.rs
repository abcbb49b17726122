//! A whole daemon in this process, on a temporary socket, with a scripted engine.

mod answering;
mod bad_requests;
mod cancelling;
mod fixture;
mod living;
mod scripted;
