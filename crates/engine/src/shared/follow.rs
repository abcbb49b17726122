//! The other hosts: each takes the steps that the first one tells it.

use super::wire::{
    Command, FromFollower, FromLead, MOST_BYTES, Offer, WireChunk, WireDrawChunk, receive, send,
};
use super::{BEAT_EVERY, GATHER_PATIENCE, Hosts, SEND_PATIENCE, SILENCE};
use crate::ModelSource;
use crate::backend::{Backend, BackendError, Chunk, Logits, SequenceId, Ticket};
use crate::checkpoint::CheckpointError;
use crate::drawing::{DrawChunk, Drawing};
use crate::generate::{DeviceChoice, MlxLimits};
use boca_core::KvPrecision;
use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// How often the first host is tried while it is not there.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// How long a connection to it may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Commands that have come and that nobody has looked at. One that computes is a few steps behind at most.
const MAX_UNREAD: usize = 4096;

/// Whom to follow, and with what.
#[derive(Debug, Clone)]
pub struct FollowOptions {
    /// Who takes part.
    pub hosts: Hosts,
    /// Which of them this is; at least 1.
    pub rank: usize,
    /// The directory of an adapter, the same as the first host's.
    pub adapter: Option<PathBuf>,
    /// What computes.
    pub device: DeviceChoice,
    /// Bounds of MLX's memory.
    pub limits: MlxLimits,
}

/// How far a follower is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The first host is not there.
    Waiting(SocketAddr),
    /// All hosts are there; this one reads its part of the weights, of so many bytes.
    Reading(u64),
    /// It takes steps.
    Following,
}

/// Why there is no following.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The rank is none of the others'.
    #[error("`--rank` must be 1 to {last} with these hosts (the first host runs `boca serve`), got {rank}")]
    Rank {
        /// The last rank.
        last: usize,
        /// What it is.
        rank: usize,
    },
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Hosts of this build, machine or model cannot compute together.
    #[error("{0}")]
    Cannot(String),
    /// The first host sent this one away.
    #[error("the first host sent this one away: {0}")]
    Refused(String),
    /// The first host, or another one, is gone; a new engine may come.
    #[error("{0}")]
    Gone(String),
}

impl FollowError {
    /// Whether the next engine of the first host may do better.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Gone(_))
    }
}

/// Waits for the first host, and follows its engine to its end. The environment must be what [`Hosts::environment`] says.
/// `lost` is called, on another thread, when the first host is gone, whatever this one is busy with.
///
/// # Errors
/// [`FollowError`]
pub fn follow(
    source: &ModelSource,
    options: &FollowOptions,
    tell: &mut dyn FnMut(Stage),
    lost: impl FnOnce(&str) + Send + 'static,
) -> Result<(), FollowError> {
    let last = options.hosts.n() - 1;
    if !(1..=last).contains(&options.rank) {
        return Err(FollowError::Rank { last, rank: options.rank });
    }
    #[cfg(any(target_os = "macos", feature = "mlx"))]
    return super::join::follow(source, options, tell, Box::new(lost));
    #[cfg(not(any(target_os = "macos", feature = "mlx")))]
    {
        drop((source, tell, lost));
        Err(FollowError::Cannot(
            "this build has no MLX, which hosts compute with: see tools/mlx-linux/README.md".into(),
        ))
    }
}

/// The connection to the first host.
#[derive(Debug)]
#[cfg_attr(
    not(any(target_os = "macos", feature = "mlx", test)),
    expect(dead_code, reason = "only MLX has hosts")
)]
pub(super) struct Following {
    stream: Arc<Mutex<TcpStream>>,
    from_lead: TcpStream,
    pub(super) kv_precision: KvPrecision,
    pub(super) widen: bool,
}

