//! One request and its response, good or bad.

use crate::behaviour::{Behaviour, Fault};
use crate::check;
use crate::connection::{Connection, HungUp, Socket};
use crate::http::{self, LAST_CHUNK};
use crate::protocol::{Exchange, Protocol, Trouble, Wanted};
use crate::seen::Seen;
use crate::server::Shared;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::Value;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It serves the next request.
    KeepAlive,
    /// It is closed.
    Close,
    /// It is reset.
    Reset,
}

const JSON: &str = "application/json; charset=UTF-8";
const HTML: &str = "<!DOCTYPE html><html><body>Please log in to this network.</body></html>";
/// Bytes of the text in each frame of a body without end.
const HUGE_PIECE_BYTES: usize = 16 << 10;

/// Answers one request.
pub(crate) async fn answer<S: Socket>(
    connection: &mut Connection<S>,
    seen: &Seen,
    shared: &Shared,
) -> Result<After, HungUp> {
    let body = seen.json();
    let Some((protocol, wanted)) = Protocol::of_request(seen, &body) else {
        let body = serde_json::json!({ "error": { "message": "no such path", "code": 404 } });
        return send_json(connection, 404, &[], &body).await;
    };
    let given = protocol.key(seen);
    if shared.key().is_some_and(|key| key != given) {
        return send_error(connection, protocol, &Trouble::BadKey { given }).await;
    }
    match wanted {
        Wanted::Models => {
            let behaviour = shared.probe().unwrap_or_default();
            connection.wait(behaviour.head_delay).await?;
            if let Some(after) = early_fault(connection, protocol, &behaviour).await? {
                return Ok(after);
            }
            let models = shared.models().unwrap_or_else(|| vec!["fake-model".into()]);
            send_json(connection, 200, &[], &protocol.models(&models)).await
        }
        Wanted::Count => send_json(connection, 200, &[], &protocol.count(&body)).await,
        Wanted::Ask { model, stream } => {
            let mut behaviour = shared.behaviour(seen);
            connection.wait(behaviour.head_delay).await?;
            if let Some(after) = early_fault(connection, protocol, &behaviour).await? {
                return Ok(after);
            }
            if shared.models().is_some_and(|models| !models.contains(&model)) {
                return send_error(connection, protocol, &Trouble::UnknownModel { model }).await;
            }
            if let Some(problem) = check::problem(protocol, &body) {
                return send_error(connection, protocol, &Trouble::BadRequest { problem }).await;
            }
            match behaviour.fault {
                Some(Fault::Safety(n)) => {
                    behaviour.answer.finish_reason = Some(protocol.safety_reason().into());
                    behaviour.answer.tokens.truncate(n);
                }
                Some(Fault::Empty) => behaviour.answer.tokens.clear(),
                _ => {}
            }
            let exchange = Exchange { model: &model, answer: &behaviour.answer, body: &body };
            if stream {
                stream_answer(connection, protocol, &exchange, &behaviour).await
            } else {
                send_whole(connection, protocol, &exchange, &behaviour).await
            }
        }
    }
}

