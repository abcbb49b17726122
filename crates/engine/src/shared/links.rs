//! The first host's connections to all others.

use super::wire::{Command, FromFollower, FromLead, MOST_BYTES, MOST_GREETING_BYTES, Offer, receive, send};
use super::{BEAT_EVERY, Hosts, SEND_PATIENCE, SILENCE};
use crate::generator::Doubt;
use boca_core::KvPrecision;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long somebody who has connected may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether somebody has connected.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why the hosts are not together.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The first host's own address cannot be had.
    #[error("`engine.hosts`: this host must be the first, and cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// They have not come in time.
    #[error(
        "`engine.hosts`: {who} did not come within {patience:?}; start `boca follow` there, with the same hosts and rank {rank}"
    )]
    Missing {
        /// One that has not come.
        who: SocketAddr,
        /// Its rank.
        rank: usize,
        /// How long was waited.
        patience: Duration,
    },
    /// One cannot take part.
    #[error("`engine.hosts`: {who} (rank {rank}) cannot take part: {reason}")]
    Mismatch {
        /// Which one.
        who: SocketAddr,
        /// Its rank.
        rank: usize,
        /// Why.
        reason: String,
    },
    /// One has gone while the model was loaded.
    #[error("`engine.hosts`: {0}")]
    Lost(String),
}

/// All others, connected.
#[derive(Debug)]
pub struct Links {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    followers: Vec<Follower>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct Follower {
    rank: usize,
    address: SocketAddr,
    /// Where is written; commands and beats take turns.
    stream: Mutex<TcpStream>,
}

#[derive(Debug, Default)]
struct State {
    /// For each that is ready: tokens whose keys and values it has room for.
    ready: Vec<u64>,
    lost: Option<(String, Instant)>,
    is_over: bool,
}

impl Links {
    /// Waits until all have come, and tells them the format of keys and values and whether numbers are widened to f32.
    /// `wait` is called now and then.
    ///
    /// # Errors
    /// [`GatherError`]
    pub fn gather(
        hosts: &Hosts,
        offer: &Offer,
        (kv_precision, widen): (KvPrecision, bool),
        patience: Duration,
        wait: &mut dyn FnMut(),
    ) -> Result<Self, GatherError> {
        let address = hosts.first();
        let listening = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listening.map_err(|source| GatherError::Listen { address, source })?;
        let began = Instant::now();
        let mut streams: Vec<Option<TcpStream>> = hosts.all()[1..].iter().map(|_| None).collect();
        while let Some(missing) = streams.iter().position(Option::is_none) {
            match listener.accept() {
                Ok((stream, _)) => greet(stream, hosts, offer, &mut streams)?,
                Err(_) if began.elapsed() >= patience => {
                    let rank = missing + 1;
                    return Err(GatherError::Missing { who: hosts.all()[rank], rank, patience });
                }
                Err(_) => {
                    wait();
                    std::thread::park_timeout(LOOK_EVERY);
                }
            }
        }
        // MLX listens there next.
        drop(listener);
        let links = Self::over(hosts, streams.into_iter().flatten().collect())?;
        links.tell(&FromLead::Welcome { kv_precision, widen });
        Ok(links)
    }

    fn over(hosts: &Hosts, streams: Vec<TcpStream>) -> Result<Self, GatherError> {
        let broken = |error: io::Error| GatherError::Lost(format!("a connection cannot be used: {error}"));
        let mut followers = Vec::new();
        let mut readers = Vec::new();
        for (place, stream) in streams.into_iter().enumerate() {
            let (rank, address) = (place + 1, hosts.all()[place + 1]);
            let prepared = stream
                .set_nodelay(true)
                .and_then(|()| stream.set_read_timeout(Some(SILENCE)))
                .and_then(|()| stream.set_write_timeout(Some(SEND_PATIENCE)));
            prepared.map_err(broken)?;
            readers.push(stream.try_clone().map_err(broken)?);
            followers.push(Follower { rank, address, stream: Mutex::new(stream) });
        }
        let shared = Arc::new(Shared { followers, state: Mutex::default(), changed: Condvar::new() });
        // From here on whatever goes wrong ends the threads too.
        let links = Self { shared: Arc::clone(&shared) };
        for (place, reader) in readers.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("boca-follower".into());
            thread.spawn(move || shared.listen(place, reader)).map_err(broken)?;
        }
        let thread = std::thread::Builder::new().name("boca-host-beat".into());
        thread.spawn(move || shared.beat()).map_err(broken)?;
        Ok(links)
    }

    /// Waits until all have their parts of the model; gives the tokens whose keys and values the smallest has room for.
    ///
    /// # Errors
    /// [`GatherError::Lost`]
    pub fn wait_until_ready(&self, wait: &mut dyn FnMut()) -> Result<u64, GatherError> {
        let mut state = self.shared.lock();
        loop {
            if let Some((reason, _)) = &state.lost {
                return Err(GatherError::Lost(reason.clone()));
            }
            if state.ready.len() == self.shared.followers.len() {
                return Ok(state.ready.iter().copied().min().unwrap_or(u64::MAX));
            }
            let waited = self.shared.changed.wait_timeout(state, BEAT_EVERY);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            wait();
            state = self.shared.lock();
        }
    }

