//! Finds the daemon among the sockets where one may listen.

use crate::context::ClientContext;
use crate::ended::Ended;
use boca_api::{Client, ClientError};

/// A client for the first socket that answers; `None` when nobody listens on any of them.
///
/// # Errors
/// When nobody answers and one of the sockets could not be asked (no permission, for example): a daemon may well be
/// there, and starting another would not help.
pub(crate) async fn find(context: &ClientContext) -> Result<Option<Client>, ClientError> {
    let mut obstacle = None;
    for socket in &context.socket_candidates {
        let client = Client::new(socket);
        match client.listener_pid().await {
            Ok(_) => return Ok(Some(client)),
            Err(ClientError::NotRunning { .. }) => {}
            Err(error) => obstacle = obstacle.or(Some(error)),
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