/// Faults that need no answer.
async fn early_fault<S: Socket>(
    connection: &mut Connection<S>,
    protocol: Protocol,
    behaviour: &Behaviour,
) -> Result<Option<After>, HungUp> {
    let after = match &behaviour.fault {
        Some(Fault::Status(status)) => send_error(connection, protocol, &Trouble::Status(*status)).await?,
        Some(Fault::RateLimited { retry_after, as_date }) => {
            let trouble = Trouble::RateLimited { retry_after: *retry_after };
            let (status, mut headers, body) = protocol.error(&trouble);
            if let (true, Some(wait)) = (*as_date, *retry_after) {
                headers.retain(|(name, _)| name != "retry-after");
                headers
                    .extend(http_date(Timestamp::now() + wait).map(|date| ("retry-after".to_owned(), date)));
            }
            send_json(connection, status, &headers, &body).await?
        }
        Some(Fault::DailyQuota) => send_error(connection, protocol, &Trouble::DailyQuota).await?,
        Some(Fault::ContextTooLong) => send_error(connection, protocol, &Trouble::ContextTooLong).await?,
        Some(Fault::Raw { status, content_type, body }) => {
            connection.write(&http::whole(*status, content_type, &[], body.as_bytes())).await?;
            After::KeepAlive
        }
        Some(Fault::WrongContentType) => {
            connection.write(&http::whole(200, "text/html; charset=utf-8", &[], HTML.as_bytes())).await?;
            After::KeepAlive
        }
        Some(Fault::Redirect(to)) => {
            let headers = [("location".to_owned(), to.clone())];
            connection.write(&http::whole(302, "text/html", &headers, b"")).await?;
            After::KeepAlive
        }
        Some(Fault::Garbage) => {
            connection.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n").await?;
            After::Close
        }
        Some(Fault::CloseBeforeHead) => After::Close,
        _ => return Ok(None),
    };
    Ok(Some(after))
}

async fn stream_answer<S: Socket>(
    connection: &mut Connection<S>,
    protocol: Protocol,
    exchange: &Exchange<'_>,
    behaviour: &Behaviour,
) -> Result<After, HungUp> {
    connection.write(&http::chunked_head(protocol.stream_type())).await?;
    if let Some(Fault::Safety(0)) = behaviour.fault
        && let Some(blocked) = protocol.blocked_prompt(exchange, true)
    {
        connection.write(&http::chunk(&blocked)).await?;
        connection.write(LAST_CHUNK).await?;
        return Ok(After::KeepAlive);
    }
    let opening = protocol.opening(exchange);
    if !opening.is_empty() {
        connection.write(&http::chunk(&opening)).await?;
    }
    connection.wait(behaviour.first_token_delay).await?;
    for (at, text) in exchange.answer.reasoning.iter().enumerate() {
        connection.write(&http::chunk(&protocol.reasoning(exchange, at, text))).await?;
        connection.wait(behaviour.token_delay).await?;
    }
    for (at, text) in exchange.answer.tokens.iter().enumerate() {
        if let Some(after) = late_fault(connection, protocol, exchange, behaviour, at).await? {
            return Ok(after);
        }
        if at > 0 {
            connection.wait(behaviour.token_delay).await?;
        }
        connection.write(&http::chunk(&protocol.token(exchange, at, text))).await?;
    }
    let n_tokens = exchange.answer.tokens.len();
    if let Some(after) = late_fault(connection, protocol, exchange, behaviour, n_tokens).await? {
        return Ok(after);
    }
    connection.write(&http::chunk(&protocol.closing(exchange))).await?;
    if behaviour.fault == Some(Fault::StallAtEnd) {
        return Err(connection.stall().await);
    }
    connection.write(LAST_CHUNK).await?;
    Ok(After::KeepAlive)
}

