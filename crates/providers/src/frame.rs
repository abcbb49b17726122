//! The pieces of a response, before anyone looks at what they say.

use crate::AttemptClass;
use crate::fault::Fault;
use crate::ndjson::NdjsonDecoder;
use crate::sse::SseFrames;

/// One piece of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The data of a server-sent event, which is not blank. Its name is not kept: every protocol says in the data too
    /// what it is.
    Event(String),
    /// JSON that stood between events.
    Stray(String),
    /// A line of a stream of JSON values.
    Line(String),
    /// A whole response that was not streamed.
    Whole(String),
}

/// How a response is cut into frames.
#[derive(Debug)]
pub(crate) enum Framing {
    Sse(SseFrames),
    Ndjson(NdjsonDecoder),
    /// Whoever pushes bounds the whole of it.
    Whole {
        body: Vec<u8>,
        is_over: bool,
    },
}

impl Framing {
    pub(crate) fn whole() -> Self {
        Self::Whole { body: Vec::new(), is_over: false }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Sse(decoder) => decoder.push(bytes),
            Self::Ndjson(decoder) => decoder.push(bytes),
            Self::Whole { body, .. } => {
                body.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    pub(crate) fn end(&mut self) {
        match self {
            Self::Sse(decoder) => decoder.end(),
            Self::Ndjson(decoder) => decoder.end(),
            Self::Whole { is_over, .. } => *is_over = true,
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Frame> {
        match self {
            Self::Sse(decoder) => decoder.pop(),
            Self::Ndjson(decoder) => decoder.pop(),
            Self::Whole { body, is_over, .. } => std::mem::take(is_over)
                .then(|| Frame::Whole(String::from_utf8_lossy(&std::mem::take(body)).into_owned())),
        }
    }
}

/// The fault of a response beyond its bound.
pub(crate) fn too_large(max_bytes: usize) -> Fault {
    Fault::new(AttemptClass::TooLarge, format!("sent more than {max_bytes} bytes, which is the limit"))
}
