//! The Unix socket: whose it is, who may see it, and that there is one daemon on it.
//!
//! A lock file beside the socket decides which process it belongs to. Whoever holds the lock may take away a socket
//! that nobody answers on; a socket that somebody does answer on is never touched.

use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// macOS keeps 104 bytes for the path of a socket, Linux 108; both count a closing NUL.
const MAX_PATH_BYTES: usize = 103;
/// Connections that may wait to be taken.
const BACKLOG: i32 = 256;

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Another daemon has it.
    #[error("another daemon is using {}; stop it with `boca stop`, or use another `--socket`", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something is in the way that must not be removed.
    #[error("{} cannot be used as a socket: {reason}", path.display())]
    InTheWay {
        /// The socket.
        path: PathBuf,
        /// What is there.
        reason: String,
    },
    /// Others could put their own socket in its place.
    #[error("the directory {} is not safe for a socket: {reason}", path.display())]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// A socket that is listened on. Dropping it removes its file, unless the file is another one by now.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    /// `None` for a socket that the service manager made, and keeps.
    own: Option<OwnFile>,
}

#[derive(Debug)]
struct OwnFile {
    device: u64,
    inode: u64,
    _lock: File,
}

impl BoundSocket {
    /// Takes the socket that the service manager passed, else makes one at `path`.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub(crate) fn acquire(path: &Path) -> Result<Self, ListenError> {
        match passed_by_service_manager(path)? {
            Some(socket) => Ok(socket),
            None => Self::bind(path),
        }
    }

    /// Makes a socket at `path`, with mode 0600, in a directory that is made with mode 0700.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub(crate) fn bind(path: &Path) -> Result<Self, ListenError> {
        let n_bytes = path.as_os_str().len();
        if n_bytes > MAX_PATH_BYTES {
            let reason = format!("its path must be at most {MAX_PATH_BYTES} bytes long, got {n_bytes}");
            return Err(ListenError::InTheWay { path: path.to_owned(), reason });
        }
        prepare_directory(path)?;
        let lock = take_lock(path)?;
        remove_stale(path)?;
        let listener = listen(path)?;
        let metadata = path.symlink_metadata().map_err(io_error("look at", path))?;
        let own = OwnFile { device: metadata.dev(), inode: metadata.ino(), _lock: lock };
        Ok(Self { listener, path: path.to_owned(), own: Some(own) })
    }

    /// Where clients find it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle of the listener, for a server to own.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let Some(own) = &self.own else { return };
        let there = self.path.symlink_metadata();
        if there.is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (own.device, own.inode))
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

fn passed_by_service_manager(configured: &Path) -> Result<Option<BoundSocket>, ListenError> {
    let mut passed = listenfd::ListenFd::from_env();
    if passed.len() == 0 {
        return Ok(None);
    }
    if passed.len() > 1 {
        let reason = format!("the service manager passed {} sockets, expected one", passed.len());
        return Err(ListenError::InTheWay { path: configured.to_owned(), reason });
    }
    let listener = passed.take_unix_listener(0).map_err(io_error("take over the passed", configured))?;
    let Some(listener) = listener else { return Ok(None) };
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    Ok(Some(BoundSocket { listener, path: path.unwrap_or_else(|| configured.to_owned()), own: None }))
}

fn prepare_directory(path: &Path) -> Result<(), ListenError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io_error("create the directory", directory))?;
    let metadata = directory.metadata().map_err(io_error("look at", directory))?;
    let own = rustix::process::geteuid().as_raw();
    let unsafe_because =
        |reason: String| Err(ListenError::UnsafeDirectory { path: directory.to_owned(), reason });
    if metadata.uid() != own && metadata.uid() != 0 {
        return unsafe_because(format!("it belongs to user {}, not to user {own}", metadata.uid()));
    }
    let mode = metadata.mode();
    let others_may_write = mode & 0o022 != 0;
    let only_owners_remove = mode & 0o1000 != 0;
    if others_may_write && !only_owners_remove {
        return unsafe_because(format!("others may write to it (mode {:04o})", mode & 0o7777));
    }
    if metadata.uid() == own && mode & 0o077 != 0 {
        tracing::warn!(
            directory = %directory.display(), mode = format!("{:04o}", mode & 0o7777),
            "the socket's directory is open to others; 0700 is better"
        );
    }
    Ok(())
}

