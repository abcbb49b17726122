//! The threads on which providers are spoken to.
//!
//! Connections and answers live here and not on an actor's thread, so that an actor can end and be started again
//! while its answers are being read.

use std::fmt;
use std::io;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Two, so that one slow step does not hold up every answer.
const N_THREADS: usize = 2;

/// The threads. Dropping it ends whatever still runs on them.
pub(crate) struct ProviderIo {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for ProviderIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderIo").finish_non_exhaustive()
    }
}

impl ProviderIo {
    /// Starts the threads.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(N_THREADS)
            .thread_name("providers")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs a task there. A panic in it ends that task alone. `None` when the threads are being ended.
    pub(crate) fn spawn<F>(&self, task: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.as_ref().map(|runtime| runtime.spawn(task))
    }
}

impl Drop for ProviderIo {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last owner may be a task, which must not wait.
            runtime.shutdown_background();
        }
    }
}
