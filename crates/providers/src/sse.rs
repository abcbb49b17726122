//! Server-sent events, and the raw JSON that some servers put between them: Gemini reports an error in mid-stream as a
//! bare, pretty-printed JSON object.

use crate::fault::Fault;
use crate::frame::{Frame, too_large};
use boca_sse::{Decoder, Piece};
use std::collections::VecDeque;

/// The decoder. Feed it with [`push`](Self::push), take frames with [`pop`](Self::pop), close it with
/// [`end`](Self::end).
#[derive(Debug)]
pub(crate) struct SseFrames {
    max_frame_bytes: usize,
    decoder: Decoder,
    /// Lines that are no field of an event.
    stray: String,
    complete: VecDeque<Frame>,
}

impl SseFrames {
    /// A decoder that refuses a frame of more than `max_frame_bytes`.
    pub(crate) fn new(max_frame_bytes: usize) -> Self {
        Self {
            max_frame_bytes,
            decoder: Decoder::new(max_frame_bytes),
            stray: String::new(),
            complete: VecDeque::new(),
        }
    }

    /// Takes the next piece of the stream, however it was cut.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.decoder.push(bytes).map_err(|_| too_large(self.max_frame_bytes))?;
        self.take_pieces();
        if self.stray.len() + self.decoder.held_bytes() > self.max_frame_bytes {
            return Err(too_large(self.max_frame_bytes));
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
        self.decoder.end();
        self.take_pieces();
        if !self.stray.trim().is_empty() {
            self.complete.push_back(Frame::Stray(std::mem::take(&mut self.stray)));
        }
    }

    fn take_pieces(&mut self) {
        while let Some(piece) = self.decoder.pop() {
            match piece {
                // Some servers keep a connection alive by events that say nothing.
                Piece::Event(event) if event.data.trim().is_empty() => {}
                Piece::Event(event) => self.complete.push_back(Frame::Event(event.data)),
                Piece::Stray(line) => self.stray_line(&line),
            }
        }
    }

    fn stray_line(&mut self, line: &str) {
        self.stray.push_str(line);
        self.stray.push('\n');
        // A server may send its error and keep the connection open, so the end of the stream is not waited for.
        let may_be_complete = self.stray.len() <= self.max_frame_bytes
            && matches!(line.trim_end().as_bytes().last(), Some(b'}' | b']'));
        if may_be_complete && serde_json::from_str::<serde::de::IgnoredAny>(&self.stray).is_ok() {
            self.complete.push_back(Frame::Stray(std::mem::take(&mut self.stray)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::pieces;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut decoder = SseFrames::new(10_000);
        for piece in pieces {
            decoder.push(piece).unwrap();
        }
        decoder.end();
        std::iter::from_fn(|| decoder.pop()).collect()
    }

    fn event(data: &str) -> Frame {
        Frame::Event(data.into())
    }

    #[test]
    fn events_are_handed_out_by_their_data() {
        for (stream, expected) in [
            ("event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", vec![event("a"), event("b")]),
            ("data: the blank line is missing", vec![event("the blank line is missing")]),
            ("event: ping\ndata:\n\ndata:  \n\ndata: a\n\n", vec![event("a")]),
        ] {
            assert_eq!(decode(&[stream.as_bytes()]), expected, "{stream:?}");
        }
    }

    #[test]
    fn raw_json_between_events_is_kept() {
        let raw = "{\n  \"error\": {\n    \"code\": 503\n  }\n}\n";
        let stream = format!("data: {{}}\r\n\r\n{raw}");
        assert_eq!(decode(&[stream.as_bytes()]), [event("{}"), Frame::Stray(raw.into())]);
        let mut open = SseFrames::new(1000);
        open.push(stream.as_bytes()).unwrap();
        assert_eq!(open.pop(), Some(event("{}")));
        assert_eq!(open.pop(), Some(Frame::Stray(raw.into())), "the end of the stream is not needed");
        assert_eq!(decode(&[b"{\"error\": {"]), [Frame::Stray("{\"error\": {\n".into())]);
    }

    #[test]
    fn a_frame_without_end_is_refused() {
        for endless in ["data: aaaaaaaaaaaaaaaaaaaaaaa", "data: aaaaaa\n", "{ \"a\":\n"] {
            let mut decoder = SseFrames::new(100);
            let refused = (0..100).any(|_| decoder.push(endless.as_bytes()).is_err());
            assert!(refused, "{endless:?}");
        }
        let mut decoder = SseFrames::new(100);
        for _ in 0..100 {
            decoder.push(b"data: many small ones are no problem\n\n").unwrap();
            decoder.pop().unwrap();
        }
        let long = "1,\n".repeat(50);
        assert!(decoder.push(format!("[\n{long}1]\n").as_bytes()).is_err(), "also when it comes at once");
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
            let n_events = events.iter().filter(|(_, data)| !data.trim().is_empty()).count();
            prop_assert_eq!(whole.len(), n_events + usize::from(error));
            prop_assert_eq!(decode(&pieces(stream.as_bytes(), &cuts)), whole);
        }

        #[test]
        fn any_bytes_are_survived(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut decoder = SseFrames::new(200);
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
