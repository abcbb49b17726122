//! The client's end of a streamed answer.

use crate::client::Connection;
use crate::client_error::ClientError;
use crate::sse::StreamEvent;
use boca_sse::{Decoder, Piece};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// The largest single event: a whole answer with log-probabilities of every token fits many times.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// The events of one answer. Dropping it closes the connection, which cancels the generation.
#[derive(Debug)]
pub struct EventStream {
    socket: PathBuf,
    body: Incoming,
    decoder: Decoder,
    silence: Duration,
    ended: bool,
    last_json: String,
    _connection: Connection,
}

impl EventStream {
    pub(crate) fn new(socket: PathBuf, body: Incoming, connection: Connection, silence: Duration) -> Self {
        let decoder = Decoder::new(MAX_EVENT_BYTES);
        Self {
            socket,
            body,
            decoder,
            silence,
            ended: false,
            last_json: String::new(),
            _connection: connection,
        }
    }

    /// The next event, `None` after the last one. Events that this version does not know are passed over. Safe to
    /// drop and call again: no event is lost.
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the connection ends before `done` or `error`, [`ClientError::Timeout`] when the
    /// daemon falls silent, [`ClientError::Protocol`] for bytes that make no sense. The stream is over after each.
    pub async fn next(&mut self) -> Result<Option<StreamEvent>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let next = self.next_event().await;
        self.ended = next.as_ref().map_or(true, StreamEvent::is_last);
        next.map(Some)
    }

    /// The JSON text of the event that [`next`](Self::next) gave last, as the daemon sent it.
    pub fn last_json(&self) -> &str {
        &self.last_json
    }

    async fn next_event(&mut self) -> Result<StreamEvent, ClientError> {
        loop {
            while let Some(piece) = self.decoder.pop() {
                let Piece::Event(event) = piece else { continue };
                match StreamEvent::decode(&event.name, &event.data) {
                    Ok(Some(decoded)) => {
                        self.last_json = event.data;
                        return Ok(decoded);
                    }
                    Ok(None) => {}
                    Err(error) => return Err(self.protocol(format!("event `{}`: {error}", event.name))),
                }
            }
            let Ok(piece) = timeout(self.silence, self.body.frame()).await else {
                return Err(ClientError::Timeout { what: "give a sign of life", after: self.silence });
            };
            match piece {
                Some(Ok(piece)) => {
                    if let Ok(bytes) = piece.into_data() {
                        let pushed = self.decoder.push(&bytes);
                        pushed.map_err(|error| self.protocol(error.to_string()))?;
                    }
                }
                Some(Err(source)) => return Err(ClientError::Closed { source: Some(source) }),
                None => return Err(ClientError::Closed { source: None }),
            }
        }
    }

    fn protocol(&self, message: String) -> ClientError {
        ClientError::Protocol { socket: self.socket.clone(), message }
    }
}
