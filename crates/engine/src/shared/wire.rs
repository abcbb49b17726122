//! What hosts say to each other: a length of four bytes, most significant first, and so much JSON.

use crate::backend::{Chunk, LogitsOf, SequenceId};
use crate::drawing::{Draw, DrawChunk, Feed};
use boca_core::KvPrecision;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};

/// Raised with every change of the messages.
const PROTOCOL: u32 = 1;
/// A greeting takes some hundred bytes.
pub(super) const MOST_GREETING_BYTES: u32 = 64 << 10;
/// A step of the longest prompt that a config allows takes less.
pub(super) const MOST_BYTES: u32 = 64 << 20;

/// What a host computes; all of a group must have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    protocol: u32,
    version: String,
    checkpoint: u64,
    hosts: Vec<String>,
}

impl Offer {
    /// That of this build, with the checkpoint of this fingerprint.
    pub fn new(checkpoint: u64, hosts: &super::Hosts) -> Self {
        let version = env!("CARGO_PKG_VERSION").into();
        Self { protocol: PROTOCOL, version, checkpoint, hosts: hosts.clone().into() }
    }

    /// Why hosts with this and the other offer cannot work together, if they cannot; `self` is the first host's.
    pub(super) fn mismatch(&self, other: &Self) -> Option<String> {
        let build = |offer: &Self| format!("boca {} (protocol {})", offer.version, offer.protocol);
        if (self.protocol, &self.version) != (other.protocol, &other.version) {
            return Some(format!("it is {}, the first host is {}", build(other), build(self)));
        }
        if self.hosts != other.hosts {
            return Some(format!("it was told {:?}, the first host {:?}", other.hosts, self.hosts));
        }
        (self.checkpoint != other.checkpoint)
            .then(|| "it has another checkpoint or adapter than the first host".into())
    }
}

/// From a follower.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum FromFollower {
    Hello {
        rank: usize,
        offer: Offer,
    },
    Beat,
    /// It has its part, and room for keys and values of so many tokens.
    Ready {
        kv_tokens: u64,
    },
    /// It cannot go on.
    Failed {
        reason: String,
    },
}

/// From the first host.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum FromLead {
    Refused {
        reason: String,
    },
    /// Everybody is there, and computes in these formats.
    Welcome {
        kv_precision: KvPrecision,
        widen: bool,
    },
    Beat,
    Do(Command),
    /// It ends as it should.
    Bye,
}

/// What is asked of a backend. Sequences and steps have the first host's names.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Command {
    Open { sequence: u64, max_tokens: usize },
    Fork { sequence: u64, parent: u64, n_tokens: usize, max_tokens: usize },
    Close { sequence: u64 },
    Cut { sequence: u64, n_tokens: usize },
    Forbid { ids: Vec<u32> },
    Launch { step: u64, chunks: Vec<WireChunk> },
    LaunchDrawing { step: u64, chunks: Vec<WireDrawChunk> },
    Collect { step: u64 },
    CollectDrawn { step: u64 },
    Forget { step: u64 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WireChunk {
    pub(super) sequence: u64,
    tokens: Vec<u32>,
    logits: WireLogits,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum WireLogits {
    None,
    Last,
    All,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WireDrawChunk {
    pub(super) sequence: u64,
    /// `None` for the token that is being drawn.
    tokens: Option<Vec<u32>>,
    draw: Option<WireDraw>,
}

/// See [`Draw`]. Where the token lies is sent as bits, since JSON would round it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct WireDraw {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    unit_bits: u64,
}

impl WireChunk {
    pub(super) fn of(chunk: &Chunk<'_>) -> Self {
        let logits = match chunk.logits {
            LogitsOf::None => WireLogits::None,
            LogitsOf::Last => WireLogits::Last,
            LogitsOf::All => WireLogits::All,
        };
        Self { sequence: chunk.sequence.0, tokens: chunk.tokens.to_vec(), logits }
    }

    pub(super) fn chunk(&self, sequence: SequenceId) -> Chunk<'_> {
        let logits = match self.logits {
            WireLogits::None => LogitsOf::None,
            WireLogits::Last => LogitsOf::Last,
            WireLogits::All => LogitsOf::All,
        };
        Chunk { sequence, tokens: &self.tokens, logits }
    }
}

impl WireDrawChunk {
    pub(super) fn of(chunk: &DrawChunk<'_>) -> Self {
        let tokens = match chunk.feed {
            Feed::Tokens(tokens) => Some(tokens.to_vec()),
            Feed::Drawn => None,
        };
        let draw = chunk.draw.map(|Draw { temperature, top_k, top_p, min_p, unit }| WireDraw {
            temperature,
            top_k,
            top_p,
            min_p,
            unit_bits: unit.to_bits(),
        });
        Self { sequence: chunk.sequence.0, tokens, draw }
    }

    pub(super) fn chunk(&self, sequence: SequenceId) -> DrawChunk<'_> {
        let feed = self.tokens.as_deref().map_or(Feed::Drawn, Feed::Tokens);
        let draw = self.draw.map(|WireDraw { temperature, top_k, top_p, min_p, unit_bits }| Draw {
            temperature,
            top_k,
            top_p,
            min_p,
            unit: f64::from_bits(unit_bits),
        });
        DrawChunk { sequence, feed, draw }
    }
}

/// Writes a message at once.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).ok().filter(|length| *length <= MOST_BYTES);
    let length =
        length.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a message too long to be sent"))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    to.write_all(&frame)
}

/// Waits for a message.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read, most_bytes: u32) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > most_bytes {
        let message = format!("a message of {length} bytes, where at most {most_bytes} can be");
        return Err(io::Error::new(ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}