/// Faults that hit after `at` pieces of text.
async fn late_fault<S: Socket>(
    connection: &mut Connection<S>,
    protocol: Protocol,
    exchange: &Exchange<'_>,
    behaviour: &Behaviour,
    at: usize,
) -> Result<Option<After>, HungUp> {
    // A fault beyond the end of the text hits at its end.
    let hits = |after: usize| at == after.min(exchange.answer.tokens.len());
    match &behaviour.fault {
        Some(Fault::Stall(after)) if hits(*after) => Err(connection.stall().await),
        Some(Fault::Reset(after)) if hits(*after) => {
            // What was sent before must be seen before the reset throws it away.
            connection.wait(Duration::from_millis(50)).await?;
            Ok(Some(After::Reset))
        }
        Some(Fault::HalfClose(after)) if hits(*after) => {
            // A failure to close is seen as the fault that did not happen.
            drop(connection.socket.shutdown().await);
            Err(connection.stall().await)
        }
        Some(Fault::Truncate(after)) if hits(*after) => {
            connection.write(LAST_CHUNK).await?;
            Ok(Some(After::KeepAlive))
        }
        Some(Fault::ErrorInStream(after, message)) if hits(*after) => {
            connection.write(&http::chunk(&protocol.error_in_stream(message))).await?;
            connection.write(LAST_CHUNK).await?;
            Ok(Some(After::KeepAlive))
        }
        Some(Fault::MalformedJson(after)) if hits(*after) => {
            connection.write(&http::chunk(&protocol.frame("{\"candidates\": [{\"cont"))).await?;
            connection.write(LAST_CHUNK).await?;
            Ok(Some(After::KeepAlive))
        }
        Some(Fault::Huge(bytes)) if at == 0 => {
            let piece = "x".repeat(HUGE_PIECE_BYTES);
            let n_pieces = bytes.div_ceil(HUGE_PIECE_BYTES as u64);
            for at in 0..n_pieces {
                let first_or_later = usize::from(at > 0);
                connection.write(&http::chunk(&protocol.token(exchange, first_or_later, &piece))).await?;
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// An answer that is not streamed. Faults that need a stream tear the body.
async fn send_whole<S: Socket>(
    connection: &mut Connection<S>,
    protocol: Protocol,
    exchange: &Exchange<'_>,
    behaviour: &Behaviour,
) -> Result<After, HungUp> {
    let n_waits = u32::try_from(exchange.answer.tokens.len().saturating_sub(1)).unwrap_or(u32::MAX);
    connection.wait(behaviour.first_token_delay + behaviour.token_delay.saturating_mul(n_waits)).await?;
    let mut body = protocol.whole(exchange).to_string();
    match &behaviour.fault {
        Some(Fault::Safety(0)) => body = protocol.blocked_prompt(exchange, false).unwrap_or(body),
        Some(Fault::MalformedJson(_)) => body.truncate(body.len() / 2),
        Some(Fault::Huge(bytes)) => {
            let spaces = usize::try_from(*bytes).unwrap_or(usize::MAX);
            body.push_str(&" ".repeat(spaces));
        }
        _ => {}
    }
    let response = http::whole(200, JSON, &[], body.as_bytes());
    match &behaviour.fault {
        Some(Fault::Stall(_) | Fault::HalfClose(_) | Fault::Reset(_) | Fault::Truncate(_)) => {
            connection.write(&response[..response.len() - body.len() / 2]).await?;
            match behaviour.fault {
                Some(Fault::Stall(_)) => Err(connection.stall().await),
                Some(Fault::Reset(_)) => {
                    connection.wait(Duration::from_millis(50)).await?;
                    Ok(After::Reset)
                }
                _ => Ok(After::Close),
            }
        }
        Some(Fault::ErrorInStream(..)) => send_error(connection, protocol, &Trouble::Status(500)).await,
        _ => {
            connection.write(&response).await?;
            Ok(After::KeepAlive)
        }
    }
}

async fn send_error<S: Socket>(
    connection: &mut Connection<S>,
    protocol: Protocol,
    trouble: &Trouble,
) -> Result<After, HungUp> {
    let (status, headers, body) = protocol.error(trouble);
    send_json(connection, status, &headers, &body).await
}

async fn send_json<S: Socket>(
    connection: &mut Connection<S>,
    status: u16,
    headers: &[(String, String)],
    body: &Value,
) -> Result<After, HungUp> {
    // Google's servers write errors over many lines.
    let body = if status == 200 { body.to_string() } else { format!("{body:#}") };
    connection.write(&http::whole(status, JSON, headers, body.as_bytes())).await?;
    Ok(After::KeepAlive)
}

/// The moment in the form of HTTP's headers (RFC 9110, section 5.6.7); `None` where that form has no word for it.
fn http_date(moment: Timestamp) -> Option<String> {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_http_wants_them() {
        let at = |seconds| http_date(Timestamp::from_second(seconds).unwrap()).unwrap();
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(1_709_164_800), "Thu, 29 Feb 2024 00:00:00 GMT");
    }
}
