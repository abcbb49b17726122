//! The client's end of a body of lines.

use crate::client::Connection;
use crate::client_error::ClientError;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// The longest line: an answer of any length fits.
const MAX_LINE_BYTES: usize = 64 << 20;

/// The lines of a body as they come. Dropping it closes the connection.
#[derive(Debug)]
pub struct LineStream {
    socket: PathBuf,
    body: Incoming,
    /// What came and was not given out.
    text: Vec<u8>,
    silence: Duration,
    _connection: Connection,
}

impl LineStream {
    pub(crate) fn new(socket: PathBuf, body: Incoming, connection: Connection, silence: Duration) -> Self {
        Self { socket, body, text: Vec::new(), silence, _connection: connection }
    }

    /// The next line without its end, `None` after the last one. Empty lines, which are only a sign of life, are passed
    /// over, and so is a line that broke off. Safe to drop and call again.
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the connection breaks, [`ClientError::Timeout`] when the daemon falls silent,
    /// [`ClientError::Protocol`] for a line that is too long or no text.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        let mut n_searched = 0;
        loop {
            if let Some(end) = self.text[n_searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=n_searched + end).collect();
                n_searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let line = String::from_utf8(line).map_err(|error| self.protocol(error.to_string()))?;
                return Ok(Some(line.trim_end().to_owned()));
            }
            n_searched = self.text.len();
            if n_searched > MAX_LINE_BYTES {
                return Err(self.protocol(format!("a line is longer than {MAX_LINE_BYTES} bytes")));
            }
            let Ok(piece) = timeout(self.silence, self.body.frame()).await else {
                return Err(ClientError::Timeout { what: "give a sign of life", after: self.silence });
            };
            match piece {
                Some(Ok(piece)) => self.text.extend(piece.into_data().unwrap_or_default()),
                Some(Err(source)) => return Err(ClientError::Closed { source: Some(source) }),
                None => return Ok(None),
            }
        }
    }

    fn protocol(&self, message: String) -> ClientError {
        ClientError::Protocol { socket: self.socket.clone(), message }
    }
}
