//! A home directory that no other test and no person uses.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The directories of one imaginary user.
#[derive(Debug)]
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    /// An empty home. Its path is short, because a socket's must be.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("boca").rand_bytes(8).tempdir_in("/tmp").unwrap();
        let home = Self { dir };
        std::fs::create_dir(home.path("run")).unwrap();
        home
    }

    /// A path below the home.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Where the daemon listens by default.
    pub(crate) fn socket(&self) -> PathBuf {
        if cfg!(target_os = "macos") {
            return self.path("Library/Application Support/boca/boca.sock");
        }
        self.path("run/boca/boca.sock")
    }

    /// A home whose model may repeat itself for as long as it likes, whatever else the config says.
    pub(crate) fn of_endless_answers() -> Self {
        let home = Self::new();
        let drop_in = home.config_file().with_extension("toml.d").join("endless.toml");
        home.write(&drop_in, "[model]\nloop_guard = false\n");
        home
    }

    /// Where the config file is looked for.
    pub(crate) fn config_file(&self) -> PathBuf {
        if cfg!(target_os = "macos") {
            return self.path("Library/Application Support/boca/boca.toml");
        }
        self.path(".config/boca/boca.toml")
    }

    /// Where sessions are kept by default.
    pub(crate) fn state_dir(&self) -> PathBuf {
        if cfg!(target_os = "macos") {
            return self.path("Library/Application Support/boca");
        }
        self.path(".local/state/boca")
    }

    /// Writes the config file.
    pub(crate) fn write_config(&self, text: &str) {
        self.write(&self.config_file(), text);
    }

    /// Writes a file and the directories above it.
    pub(crate) fn write(&self, path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The binary with nothing of the test's own environment, in this home.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_boca"), args)
    }

    /// Another program in this home.
    pub(crate) fn command_of(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

/// Standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
