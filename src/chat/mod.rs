//! Answering questions: everything between an HTTP handler, which only translates, and the actors, which only answer.
//!
//! A question is checked, takes its place in its session's line, is put together with the session's settings and
//! history, asked, and stored with its answer before anybody is told that it is done.
//!
//! What is stored when it goes wrong: nothing when the question was refused before anything was generated (a bad
//! field, a full queue, no model): sending it again is then safe. In every other case the question and whatever text
//! there is, with the reason; the next question's history leaves out what failed without a text.

mod ahead;
mod exchange;
mod history;
mod merge;
mod one_off;
mod question;
mod records;
mod registry;
mod service;
mod session_locks;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use exchange::{ExchangeEvent, Reply};
pub(crate) use one_off::one_off;
pub(crate) use question::{Question, check_session_id, check_settings, parse_preset};
pub(crate) use service::{ChatService, Exchange};

use std::time::{SystemTime, UNIX_EPOCH};

/// The time now, in milliseconds since 1970.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