    /// Tells all what to do.
    pub(super) fn command(&self, command: Command) {
        self.tell(&FromLead::Do(command));
    }

    fn tell(&self, message: &FromLead) {
        for follower in &self.shared.followers {
            self.shared.send(follower, message);
        }
    }

    /// Why there is no going on, if there is none.
    pub(super) fn lost(&self) -> Option<String> {
        self.shared.lock().lost.as_ref().map(|(reason, _)| reason.clone())
    }

    /// The same, after `patience` for the news to come; without any it was for `reason`.
    pub(super) fn lost_or(&self, patience: Duration, reason: &str) -> String {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, patience, |state| state.lost.is_none());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.shared.lose(reason.to_owned());
        self.lost().unwrap_or_default()
    }

    /// The same for whoever watches from another thread.
    pub(super) fn doubt(&self) -> Doubt {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.lock().lost.as_ref().map(|(reason, since)| (reason.clone(), since.elapsed())))
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let is_well = self.lost().is_none();
        if is_well {
            self.tell(&FromLead::Bye);
        }
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        for follower in &self.shared.followers {
            let stream = follower.stream.lock().unwrap_or_else(PoisonError::into_inner);
            // What was said is still delivered, and a reader waits no longer.
            stream.shutdown(if is_well { Shutdown::Write } else { Shutdown::Both }).ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first reason is the one that holds.
    fn lose(&self, reason: String) {
        let mut state = self.lock();
        if !state.is_over && state.lost.is_none() {
            tracing::error!(reason, "the hosts no longer work together");
            state.lost = Some((reason, Instant::now()));
        }
        drop(state);
        self.changed.notify_all();
    }

    fn send(&self, follower: &Follower, message: &FromLead) {
        let sent = {
            let mut stream = follower.stream.lock().unwrap_or_else(PoisonError::into_inner);
            send(&mut *stream, message)
        };
        if let Err(error) = sent {
            self.lose(gone(follower, &error));
        }
    }

    /// A follower's words, until there are no more.
    fn listen(&self, place: usize, mut stream: TcpStream) {
        let follower = &self.followers[place];
        loop {
            match receive(&mut stream, MOST_BYTES) {
                Ok(FromFollower::Beat) if self.lock().is_over => return,
                Ok(FromFollower::Beat) => {}
                Ok(FromFollower::Ready { kv_tokens }) => {
                    self.lock().ready.push(kv_tokens);
                    self.changed.notify_all();
                }
                Ok(FromFollower::Failed { reason }) => {
                    let Follower { rank, address, .. } = follower;
                    return self.lose(format!("{address} (rank {rank}) failed: {reason}"));
                }
                Ok(FromFollower::Hello { .. }) => {
                    return self.lose(gone(follower, &ErrorKind::InvalidData.into()));
                }
                Err(error) => return self.lose(gone(follower, &error)),
            }
        }
    }

    fn beat(&self) {
        loop {
            let state = self.lock();
            let is_going = |state: &mut State| !state.is_over && state.lost.is_none();
            let waited = self.changed.wait_timeout_while(state, BEAT_EVERY, is_going);
            let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            drop(state);
            if !waited.timed_out() {
                return;
            }
            for follower in &self.followers {
                self.send(follower, &FromLead::Beat);
            }
        }
    }
}

/// Hears who has connected. Who is no follower at all is sent away, and nothing else comes of it.
fn greet(
    mut stream: TcpStream,
    hosts: &Hosts,
    offer: &Offer,
    streams: &mut [Option<TcpStream>],
) -> Result<(), GatherError> {
    let hello = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(HELLO_PATIENCE)))
        .and_then(|()| stream.set_write_timeout(Some(HELLO_PATIENCE)))
        .and_then(|()| receive(&mut stream, MOST_GREETING_BYTES));
    let Ok(FromFollower::Hello { rank, offer: theirs }) = hello else {
        tracing::warn!("somebody who does not follow has connected to this host, and was sent away");
        return Ok(());
    };
    let mut refuse = |reason: String| {
        // Whether it hears it or not.
        send(&mut stream, &FromLead::Refused { reason: reason.clone() }).ok();
        reason
    };
    let Some(place) = rank.checked_sub(1).filter(|place| *place < streams.len()) else {
        let last = streams.len();
        let reason = refuse(format!("its rank must be 1 to {last}, got {rank}"));
        tracing::warn!(reason, "a host was sent away");
        return Ok(());
    };
    if let Some(reason) = offer.mismatch(&theirs) {
        return Err(GatherError::Mismatch { who: hosts.all()[rank], rank, reason: refuse(reason) });
    }
    // One that comes again has lost the connection that it had.
    streams[place] = Some(stream);
    Ok(())
}

fn gone(Follower { rank, address, .. }: &Follower, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("{address} (rank {rank}) has not been heard of for {SILENCE:?}")
        }
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            format!("{address} (rank {rank}) is gone")
        }
        _ => format!("{address} (rank {rank}) cannot be spoken with: {error}"),
    }
}
