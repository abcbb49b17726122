//! What the daemon and its engine process say to each other.

use super::frame::Message;
use crate::engine_host::{EngineCommand, EngineEvent, Pulse};
use boca_core::GenerationEvent;
use serde::{Deserialize, Serialize};

/// What an engine process is to do; only the command that both ends belong to knows what is in it.
pub type WorkerJob = serde_json::Value;

/// Raised with every change of the messages.
pub(super) const PROTOCOL: u32 = 1;

/// Who speaks. Both ends say it first, and go on only when they are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) protocol: u32,
    pub(super) version: String,
}

impl Greeting {
    pub(super) fn own() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into() }
    }

    /// What is wrong with the other end, if anything is.
    pub(super) fn mismatch(&self, own: &Self) -> Option<String> {
        let text = |greeting: &Self| format!("boca {} (protocol {})", greeting.version, greeting.protocol);
        (self != own).then(|| format!("the other end is {}, this one is {}", text(self), text(own)))
    }
}

/// From the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// The first message.
    Hello { greeting: Greeting, job: WorkerJob },
    /// Any later one.
    Command(EngineCommand),
}

/// From the engine process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum FromWorker {
    /// The first message.
    Hello(Greeting),
    /// Something happened.
    Event(EngineEvent),
    /// Every [`super::worker::BEAT_EVERY`], also while weights are being read.
    Beat(Pulse),
}

/// A piece of text as JSON, around the request's id and the text.
const TEXT_FRAME: [&str; 3] = [r#"{"Event":{"Generation":{"id":""#, r#"","event":{"Text":""#, r#""}}}}"#];

/// Whether JSON writes a text as it is.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte >= b' ' && !matches!(byte, b'"' | b'\\'))
}

impl Message for ToWorker {}

/// Pieces of text are nearly all that is ever sent, and somebody waits for each.
impl Message for FromWorker {
    fn write_quickly(&self, to: &mut Vec<u8>) -> bool {
        let Self::Event(EngineEvent::Generation { id, event: GenerationEvent::Text(text) }) = self else {
            return false;
        };
        let is_plain = is_plain(text.as_bytes());
        if is_plain {
            let [before, between, after] = TEXT_FRAME;
            to.extend([before, id.as_str(), between, text, after].into_iter().flat_map(str::as_bytes));
        }
        is_plain
    }

    fn read_quickly(json: &[u8]) -> Option<Self> {
        let [before, between, after] = TEXT_FRAME.map(str::as_bytes);
        let inside = json.strip_prefix(before)?.strip_suffix(after)?;
        let id_bytes = inside.iter().position(|byte| *byte == b'"')?;
        let (id, rest) = inside.split_at(id_bytes);
        let text = rest.strip_prefix(between).filter(|text| is_plain(text))?;
        let id = std::str::from_utf8(id).ok()?.parse().ok()?;
        let text = std::str::from_utf8(text).ok()?.to_owned();
        Some(Self::Event(EngineEvent::Generation { id, event: GenerationEvent::Text(text) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::ErrorCode;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_quick_way_writes_and_reads_the_same_json(id in "[a-zA-Z0-9_-]{1,64}", text in any::<String>(), plain in "[a-zäöü ]{0,20}") {
            for text in [text, plain] {
                let event = GenerationEvent::Text(text);
                let message = FromWorker::Event(EngineEvent::Generation { id: id.parse().unwrap(), event });
                let json = serde_json::to_vec(&message).unwrap();
                let mut quick = Vec::new();
                if message.write_quickly(&mut quick) {
                    prop_assert_eq!(&quick, &json);
                    prop_assert_eq!(FromWorker::read_quickly(&json), Some(message));
                } else {
                    prop_assert!(quick.is_empty());
                    prop_assert_eq!(FromWorker::read_quickly(&json), None);
                }
            }
        }

        #[test]
        fn whatever_the_quick_way_reads_the_general_one_reads_too(inside in r#"[a-z"\\\\{}:,\u{0}-\u{1f}]{0,40}"#) {
            let [before, between, after] = TEXT_FRAME;
            for json in [format!("{before}r{between}{inside}{after}"), format!("{before}{inside}{between}x{after}")] {
                if let Some(message) = FromWorker::read_quickly(json.as_bytes()) {
                    prop_assert_eq!(serde_json::from_str::<FromWorker>(&json).unwrap(), message);
                }
            }
        }
    }

    #[test]
    fn what_is_no_text_goes_the_general_way() {
        let id = || "r".parse().unwrap();
        let failed = FromWorker::Event(EngineEvent::Failed {
            id: id(),
            failure: boca_core::Failure::new(ErrorCode::Internal, "x"),
        });
        let thinking = FromWorker::Event(EngineEvent::Generation {
            id: id(),
            event: GenerationEvent::Reasoning("x".into()),
        });
        for message in [failed, thinking] {
            assert!(!message.write_quickly(&mut Vec::new()));
            assert_eq!(FromWorker::read_quickly(&serde_json::to_vec(&message).unwrap()), None);
        }
    }

    #[test]
    fn only_like_ends_go_on() {
        let own = Greeting::own();
        assert_eq!(own.mismatch(&own), None);
        let other = Greeting { protocol: 0, version: "9".into() };
        assert!(other.mismatch(&own).unwrap().contains("boca 9 (protocol 0)"));
    }
}
