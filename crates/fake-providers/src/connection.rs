//! One connection: requests are read, answered and written down until either side closes.

use crate::exchange::{After, answer};
use crate::http;
use crate::seen::Seen;
use crate::server::Shared;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A socket that can be reset.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes closing it a reset, where its kind knows such a thing.
    fn reset_when_closed(&self);
}

impl Socket for TcpStream {
    fn reset_when_closed(&self) {
        // Without it the test sees a close, and fails with a clear message.
        drop(self.set_zero_linger());
    }
}

impl Socket for UnixStream {
    fn reset_when_closed(&self) {}
}

/// The client closed the connection in the middle of an answer.
#[derive(Debug)]
pub(crate) struct HungUp;

/// A socket with what was read too far.
pub(crate) struct Connection<S> {
    pub(crate) socket: S,
    buffer: Vec<u8>,
}

impl<S: Socket> Connection<S> {
    /// Writes all bytes at once.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), HungUp> {
        let written = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        written.await.map_err(|_: io::Error| HungUp)
    }

    /// Waits, and notices when the client does not.
    pub(crate) async fn wait(&mut self, time: Duration) -> Result<(), HungUp> {
        if time.is_zero() {
            return Ok(());
        }
        self.watch(tokio::time::sleep(time)).await
    }

    /// Waits until the client gives up.
    pub(crate) async fn stall(&mut self) -> HungUp {
        match self.watch(std::future::pending::<()>()).await {
            Err(hung_up) => hung_up,
            Ok(()) => HungUp,
        }
    }

    async fn watch(&mut self, work: impl Future<Output = ()>) -> Result<(), HungUp> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return Ok(()),
                read = self.socket.read_buf(&mut self.buffer) => match read {
                    Ok(0) | Err(_) => return Err(HungUp),
                    Ok(_) => {}
                },
            }
        }
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve<S: Socket>(socket: S, shared: Arc<Shared>) {
    let number = shared.next_connection();
    let mut connection = Connection { socket, buffer: Vec::new() };
    while let Ok(Some(request)) = http::read_request(&mut connection.socket, &mut connection.buffer).await {
        let seen = Seen { connection: number, at: Instant::now(), ..request };
        let place = shared.note(seen.clone());
        match answer(&mut connection, &seen, &shared).await {
            Ok(after) => {
                shared.amend(place, |seen| seen.is_answered = true);
                match after {
                    After::KeepAlive => {}
                    After::Close => break,
                    After::Reset => {
                        connection.socket.reset_when_closed();
                        break;
                    }
                }
            }
            Err(HungUp) => {
                shared.amend(place, |seen| seen.client_hung_up = true);
                break;
            }
        }
    }
}