#[cfg_attr(
    not(any(target_os = "macos", feature = "mlx", test)),
    expect(dead_code, reason = "only MLX has hosts")
)]
impl Following {
    /// Waits for the first host and for all others.
    pub(super) fn join(
        hosts: &Hosts,
        rank: usize,
        offer: &Offer,
        tell: &mut dyn FnMut(Stage),
    ) -> Result<Self, FollowError> {
        let mut is_told = false;
        loop {
            match TcpStream::connect_timeout(&hosts.first(), CONNECT_PATIENCE) {
                Ok(stream) => match Self::greet(stream, rank, offer) {
                    Ok(following) => return Ok(following),
                    // It had not all others in time, or somebody else listens there for a moment: MLX itself does.
                    Err(Ok(error)) => tracing::debug!(%error, "the first host has hung up"),
                    Err(Err(refused)) => return Err(refused),
                },
                Err(error) => tracing::trace!(%error, "the first host is not there"),
            }
            if !std::mem::replace(&mut is_told, true) {
                tell(Stage::Waiting(hosts.first()));
            }
            std::thread::park_timeout(TRY_EVERY);
        }
    }

    fn greet(
        mut stream: TcpStream,
        rank: usize,
        offer: &Offer,
    ) -> Result<Self, Result<io::Error, FollowError>> {
        let greeted = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_write_timeout(Some(SEND_PATIENCE)))
            .and_then(|()| stream.set_read_timeout(Some(GATHER_PATIENCE + SILENCE)))
            .and_then(|()| send(&mut stream, &FromFollower::Hello { rank, offer: offer.clone() }))
            .and_then(|()| receive(&mut stream, MOST_BYTES));
        let (kv_precision, widen) = match greeted.map_err(Ok)? {
            FromLead::Welcome { kv_precision, widen } => (kv_precision, widen),
            FromLead::Refused { reason } => return Err(Err(FollowError::Refused(reason))),
            _ => return Err(Ok(io::ErrorKind::InvalidData.into())),
        };
        stream.set_read_timeout(Some(SILENCE)).map_err(Ok)?;
        let from_lead = stream.try_clone().map_err(Ok)?;
        Ok(Self { stream: Arc::new(Mutex::new(stream)), from_lead, kv_precision, widen })
    }

    /// Begins to listen and to beat. What the first host says waits in the receiver; its end is the receiver's.
    pub(super) fn listen(&self, lost: Box<dyn FnOnce(&str) + Send>) -> io::Result<Heard> {
        let (to_follower, commands) = mpsc::sync_channel(MAX_UNREAD);
        let mut from_lead = self.from_lead.try_clone()?;
        let end = Arc::new(Mutex::new(None));
        let told_end = Arc::clone(&end);
        std::thread::Builder::new().name("boca-lead".into()).spawn(move || {
            let reason = loop {
                match receive(&mut from_lead, MOST_BYTES) {
                    Ok(FromLead::Do(command)) => {
                        if to_follower.send(command).is_err() {
                            return;
                        }
                    }
                    Ok(FromLead::Beat) => {}
                    Ok(FromLead::Bye) => break None,
                    Ok(_) => break Some("the first host sent what has no place here".to_owned()),
                    Err(error) => break Some(format!("the first host is gone: {error}")),
                }
            };
            *told_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.clone());
            drop(to_follower);
            lost(reason.as_deref().unwrap_or("the first host has ended"));
        })?;
        let stream = Arc::downgrade(&self.stream);
        std::thread::Builder::new().name("boca-host-beat".into()).spawn(move || {
            loop {
                std::thread::park_timeout(BEAT_EVERY);
                let Some(stream) = stream.upgrade() else { return };
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                if send(&mut *stream, &FromFollower::Beat).is_err() {
                    return;
                }
            }
        })?;
        Ok(Heard { commands, end })
    }

    fn say(&self, message: &FromFollower) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it is still there shows in what it says.
        send(&mut *stream, message).ok();
    }

    /// Tells the first host that there is no going on.
    pub(super) fn fail(&self, reason: &str) {
        self.say(&FromFollower::Failed { reason: reason.into() });
    }

    /// Takes every step that the first host tells, to its end.
    pub(super) fn run<B: Backend + Drawing>(
        &self,
        backend: B,
        kv_tokens: u64,
        heard: &Heard,
    ) -> Result<(), FollowError> {
        self.say(&FromFollower::Ready { kv_tokens });
        let mut follower = Follower::new(backend);
        for command in &heard.commands {
            if let Err(error) = follower.obey(&command) {
                let reason = error.to_string();
                self.fail(&reason);
                return Err(FollowError::Gone(reason));
            }
        }
        let end = heard.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        end.flatten().map_or(Ok(()), |reason| Err(FollowError::Gone(reason)))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.from_lead.shutdown(Shutdown::Both).ok();
    }
}

