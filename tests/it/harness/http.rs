//! A plain HTTP/1.1 client over the Unix socket that hides nothing: tests see status, headers and raw body, and can
//! send what a well-behaved client never would.

use super::patience::PATIENCE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    /// A header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// The answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Checks the shape of an error and its parts. Yields its message.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, code: &str, param: Option<&str>) -> String {
        let reply = self.expect(status);
        let json = reply.json();
        let error = &json["error"];
        assert_eq!(error["code"], code, "{reply:?}");
        assert_eq!(error["param"].as_str(), param, "{reply:?}");
        assert!(error["type"].as_str().is_some_and(|kind| kind.ends_with("_error")), "{reply:?}");
        assert!(json["response_time_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{reply:?}");
        assert!(reply.header("x-request-id").is_some_and(|id| !id.is_empty()), "{reply:?}");
        error["message"].as_str().unwrap().to_owned()
    }
}

/// One connection. Dropping it hangs up.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects; an error when nobody listens.
    pub(crate) fn open(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends bytes as they are. A server that refuses early may have hung up already.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap_or_default();
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).unwrap_or_default();
    }

    /// Sends a request whose body, if any, is declared as JSON.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: Option<&str>) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: boca\r\nconnection: close\r\n");
        if let Some(body) = body {
            request += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        request += "\r\n";
        self.send_raw((request + body.unwrap_or_default()).as_bytes());
    }

    /// Reads status and headers.
    pub(crate) fn read_head(&mut self) -> Reply {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.read_line();
            if line.is_empty() {
                return Reply { status, headers, body: String::new() };
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The status of the answer; `None` when the other side hung up instead.
    pub(crate) fn try_read_status(&mut self) -> Option<u16> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// Reads a whole answer.
    pub(crate) fn read_reply(&mut self) -> Reply {
        let mut reply = self.read_head();
        let mut body = Vec::new();
        if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.read_chunk() {
                body.extend(chunk);
            }
        } else if let Some(length) = reply.header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.stream.read_exact(&mut body).unwrap();
        } else {
            self.stream.read_to_end(&mut body).unwrap();
        }
        reply.body = String::from_utf8(body).unwrap();
        reply
    }

    /// Reads one chunk of a chunked body; `None` at its end, or when the other side hung up.
    pub(crate) fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.read_line();
        let size = usize::from_str_radix(&size, 16).ok()?;
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).ok()?;
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// The events of a body of server-sent events: name and JSON.
pub(crate) fn events(body: &str) -> Vec<(String, Value)> {
    let of_block = |block: &str| {
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start)
        };
        Some((field("event")?.to_owned(), serde_json::from_str(field("data")?).unwrap()))
    };
    body.replace("\r\n", "\n").split("\n\n").filter_map(of_block).collect()
}
