//! The fake itself: a listener, its behaviours, and the record of what it saw.

use crate::behaviour::Behaviour;
use crate::connection;
use crate::seen::Seen;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A server on loopback that speaks all four protocols. It ends when it is dropped.
#[derive(Debug)]
pub struct FakeProvider {
    place: Place,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

#[derive(Debug, Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What the connections share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Counts changes of the record, so that tests can wait for one.
    changes: watch::Sender<u64>,
}

type Script = Arc<dyn Fn(&Seen) -> Behaviour + Send + Sync>;

#[derive(Default)]
struct State {
    queue: VecDeque<Behaviour>,
    default: Behaviour,
    script: Option<Script>,
    probe: Option<Behaviour>,
    key: Option<String>,
    models: Option<Vec<String>>,
    seen: Vec<Seen>,
    n_connections: usize,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl FakeProvider {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Listens on this address.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let place = Place::Tcp(listener.local_addr()?);
        let shared = Shared::new();
        let for_listener = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Only a matter of latency.
                drop(stream.set_nodelay(true));
                connections.spawn(connection::serve(stream, Arc::clone(&for_listener)));
            }
        });
        Ok(Self { place, shared, listener })
    }

    /// Listens on a Unix socket, which must not exist yet.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start_unix(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let shared = Shared::new();
        let for_listener = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection::serve(stream, Arc::clone(&for_listener)));
            }
        });
        Ok(Self { place: Place::Unix(path.to_owned()), shared, listener })
    }

    /// The base address for a client, without a path: `http://127.0.0.1:PORT`, or `http://localhost` over a socket.
    pub fn base_url(&self) -> String {
        match &self.place {
            Place::Tcp(address) => format!("http://{address}"),
            Place::Unix(_) => "http://localhost".into(),
        }
    }

    /// The Unix socket, when it listens on one.
    pub fn unix_socket(&self) -> Option<&Path> {
        match &self.place {
            Place::Tcp(_) => None,
            Place::Unix(path) => Some(path),
        }
    }

    /// How every ask is answered that nothing else was said about.
    pub fn set(&self, behaviour: Behaviour) {
        let mut state = self.shared.lock();
        state.default = behaviour;
        state.script = None;
    }

    /// How the next asks are answered, one after the other; then the default holds again.
    pub fn enqueue(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.lock().queue.extend(behaviours);
    }

    /// How asks are answered, decided for each by what it says. What was enqueued comes first.
    pub fn script(&self, script: impl Fn(&Seen) -> Behaviour + Send + Sync + 'static) {
        self.shared.lock().script = Some(Arc::new(script));
    }

    /// How the list of models is answered: only waits and faults that need no stream matter. `None`: well.
    pub fn set_probe(&self, behaviour: Option<Behaviour>) {
        self.shared.lock().probe = behaviour;
    }

    /// Refuses every request without this key.
    pub fn require_key(&self, key: &str) {
        self.shared.lock().key = Some(key.to_owned());
    }

    /// Lists these models and knows no others. Until then every model is known.
    pub fn set_models(&self, models: impl IntoIterator<Item = impl Into<String>>) {
        self.shared.lock().models = Some(models.into_iter().map(Into::into).collect());
    }

    /// Every request so far, probes included.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// The requests so far that asked for an answer.
    pub fn asks(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(Seen::is_ask).collect()
    }

    /// The connections so far.
    pub fn n_connections(&self) -> usize {
        self.shared.lock().n_connections
    }

    /// Waits until the record satisfies `is_good`. Whoever calls it bounds the wait.
    pub async fn wait_until(&self, is_good: impl Fn(&[Seen]) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        loop {
            if is_good(&self.shared.lock().seen) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until this many asks came in.
    pub async fn wait_for_asks(&self, n_asks: usize) {
        self.wait_until(|seen| seen.iter().filter(|request| request.is_ask()).count() >= n_asks).await;
    }

    /// Waits until a client closed its connection in the middle of an answer.
    pub async fn wait_for_hang_up(&self) {
        self.wait_until(|seen| seen.iter().any(|request| request.client_hung_up)).await;
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        // The connections belong to the listener's task and end with it.
        self.listener.abort();
        if let Place::Unix(path) = &self.place {
            drop(std::fs::remove_file(path));
        }
    }
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changes: watch::Sender::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_connection(&self) -> usize {
        let mut state = self.lock();
        state.n_connections += 1;
        state.n_connections - 1
    }

    /// Writes a request down; gives its place in the record.
    pub(crate) fn note(&self, seen: Seen) -> usize {
        let mut state = self.lock();
        state.seen.push(seen);
        let place = state.seen.len() - 1;
        drop(state);
        self.tell();
        place
    }

    /// Changes the record of one request.
    pub(crate) fn amend(&self, place: usize, amend: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.lock().seen.get_mut(place) {
            amend(seen);
        }
        self.tell();
    }

    /// How an ask is answered.
    pub(crate) fn behaviour(&self, seen: &Seen) -> Behaviour {
        let mut state = self.lock();
        if let Some(next) = state.queue.pop_front() {
            return next;
        }
        let script = state.script.clone();
        let default = state.default.clone();
        // A script may ask this fake for its record.
        drop(state);
        script.map_or(default, |script| script(seen))
    }

    pub(crate) fn probe(&self) -> Option<Behaviour> {
        self.lock().probe.clone()
    }

    pub(crate) fn key(&self) -> Option<String> {
        self.lock().key.clone()
    }

    pub(crate) fn models(&self) -> Option<Vec<String>> {
        self.lock().models.clone()
    }

    fn tell(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }
}
