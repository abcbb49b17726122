//! The real binary in a home of its own.

use boca_api::Client;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon that ends with this value.
pub(crate) struct Daemon {
    child: Child,
    home: TempDir,
}

impl Daemon {
    /// Starts it and waits until everybody was looked at.
    pub(crate) async fn start(config: &str) -> Self {
        let home = tempfile::Builder::new().prefix("boca").tempdir_in("/tmp").unwrap();
        let file = home.path().join("boca.toml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_boca"))
            .args(["serve", "--log-level", "error", "--config"])
            .arg(&file)
            .env_clear()
            .env("HOME", home.path())
            .env("BOCA_SOCKET", home.path().join("s"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { child, home };
        let give_up = Instant::now() + PATIENCE;
        while !daemon.is_settled().await {
            assert!(Instant::now() < give_up, "the daemon is not ready in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        daemon
    }

    async fn is_settled(&self) -> bool {
        let Ok(status) = self.client().status().await else { return false };
        let is_ready = self.client().ready().await.is_ok_and(|reply| reply.body.ready);
        is_ready && status.body.providers.iter().all(|provider| provider.availability != "unknown")
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let socket: PathBuf = self.home.path().join("s");
        Client::new(socket)
    }

    /// The most memory that it ever had; 0 where the system does not tell.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let field = |text: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches("kB").trim().parse().ok()
        };
        status.ok().as_deref().and_then(field).unwrap_or(0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}
