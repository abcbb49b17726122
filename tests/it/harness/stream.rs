//! A streamed answer, read event by event.

use super::daemon::Daemon;
use super::http::{Connection, events};
use serde_json::Value;
use std::collections::VecDeque;

/// A streamed answer. Dropping it hangs up.
#[derive(Debug)]
pub(crate) struct EventStream {
    connection: Connection,
    /// What came and is no whole event yet.
    text: String,
    /// Events that came and were not asked for yet.
    due: VecDeque<(String, Value)>,
}

impl EventStream {
    /// Asks; the answer must begin as a stream.
    #[track_caller]
    pub(crate) fn open(daemon: &Daemon, body: &Value) -> Self {
        let mut connection = daemon.connect();
        connection.send("POST", "/api/chat", Some(&body.to_string()));
        let head = connection.read_head();
        if head.status != 200 {
            panic!("{head:?}");
        }
        assert_eq!(head.header("content-type"), Some("text/event-stream"), "{head:?}");
        Self { connection, text: String::new(), due: VecDeque::new() }
    }

    /// The next event; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(event) = self.due.pop_front() {
                return Some(event);
            }
            let complete = self.text.rfind("\n\n").map_or(0, |at| at + 2);
            let rest = self.text.split_off(complete);
            self.due.extend(events(&std::mem::replace(&mut self.text, rest)));
            if !self.due.is_empty() {
                continue;
            }
            self.text += std::str::from_utf8(&self.connection.read_chunk()?).unwrap();
        }
    }

    /// Reads on to an event of this name.
    #[track_caller]
    pub(crate) fn read_until(&mut self, name: &str) -> Value {
        let mut seen = Vec::new();
        while let Some((event, data)) = self.next() {
            if event == name {
                return data;
            }
            seen.push((event, data));
        }
        panic!(
            "the stream ended without `{name}`; its last events: {:?}",
            seen.iter().rev().take(3).collect::<Vec<_>>()
        );
    }

    /// Everything that is still to come.
    pub(crate) fn rest(&mut self) -> Vec<(String, Value)> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
