//! Reads server-sent events from bytes that arrive in pieces.
//!
//! Source: WHATWG HTML, "Server-sent events", section on interpreting an event stream. Bounded, because a peer that
//! never ends its event must not fill the memory.

use std::collections::VecDeque;

/// An event as it was framed, before anyone looked at what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The event's name; `message` when none was given.
    pub event: String,
    /// Its data, lines joined by line feeds.
    pub data: String,
}

/// An event larger than the decoder's bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {max_event_bytes} bytes")]
pub struct EventTooLarge {
    /// The bound.
    pub max_event_bytes: usize,
}

/// The decoder. Feed it with [`push`](Self::push), take events with [`pop`](Self::pop).
#[derive(Debug)]
pub struct SseDecoder {
    max_event_bytes: usize,
    at_start: bool,
    /// The last byte was a carriage return: a line feed right after it belongs to the same line end.
    skip_line_feed: bool,
    line: Vec<u8>,
    event: String,
    data: Option<String>,
    complete: VecDeque<Frame>,
}

impl SseDecoder {
    /// A decoder that refuses events with more than `max_event_bytes` of name, data and unfinished line.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            at_start: true,
            skip_line_feed: false,
            line: Vec::new(),
            event: String::new(),
            data: None,
            complete: VecDeque::new(),
        }
    }

    /// Takes the next piece of the stream, however it was cut.
    ///
    /// # Errors
    /// [`EventTooLarge`]; the stream cannot be read on after it.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), EventTooLarge> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.skip_line_feed) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            let held = self.line.len() + self.event.len() + self.data.as_ref().map_or(0, String::len);
            if held > self.max_event_bytes {
                return Err(EventTooLarge { max_event_bytes: self.max_event_bytes });
            }
            let Some(end) = end else { return Ok(()) };
            self.skip_line_feed = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line();
        }
        Ok(())
    }

    /// The next complete event.
    pub fn pop(&mut self) -> Option<Frame> {
        self.complete.pop_front()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if let Some(data) = self.data.take() {
                let event = if event.is_empty() { "message".to_owned() } else { event };
                self.complete.push_back(Frame { event, data });
            }
            return;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match field {
            b"event" => self.event = value.into_owned(),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                none => *none = Some(value.into_owned()),
            },
            // Comments have an empty field name; `id` and `retry` serve reconnection, which answers do not offer.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::{KEEP_ALIVE, Started, TextDelta};
    use crate::{ErrorBody, ErrorDetail, StreamEvent};
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut decoder = SseDecoder::new(10_000);
        for piece in pieces {
            decoder.push(piece).unwrap();
        }
        std::iter::from_fn(|| decoder.pop()).collect()
    }

    fn frame(event: &str, data: &str) -> Frame {
        Frame { event: event.into(), data: data.into() }
    }

    #[test]
    fn follows_the_standard() {
        for (stream, expected) in [
            ("data: a\n\n", vec![frame("message", "a")]),
            ("data:a\r\ndata: b\r\n\r\n", vec![frame("message", "a\nb")]),
            ("event: x\rdata:  two spaces\r\r", vec![frame("x", " two spaces")]),
            ("\u{feff}data: after a byte order mark\n\n", vec![frame("message", "after a byte order mark")]),
            (": comment\n\nid: 1\nretry: 5\nnonsense\ndata\n\n", vec![frame("message", "")]),
            ("event: lost without data\n\ndata: a\n\n", vec![frame("message", "a")]),
            ("data: never ended\n", vec![]),
            ("data: ended at last\n\n\n\n", vec![frame("message", "ended at last")]),
        ] {
            assert_eq!(decode(&[stream.as_bytes()]), expected, "{stream:?}");
        }
    }

    #[test]
    fn refuses_an_event_without_end() {
        for endless in ["data: aaaaaaaaaaaaaaaaaaaaaaa", "data: aaaaaa\n"] {
            let mut decoder = SseDecoder::new(100);
            let refused = (0..100).any(|_| decoder.push(endless.as_bytes()).is_err());
            assert!(refused, "{endless:?}");
        }
        let mut decoder = SseDecoder::new(100);
        for _ in 0..100 {
            decoder.push(b"data: many small ones are no problem\n\n").unwrap();
        }
    }

    fn any_event() -> impl Strategy<Value = StreamEvent> {
        let text = prop_oneof!["[ -~]{0,20}", "\\PC{0,10}", "[\r\n\0\u{2028}\u{85}:é🦀 ]{0,8}"];
        prop_oneof![
            text.clone().prop_map(|text| StreamEvent::Token(TextDelta { text })),
            text.clone().prop_map(|text| StreamEvent::Reasoning(TextDelta { text })),
            text.clone().prop_map(|text| StreamEvent::Started(Started {
                request_id: text.clone(),
                session_id: text
            })),
            text.prop_map(|message| StreamEvent::Error(ErrorBody {
                error: ErrorDetail { message, kind: String::new(), param: None, code: String::new() },
                response_time_ms: 1.0,
            })),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_wherever_it_is_cut(
            events in prop::collection::vec(any_event(), 0..8),
            cuts in prop::collection::vec(1_usize..40, 1..20),
            carriage_returns in any::<bool>(),
            keep_alives in any::<bool>(),
        ) {
            let mut stream = String::new();
            for event in &events {
                if keep_alives {
                    stream.push_str(KEEP_ALIVE);
                }
                stream.push_str(&event.encode().unwrap());
            }
            if carriage_returns {
                stream = stream.replace('\n', "\r\n");
            }
            let mut decoder = SseDecoder::new(10_000);
            let mut rest = stream.as_bytes();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                decoder.push(piece).unwrap();
                rest = later;
            }
            let decoded: Vec<_> = std::iter::from_fn(|| decoder.pop())
                .map(|frame| StreamEvent::decode(&frame.event, &frame.data).unwrap().unwrap())
                .collect();
            prop_assert_eq!(decoded, events);
        }

        #[test]
        fn any_bytes_are_survived(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut decoder = SseDecoder::new(200);
            for piece in pieces {
                if decoder.push(&piece).is_err() {
                    break;
                }
                while decoder.pop().is_some() {}
            }
        }
    }
}
