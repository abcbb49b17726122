//! Messages on a byte stream: magic, length, checksum, JSON.
//!
//! The other end is the same binary, but it can be ended in the middle of a message, and a fault of its device or its
//! memory can make it write anything. So nothing is believed that the checksum does not vouch for.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

const MAGIC: [u8; 4] = *b"boca";
/// Magic, length and checksum, both little-endian.
const HEADER_BYTES: usize = 12;
/// Twice the largest request body that can be configured: its text may be escaped.
const MAX_PAYLOAD_BYTES: usize = 512 << 20;
/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The stream cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Something else is on the stream.
    #[error("bytes that are no message: {0}")]
    Garbage(String),
    /// The stream ends inside a message.
    #[error("{n_bytes} bytes of a message, and then its end")]
    CutShort {
        /// What came of it.
        n_bytes: usize,
    },
    /// A message that is larger than anybody sends.
    #[error("a message of {n_bytes} bytes, at most {MAX_PAYLOAD_BYTES} are taken")]
    TooLarge {
        /// Its size.
        n_bytes: usize,
    },
}

/// What is sent in frames.
pub(crate) trait Message: Serialize + DeserializeOwned {
    /// Writes its JSON without the general way, which is much code for a short message. False when that cannot be done;
    /// nothing is written then.
    fn write_quickly(&self, _: &mut Vec<u8>) -> bool {
        false
    }

    /// Reads what [`Self::write_quickly`] has written; `None` for anything else.
    fn read_quickly(_: &[u8]) -> Option<Self> {
        None
    }
}

/// The bytes of one message.
///
/// # Errors
/// [`FrameError::TooLarge`].
pub(crate) fn encode(message: &impl Message) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER_BYTES];
    if !message.write_quickly(&mut frame) {
        serde_json::to_writer(&mut frame, message).map_err(|error| FrameError::Io(error.into()))?;
    }
    let payload = &frame[HEADER_BYTES..];
    let n_bytes = payload.len();
    if n_bytes > MAX_PAYLOAD_BYTES {
        return Err(FrameError::TooLarge { n_bytes });
    }
    let checksum = crc32fast::hash(payload);
    // It fits: the bound is far below the end of 32 bits.
    let length = n_bytes as u32;
    frame[..4].copy_from_slice(&MAGIC);
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    frame[8..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(frame)
}

/// What came of one read.
#[derive(Debug)]
pub(crate) enum Read<M> {
    /// A whole message.
    Message(M),
    /// A part of one, or nothing yet.
    Part,
    /// The stream has ended after a message.
    End,
}

/// Cuts a byte stream into messages. A read that is cut short, by a timeout for example, loses nothing.
#[derive(Debug)]
pub(crate) struct FrameReader {
    /// Room for what is read, cleared once.
    buffer: Box<[u8]>,
    bytes: Vec<u8>,
    /// Where the next message begins.
    begin: usize,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self { buffer: vec![0; READ_BYTES].into(), bytes: Vec::new(), begin: 0 }
    }
}

impl FrameReader {
    /// The next message; reads at most once for it, so that who watches the clock comes round.
    ///
    /// # Errors
    /// [`FrameError`]; after one of the kind `Io` that says `WouldBlock` or `TimedOut` the next call goes on.
    pub(crate) fn read<M: Message>(&mut self, stream: &mut impl io::Read) -> Result<Read<M>, FrameError> {
        if let Some(message) = self.next()? {
            return Ok(Read::Message(message));
        }
        let read = stream.read(&mut self.buffer);
        self.bytes.extend_from_slice(&self.buffer[..*read.as_ref().unwrap_or(&0)]);
        match read {
            Ok(0) if self.bytes.len() > self.begin => {
                Err(FrameError::CutShort { n_bytes: self.bytes.len() - self.begin })
            }
            Ok(0) => Ok(Read::End),
            Ok(_) => Ok(self.next()?.map_or(Read::Part, Read::Message)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Read::Part),
            Err(error) => Err(error.into()),
        }
    }

