//! Server-sent events from bytes that arrive in pieces, and the raw JSON that some servers put between them.
//!
//! Source: WHATWG HTML, "Server-sent events", interpreting an event stream. The standard ignores lines with an unknown
//! field name; here they are kept, because Gemini reports an error in mid-stream as a bare, pretty-printed JSON object.

use crate::fault::Fault;
use crate::frame::{Frame, too_large};
use std::collections::VecDeque;

/// The decoder. Feed it with [`push`](Self::push), take frames with [`pop`](Self::pop), close it with
/// [`end`](Self::end).
#[derive(Debug)]
pub(crate) struct SseDecoder {
    max_frame_bytes: usize,
    at_start: bool,
    /// The last byte was a carriage return: a line feed right after it belongs to the same line end.
    skip_line_feed: bool,
    line: Vec<u8>,
    event: String,
    data: Option<String>,
    /// Lines that are no field of an event.
    stray: String,
    complete: VecDeque<Frame>,
}

impl SseDecoder {
    /// A decoder that refuses a frame of more than `max_frame_bytes`.
    pub(crate) fn new(max_frame_bytes: usize) -> Self {
        Self {
            max_frame_bytes,
            at_start: true,
            skip_line_feed: false,
            line: Vec::new(),
            event: String::new(),
            data: None,
            stray: String::new(),
            complete: VecDeque::new(),
        }
    }

    /// Takes the next piece of the stream, however it was cut.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.skip_line_feed) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if self.held_bytes() > self.max_frame_bytes {
                return Err(too_large(self.max_frame_bytes));
            }
            let Some(end) = end else { return Ok(()) };
            self.skip_line_feed = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line();
        }
        Ok(())
    }

    /// The next complete frame.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        self.complete.pop_front()
    }

    /// The stream is over. An event without its blank line is dispatched all the same: the answer in it is complete
    /// when its JSON is, and torn JSON is found by the reader.
    pub(crate) fn end(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.end_event();
        if !self.stray.trim().is_empty() {
            self.complete.push_back(Frame::Stray(std::mem::take(&mut self.stray)));
        }
    }

    fn held_bytes(&self) -> usize {
        self.line.len() + self.event.len() + self.stray.len() + self.data.as_ref().map_or(0, String::len)
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.event);
        if let Some(data) = self.data.take() {
            self.complete.push_back(Frame::Event { name, data });
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.end_event();
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
            // Comments have an empty field name.
            b"" | b"id" | b"retry" => {}
            _ => self.stray_line(&String::from_utf8_lossy(line)),
        }
    }

    fn stray_line(&mut self, line: &str) {
        self.stray.push_str(line);
        self.stray.push('\n');
        // A server may send its error and keep the connection open, so the end of the stream is not waited for.
        let may_be_complete = matches!(line.trim_end().as_bytes().last(), Some(b'}' | b']'));
        if may_be_complete && serde_json::from_str::<serde::de::IgnoredAny>(&self.stray).is_ok() {
            self.complete.push_back(Frame::Stray(std::mem::take(&mut self.stray)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut decoder = SseDecoder::new(10_000);
        for piece in pieces {
            decoder.push(piece).unwrap();
        }
        decoder.end();
        std::iter::from_fn(|| decoder.pop()).collect()
    }

    fn event(name: &str, data: &str) -> Frame {
        Frame::Event { name: name.into(), data: data.into() }
    }

    #[test]
    fn follows_the_standard() {
        for (stream, expected) in [
            ("data: a\n\n", vec![event("", "a")]),
            ("data:a\r\ndata: b\r\n\r\n", vec![event("", "a\nb")]),
            ("event: x\rdata:  two spaces\r\r", vec![event("x", " two spaces")]),
            ("\u{feff}data: after a byte order mark\n\n", vec![event("", "after a byte order mark")]),
            (": comment\n\nid: 1\nretry: 5\ndata\n\n", vec![event("", "")]),
            ("event: lost without data\n\ndata: a\n\n", vec![event("", "a")]),
            ("data: not split \u{2028} here\n\n", vec![event("", "not split \u{2028} here")]),
            ("data: the blank line is missing", vec![event("", "the blank line is missing")]),
        ] {
            assert_eq!(decode(&[stream.as_bytes()]), expected, "{stream:?}");
        }
    }

    #[test]
    fn raw_json_between_events_is_kept() {
        let raw = "{\n  \"error\": {\n    \"code\": 503\n  }\n}\n";
        let stream = format!("data: {{}}\r\n\r\n{raw}");
        assert_eq!(decode(&[stream.as_bytes()]), [event("", "{}"), Frame::Stray(raw.into())]);
        let mut open = SseDecoder::new(1000);
        open.push(stream.as_bytes()).unwrap();
        assert_eq!(open.pop(), Some(event("", "{}")));
        assert_eq!(open.pop(), Some(Frame::Stray(raw.into())), "the end of the stream is not needed");
        assert_eq!(decode(&[b"{\"error\": {"]), [Frame::Stray("{\"error\": {\n".into())]);
    }

    #[test]
    fn a_frame_without_end_is_refused() {
        for endless in ["data: aaaaaaaaaaaaaaaaaaaaaaa", "data: aaaaaa\n", "{ \"a\":\n"] {
            let mut decoder = SseDecoder::new(100);
            let refused = (0..100).any(|_| decoder.push(endless.as_bytes()).is_err());
            assert!(refused, "{endless:?}");
        }
        let mut decoder = SseDecoder::new(100);
        for _ in 0..100 {
            decoder.push(b"data: many small ones are no problem\n\n").unwrap();
            decoder.pop().unwrap();
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(
            events in prop::collection::vec(("[a-z_]{0,8}", "[ -~é🦀\u{2028}\u{85}]{0,30}"), 0..6),
            error in any::<bool>(),
            carriage_returns in any::<bool>(),
            cuts in prop::collection::vec(1_usize..20, 1..20),
        ) {
            let mut stream = String::new();
            for (name, data) in &events {
                stream.push_str(&format!(": ping\n\nevent: {name}\ndata: {data}\n\n"));
            }
            if error {
                stream.push_str("{\n \"error\": {\n  \"message\": \"é\"\n }\n}");
            }
            if carriage_returns {
                stream = stream.replace('\n', "\r\n");
            }
            let whole = decode(&[stream.as_bytes()]);
            prop_assert_eq!(whole.len(), events.len() + usize::from(error));
            let mut pieces = Vec::new();
            let mut rest = stream.as_bytes();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                pieces.push(piece);
                rest = later;
            }
            prop_assert_eq!(decode(&pieces), whole);
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
            decoder.end();
        }
    }
}
