//! One JSON value a line, from bytes that arrive in pieces.

use crate::fault::Fault;
use crate::frame::{Frame, too_large};
use std::collections::VecDeque;

/// The decoder. Feed it with [`push`](Self::push), take frames with [`pop`](Self::pop), close it with
/// [`end`](Self::end).
#[derive(Debug)]
pub(crate) struct NdjsonDecoder {
    max_frame_bytes: usize,
    line: Vec<u8>,
    complete: VecDeque<Frame>,
}

impl NdjsonDecoder {
    /// A decoder that refuses a line of more than `max_frame_bytes`.
    pub(crate) fn new(max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes, line: Vec::new(), complete: VecDeque::new() }
    }

    /// Takes the next piece of the stream, however it was cut.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        loop {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if self.line.len() > self.max_frame_bytes {
                return Err(too_large(self.max_frame_bytes));
            }
            let Some(end) = end else { return Ok(()) };
            bytes = &bytes[end + 1..];
            self.end_line();
        }
    }

    /// The next complete line; blank ones are left out.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        self.complete.pop_front()
    }

    /// The stream is over; the last line needs no line feed.
    pub(crate) fn end(&mut self) {
        self.end_line();
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        // White space of JSON alone; the other kinds may be text.
        let line = line.trim_ascii();
        if !line.is_empty() {
            self.complete.push_back(Frame::Line(String::from_utf8_lossy(line).into_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::pieces;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut decoder = NdjsonDecoder::new(1000);
        for piece in pieces {
            decoder.push(piece).unwrap();
        }
        decoder.end();
        std::iter::from_fn(|| decoder.pop()).collect()
    }

    #[test]
    fn lines_end_by_line_feed_or_by_the_end() {
        let line = |text: &str| Frame::Line(text.into());
        assert_eq!(decode(&[b"{}\r\n\n [1] \n{\"a\""]), [line("{}"), line("[1]"), line("{\"a\"")]);
        assert_eq!(decode(&[b""]), []);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut decoder = NdjsonDecoder::new(100);
        assert!((0..100).any(|_| decoder.push(b"aaaaaaaaaa").is_err()));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(
            lines in prop::collection::vec("[!-~é🦀\u{2028}]{1,20}", 0..8),
            cuts in prop::collection::vec(1_usize..9, 1..20),
        ) {
            let stream = lines.join("\n");
            let expected: Vec<_> = lines.into_iter().map(Frame::Line).collect();
            prop_assert_eq!(decode(&pieces(stream.as_bytes(), &cuts)), expected);
        }

        #[test]
        fn any_bytes_are_survived(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut decoder = NdjsonDecoder::new(200);
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