    /// The next message, however many reads it takes. `None` at the end of the stream.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_whole<M: Message>(
        &mut self,
        stream: &mut impl io::Read,
    ) -> Result<Option<M>, FrameError> {
        loop {
            match self.read(stream)? {
                Read::Message(message) => return Ok(Some(message)),
                Read::Part => {}
                Read::End => return Ok(None),
            }
        }
    }

    /// The next message, if all of it has been read.
    fn next<M: Message>(&mut self) -> Result<Option<M>, FrameError> {
        let bytes = &self.bytes[self.begin..];
        // At the first byte that is none of ours: what is not a header need not become as long as one.
        let n_magic = bytes.len().min(MAGIC.len());
        if bytes[..n_magic] != MAGIC[..n_magic] {
            return Err(FrameError::Garbage(format!("{:02x?} instead of a header", &bytes[..n_magic])));
        }
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            self.make_room();
            return Ok(None);
        };
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let n_bytes = word(4) as usize;
        if n_bytes > MAX_PAYLOAD_BYTES {
            return Err(FrameError::TooLarge { n_bytes });
        }
        let Some(payload) = rest.get(..n_bytes) else {
            self.make_room();
            return Ok(None);
        };
        if crc32fast::hash(payload) != word(8) {
            return Err(FrameError::Garbage("the checksum is wrong".into()));
        }
        let message = match M::read_quickly(payload) {
            Some(message) => message,
            None => serde_json::from_slice(payload)
                .map_err(|error| FrameError::Garbage(format!("a message that nobody knows ({error})")))?,
        };
        self.begin += HEADER_BYTES + n_bytes;
        Ok(Some(message))
    }

    /// Forgets what has been taken.
    fn make_room(&mut self) {
        self.bytes.drain(..self.begin);
        self.begin = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(READ_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Message for String {}

    /// Gives a stream in pieces of these sizes, with a timeout between any two.
    struct Pieces<'a> {
        bytes: &'a [u8],
        sizes: std::iter::Cycle<std::vec::IntoIter<usize>>,
        is_late: bool,
    }

    impl<'a> Pieces<'a> {
        fn new(bytes: &'a [u8], sizes: Vec<usize>) -> Self {
            Self { bytes, sizes: sizes.into_iter().cycle(), is_late: false }
        }
    }

    impl io::Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.is_late = !self.is_late;
            if self.is_late {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = self.sizes.next().unwrap().min(buffer.len()).min(self.bytes.len());
            buffer[..n].copy_from_slice(&self.bytes[..n]);
            self.bytes = &self.bytes[n..];
            Ok(n)
        }
    }

    /// Every message up to the end or the first error.
    fn read_all(mut stream: impl io::Read) -> (Vec<String>, Option<FrameError>) {
        let (mut reader, mut messages) = (FrameReader::default(), Vec::new());
        loop {
            match reader.read_whole(&mut stream) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, None),
                Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return (messages, Some(error)),
            }
        }
    }

    proptest! {
        #[test]
        fn messages_survive_any_cutting(
            messages in prop::collection::vec(".{0,200}", 0..20),
            sizes in prop::collection::vec(1_usize..300, 1..9),
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
            let (read, error) = read_all(Pieces::new(&bytes, sizes));
            prop_assert!(error.is_none(), "{error:?}");
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn a_damaged_byte_is_found_wherever_it_is(at in 0_usize..1000, flip in 1_u8..=255) {
            let mut bytes = encode(&"first".to_owned()).unwrap();
            let n_first = bytes.len();
            bytes.extend(encode(&"the second message".to_owned()).unwrap());
            let at = n_first + at % (bytes.len() - n_first);
            bytes[at] ^= flip;
            let (read, error) = read_all(bytes.as_slice());
            prop_assert_eq!(read, ["first"]);
            prop_assert!(error.is_some());
        }

        #[test]
        fn noise_is_never_a_message(noise in prop::collection::vec(any::<u8>(), 1..4096)) {
            prop_assume!(noise[0] != MAGIC[0]);
            let (read, error) = read_all(noise.as_slice());
            prop_assert!(read.is_empty());
            prop_assert!(error.is_some());
        }
    }

    #[test]
    fn a_stream_that_ends_in_a_message_is_told_from_one_that_ends_after_it() {
        let bytes = encode(&"whole".to_owned()).unwrap();
        for end in 1..bytes.len() {
            let (read, error) = read_all(&bytes[..end]);
            assert!(
                read.is_empty() && matches!(error, Some(FrameError::CutShort { n_bytes }) if n_bytes == end),
                "{end}"
            );
        }
        let (read, error) = read_all(bytes.as_slice());
        assert!(read == ["whole"] && error.is_none());
    }

    #[test]
    fn no_header_makes_us_wait_for_more_than_anybody_sends() {
        let mut bytes = encode(&"x".to_owned()).unwrap();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        let (_, error) = read_all(bytes.as_slice());
        assert!(matches!(error, Some(FrameError::TooLarge { .. })), "{error:?}");
    }
}
