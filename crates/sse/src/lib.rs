//! Server-sent events from bytes that arrive in pieces.
//!
//! Source: WHATWG HTML, "Server-sent events", interpreting an event stream. Bounded, because a peer that never ends its
//! event must not fill the memory. Names and data are handed out as they came; what they say is the reader's affair.

use std::collections::VecDeque;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name; empty when none was given, which the standard reads as `message`.
    pub name: String,
    /// Its data, lines joined by line feeds.
    pub data: String,
}

/// What a stream is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// An event.
    Event(Event),
    /// A line that is no field of an event, without its end. The standard ignores it; some servers put an error there.
    Stray(String),
}

/// An event, or a line, larger than the decoder's bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {max_event_bytes} bytes")]
pub struct EventTooLarge {
    /// The bound.
    pub max_event_bytes: usize,
}

/// The decoder. Feed it with [`push`](Self::push), take what is complete with [`pop`](Self::pop).
#[derive(Debug)]
pub struct Decoder {
    max_event_bytes: usize,
    at_start: bool,
    /// The last byte was a carriage return: a line feed right after it belongs to the same line end.
    skip_line_feed: bool,
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    complete: VecDeque<Piece>,
}

impl Decoder {
    /// A decoder that refuses events with more than `max_event_bytes` of name, data and unfinished line.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            at_start: true,
            skip_line_feed: false,
            line: Vec::new(),
            name: String::new(),
            data: None,
            complete: VecDeque::new(),
        }
    }

    /// Takes the next bytes of the stream, however it was cut.
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
            if self.held_bytes() > self.max_event_bytes {
                return Err(EventTooLarge { max_event_bytes: self.max_event_bytes });
            }
            let Some(end) = end else { return Ok(()) };
            self.skip_line_feed = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line();
        }
        Ok(())
    }

    /// The next complete piece.
    pub fn pop(&mut self) -> Option<Piece> {
        self.complete.pop_front()
    }

    /// Completes the event, or the line, that the end of the stream cut off. The standard drops it: call this only
    /// where what it says can be checked, such as JSON.
    pub fn end(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.end_event();
    }

    /// How much is held of an event that is not complete yet.
    pub fn held_bytes(&self) -> usize {
        self.line.len() + self.name.len() + self.data.as_ref().map_or(0, String::len)
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        if let Some(data) = self.data.take() {
            self.complete.push_back(Piece::Event(Event { name, data }));
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
            b"event" => self.name = value.into_owned(),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                none => *none = Some(value.into_owned()),
            },
            // Comments have an empty field name; `id` and `retry` serve reconnection, which answers do not offer.
            b"" | b"id" | b"retry" => {}
            _ => self.complete.push_back(Piece::Stray(String::from_utf8_lossy(line).into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is complete after these pieces, and what the end completes on top of it.
    fn decode<T: AsRef<[u8]>>(pieces: &[T]) -> (Vec<Piece>, Vec<Piece>) {
        let mut decoder = Decoder::new(10_000);
        for piece in pieces {
            decoder.push(piece.as_ref()).unwrap();
        }
        let complete = std::iter::from_fn(|| decoder.pop()).collect();
        decoder.end();
        (complete, std::iter::from_fn(|| decoder.pop()).collect())
    }

    fn event(name: &str, data: &str) -> Piece {
        Piece::Event(Event { name: name.into(), data: data.into() })
    }

    fn stray(line: &str) -> Piece {
        Piece::Stray(line.into())
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
            ("data: ended at last\n\n\n\n", vec![event("", "ended at last")]),
        ] {
            assert_eq!(decode(&[stream]), (expected, vec![]), "{stream:?}");
        }
    }

    #[test]
    fn what_is_no_field_is_handed_out_by_itself() {
        let (complete, _) = decode(&["id: 1\nnonsense\n {\"a\": 1}\ndata\n\n"]);
        assert_eq!(complete, [stray("nonsense"), stray(" {\"a\": 1}"), event("", "")]);
    }

    #[test]
    fn what_was_cut_off_is_complete_only_after_the_end() {
        for (stream, at_the_end) in [
            ("data: the line is cut off", event("", "the line is cut off")),
            ("event: x\ndata: the blank line is missing\n", event("x", "the blank line is missing")),
            ("{\"error\"", stray("{\"error\"")),
        ] {
            assert_eq!(decode(&[stream]), (vec![], vec![at_the_end]), "{stream:?}");
        }
        assert_eq!(decode(&[""]), (vec![], vec![]));
    }

    #[test]
    fn an_event_without_end_is_refused() {
        for endless in ["data: aaaaaaaaaaaaaaaaaaaaaaa", "data: aaaaaa\n", "aaaaaa"] {
            let mut decoder = Decoder::new(100);
            let refused = (0..100).any(|_| decoder.push(endless.as_bytes()).is_err());
            assert!(refused, "{endless:?}");
        }
        let mut decoder = Decoder::new(100);
        for _ in 0..100 {
            decoder.push(b"data: many small ones are no problem\n\n").unwrap();
            decoder.pop().unwrap();
        }
    }

    /// Parts that mean something in a stream; the property cuts within them too.
    const PARTS: [&str; 12] = [
        "data: ", "data", "event: ", "event", ": ping", "id: 1", "{\"a\"", "\n", "\n\n", "\r", "\r\n",
        "\u{feff}",
    ];

    fn any_part() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            6 => prop::sample::select(PARTS.as_slice()).prop_map(|part| part.as_bytes().to_vec()),
            2 => "[ -~é🦀\u{2028}\u{85}]{1,30}".prop_map(String::into_bytes),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ]
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(parts in prop::collection::vec(any_part(), 0..40)) {
            let whole = parts.concat();
            let decoded = decode(&[&whole]);
            prop_assert_eq!(&decode(&parts), &decoded);
            let single: Vec<_> = whole.chunks(1).collect();
            prop_assert_eq!(&decode(&single), &decoded);
        }

        #[test]
        fn any_bytes_are_survived(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut decoder = Decoder::new(200);
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
