//! Finds the daemon among the sockets where one may listen.

use crate::context::ClientContext;
use crate::ended::Ended;
use boca_api::{Client, ClientError};

/// A client for the first socket that answers; `None` when nobody listens on any of them.
///
/// # Errors
/// When nobody answers and the first socket, the one that a daemon of this user would have, could not be asked: a
/// daemon may well be there, and starting another would not help. That another user's socket cannot be asked is no
/// obstacle.
pub(crate) async fn find(context: &ClientContext) -> Result<Option<Client>, ClientError> {
    let mut obstacle = None;
    for (at, socket) in context.socket_candidates.iter().enumerate() {
        let client = Client::new(socket);
        match client.listener_pid().await {
            Ok(_) => return Ok(Some(client)),
            Err(ClientError::NotRunning { .. }) => {}
            Err(error) if at == 0 => obstacle = Some(error),
            Err(_) => {}
        }
    }
    obstacle.map_or(Ok(None), Err)
}

/// The same for commands that are of no use without a daemon.
///
/// # Errors
/// As [`find`], and [`Ended::NoDaemon`].
pub(crate) async fn require(context: &ClientContext) -> Result<Client, Ended> {
    find(context).await?.ok_or_else(|| Ended::NoDaemon(context.socket_candidates.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_daemon::{FakeDaemon, ok};

    #[tokio::test]
    async fn only_an_obstacle_at_the_first_socket_counts() {
        let daemon = FakeDaemon::not_yet();
        let mut context = daemon.context();
        // Longer than any socket's path may be: neither there nor surely not there.
        let impossible = daemon.dir().join("x".repeat(300));
        context.socket_candidates = vec![daemon.socket(), impossible.clone()];
        assert!(matches!(find(&context).await, Ok(None)));
        context.socket_candidates = vec![impossible, daemon.socket()];
        assert!(matches!(find(&context).await, Err(ClientError::Connect { .. })));
        daemon.listen(|_| ok("{}"));
        let found = find(&context).await.unwrap().unwrap();
        assert_eq!(found.socket(), daemon.socket());
    }
}
