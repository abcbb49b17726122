//! Who is at the other end of a connection, as the kernel says.

use actix_web::HttpRequest;
use actix_web::dev::Extensions;
use boca_core::{ErrorCode, Failure};
use std::any::Any;

/// The process that connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// The user it ran as when it connected. What access is decided by.
    pub(super) uid: u32,
    /// For the log, and for taking turns: the process may be gone, and its number another's.
    pub(super) pid: Option<i32>,
}

/// Notes the peer of a new connection.
pub(super) fn note(connection: &dyn Any, data: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::UnixStream>() else { return };
    match stream.peer_cred() {
        Ok(credentials) => {
            data.insert(Peer { uid: credentials.uid(), pid: credentials.pid() });
        }
        Err(error) => tracing::warn!(%error, "the peer of a connection is unknown, so it is refused"),
    }
}

/// Who asks, for taking turns with others.
pub(super) fn client(request: &HttpRequest) -> Option<String> {
    let peer = request.conn_data::<Peer>()?;
    Some(format!("{}/{}", peer.uid, peer.pid.unwrap_or_default()))
}

/// Lets in the daemon's own user, root, and those that the configuration names.
///
/// # Errors
/// `Forbidden` for everyone else, and for a peer that the kernel did not name.
pub(super) fn check(peer: Option<&Peer>, own_uid: u32, allowed: &[u32]) -> Result<(), Failure> {
    match peer {
        Some(peer) if peer.uid == own_uid || peer.uid == 0 || allowed.contains(&peer.uid) => Ok(()),
        Some(peer) => {
            tracing::warn!(uid = peer.uid, pid = peer.pid, "refused a connection of another user");
            let message =
                format!("user {} may not use this socket, which belongs to user {own_uid}", peer.uid);
            Err(Failure::new(ErrorCode::Forbidden, message))
        }
        None => Err(Failure::new(ErrorCode::Forbidden, "the user of this connection is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_root_and_named_users_come_in() {
        let peer = |uid| Peer { uid, pid: None };
        for uid in [1000, 0, 77] {
            assert_eq!(check(Some(&peer(uid)), 1000, &[77]), Ok(()), "{uid}");
        }
        for stranger in [Some(peer(1001)), None] {
            assert_eq!(check(stranger.as_ref(), 1000, &[77]).unwrap_err().code, ErrorCode::Forbidden);
        }
        assert!(check(Some(&peer(1000)), 0, &[]).is_err(), "root's daemon is root's alone");
    }
}