fn take_lock(path: &Path) -> Result<File, ListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(&lock_path)
        .map_err(io_error("open", &lock_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ListenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(ListenError::Io { action: "lock", path: lock_path, source }),
    }
}

/// Removes a socket of ours that nobody answers on. Only called under the lock.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error("look at", path)(source)),
    };
    let in_the_way = |reason: String| Err(ListenError::InTheWay { path: path.to_owned(), reason });
    if !metadata.file_type().is_socket() {
        return in_the_way("something that is not a socket is there".to_owned());
    }
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        return in_the_way(format!("a socket of user {} is there", metadata.uid()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing a socket that a dead daemon left");
            std::fs::remove_file(path).map_err(io_error("remove the stale socket", path))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // A full queue of connections has somebody behind it too.
        Ok(_) => Err(ListenError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(ListenError::InUse { path: path.to_owned() })
        }
        Err(source) => Err(io_error("connect to", path)(source)),
    }
}

/// Binds, sets the mode, and only then listens: before that nobody can connect.
fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |action| move |error: rustix::io::Errno| io_error(action, path)(error.into());
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)
        .map_err(failed("make a socket for"))?;
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(failed("prepare the socket for"))?;
    let address = SocketAddrUnix::new(path).map_err(failed("use the path"))?;
    rustix::net::bind(&socket, &address).map_err(failed("bind"))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io_error("protect", path))?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed("listen on"))?;
    Ok(UnixListener::from(socket))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ListenError {
    let path = path.to_owned();
    move |source| ListenError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn socket_and_directory_are_the_owners_alone() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run/boca/boca.sock");
        let socket = BoundSocket::bind(&path).unwrap();
        assert_eq!((mode_of(&path), mode_of(path.parent().unwrap())), (0o600, 0o700));
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_refused_and_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("boca.sock");
        let first = BoundSocket::bind(&path).unwrap();
        assert!(matches!(BoundSocket::bind(&path), Err(ListenError::InUse { .. })));
        UnixStream::connect(first.path()).unwrap();

        let other = base.path().join("without-lock.sock");
        let _listener = UnixListener::bind(&other).unwrap();
        assert!(matches!(BoundSocket::bind(&other), Err(ListenError::InUse { .. })));
        UnixStream::connect(&other).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("boca.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file, as a killed daemon does");
        let _socket = BoundSocket::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("boca.sock");
        std::fs::write(&path, "precious").unwrap();
        let refused = BoundSocket::bind(&path).unwrap_err();
        assert!(matches!(refused, ListenError::InTheWay { .. }), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_directory_that_others_write_to_is_refused_unless_it_is_sticky() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("open");
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
        let path = directory.join("s");
        assert!(matches!(BoundSocket::bind(&path), Err(ListenError::UnsafeDirectory { .. })));
        std::fs::set_permissions(&directory, Permissions::from_mode(0o1777)).unwrap();
        BoundSocket::bind(&path).unwrap();
    }

    #[test]
    fn a_successors_socket_is_not_removed() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("boca.sock");
        let socket = BoundSocket::bind(&path).unwrap();
        // Renamed and not removed, so that the new file cannot get the old one's inode.
        std::fs::rename(&path, base.path().join("aside")).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn a_path_that_no_system_takes_is_refused() {
        let path = Path::new("/tmp").join("x".repeat(100));
        assert!(
            BoundSocket::bind(&path).unwrap_err().to_string().contains("at most 103 bytes long, got 105")
        );
    }
}
