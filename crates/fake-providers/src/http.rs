//! Just enough of HTTP/1.1 to be a server for tests, by hand: resets, stalls and torn bodies need the raw socket.

use crate::seen::Seen;
use std::io;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The most bytes of a request's body.
const MAX_BODY_BYTES: usize = 64 << 20;

/// Reads the next request; `None` when the peer closed instead. `buffer` keeps what was read too far. Number of the
/// connection and time are the caller's to say.
pub(crate) async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Seen>> {
    let head_end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > MAX_HEAD_BYTES {
            return Err(io::Error::other("the head of the request is too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    buffer.drain(..head_end + 4);
    let mut request = parse_head(&head).ok_or_else(|| io::Error::other("this is no HTTP"))?;
    if request.header("transfer-encoding").is_some_and(|encoding| encoding.contains("chunked")) {
        request.body = read_chunked(stream, buffer).await?;
        return Ok(Some(request));
    }
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0_usize);
    fill(stream, buffer, length).await?;
    request.body = buffer.drain(..length).collect();
    Ok(Some(request))
}

async fn read_chunked(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = loop {
            match find(buffer, b"\r\n") {
                Some(at) => break at,
                None => fill(stream, buffer, buffer.len() + 1).await?,
            }
        };
        let size = String::from_utf8_lossy(&buffer[..line_end]).into_owned();
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| io::Error::other("a chunk without a size"))?;
        buffer.drain(..line_end + 2);
        fill(stream, buffer, size + 2).await?;
        body.extend(buffer.drain(..size + 2).take(size));
        if size == 0 {
            return Ok(body);
        }
        if body.len() > MAX_BODY_BYTES {
            return Err(io::Error::other("the body of the request is too long"));
        }
    }
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    if length > MAX_BODY_BYTES {
        return Err(io::Error::other("the body of the request is too long"));
    }
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn parse_head(head: &str) -> Option<Seen> {
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target, version) = (first.next()?, first.next()?, first.next()?);
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers =
        headers.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect();
    Some(Seen {
        connection: 0,
        method: method.into(),
        path: path.into(),
        query: query.into(),
        headers,
        body: Vec::new(),
        at: Instant::now(),
        is_answered: false,
        client_hung_up: false,
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The bytes of a whole response.
pub(crate) fn whole(status: u16, content_type: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(status, content_type, headers);
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The head of a response whose body comes in chunks.
pub(crate) fn chunked_head(content_type: &str) -> Vec<u8> {
    let mut bytes = head(200, content_type, &[]);
    bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    bytes
}

/// One chunk of a body.
pub(crate) fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// The end of a body in chunks.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn head(status: u16, content_type: &str, headers: &[(String, String)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\n", reason(status));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