/// What the first host says.
#[derive(Debug)]
pub(super) struct Heard {
    commands: mpsc::Receiver<Command>,
    /// How it ended, once it has: `Some(None)` as it should.
    end: Arc<Mutex<Option<Option<String>>>>,
}

/// A backend that is told what to do by the first host's names.
#[derive(Debug)]
struct Follower<B> {
    backend: B,
    sequences: HashMap<u64, SequenceId>,
    steps: HashMap<u64, Ticket>,
    logits: Logits,
}

impl<B: Backend + Drawing> Follower<B> {
    fn new(backend: B) -> Self {
        Self { backend, sequences: HashMap::new(), steps: HashMap::new(), logits: Logits::default() }
    }

    fn obey(&mut self, command: &Command) -> Result<(), BackendError> {
        match command {
            Command::Open { sequence, max_tokens } => {
                let own = self.backend.open(*max_tokens)?;
                self.sequences.insert(*sequence, own);
            }
            Command::Fork { sequence, parent, n_tokens, max_tokens } => {
                let parent = self.own(*parent);
                let own = self.backend.fork(parent, *n_tokens, *max_tokens)?;
                self.sequences.insert(*sequence, own);
            }
            Command::Close { sequence } => {
                if let Some(own) = self.sequences.remove(sequence) {
                    self.backend.close(own);
                }
            }
            Command::Cut { sequence, n_tokens } => {
                let own = self.own(*sequence);
                self.backend.cut(own, *n_tokens);
            }
            Command::Forbid { ids } => self.backend.forbid(ids)?,
            Command::Launch { step, chunks } => {
                let of = |chunk: &'_ WireChunk| self.own(chunk.sequence);
                let chunks: Vec<Chunk<'_>> = chunks.iter().map(|chunk| chunk.chunk(of(chunk))).collect();
                let launched = self.backend.launch(&chunks);
                self.launched(*step, launched)?;
            }
            Command::LaunchDrawing { step, chunks } => {
                let of = |chunk: &'_ WireDrawChunk| self.own(chunk.sequence);
                let chunks: Vec<DrawChunk<'_>> = chunks.iter().map(|chunk| chunk.chunk(of(chunk))).collect();
                let launched = self.backend.launch_drawing(&chunks);
                self.launched(*step, launched)?;
            }
            Command::Collect { step } => {
                let ticket = self.taken(*step)?;
                self.backend.collect(ticket, &mut self.logits)?;
            }
            Command::CollectDrawn { step } => {
                let ticket = self.taken(*step)?;
                self.backend.collect_drawn(ticket)?;
            }
            Command::Forget { step } => {
                let ticket = self.taken(*step)?;
                self.backend.forget(ticket);
            }
        }
        Ok(())
    }

    /// One that is not open has a name that no backend gives.
    fn own(&self, sequence: u64) -> SequenceId {
        self.sequences.get(&sequence).copied().unwrap_or(SequenceId(u64::MAX))
    }

    /// A step that is refused before anything is computed is refused by all; if not, it is missed when it is collected.
    fn launched(&mut self, step: u64, launched: Result<Ticket, BackendError>) -> Result<(), BackendError> {
        match launched {
            Ok(ticket) => {
                self.steps.insert(step, ticket);
                Ok(())
            }
            Err(BackendError::BadSequence { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn taken(&mut self, step: u64) -> Result<Ticket, BackendError> {
        self.steps.remove(&step).ok_or_else(|| BackendError::unknown_step(&Ticket(step)))
    }
}
