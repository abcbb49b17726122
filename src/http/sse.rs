//! Writing a streamed answer: server-sent events, with a sign of life while nothing happens.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Clients take a connection for dead after some multiple of this; the contract promises at most 10 s.
pub(super) const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(8);

/// The bytes of a stream of events: `first`, then what `encode` makes of each event, up to and with the one for which
/// it says that it is the last. Without events `first` is all. A comment goes out whenever nothing else did for a while.
pub(super) fn body<E: 'static>(
    first: String,
    events: Option<mpsc::Receiver<E>>,
    encode: impl FnMut(E) -> Encoded + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> + 'static {
    let state = State { first: Some(first), events, encode };
    stream::unfold(state, |mut state| async move {
        if let Some(first) = state.first.take() {
            return Some((Ok(Bytes::from(first)), state));
        }
        let quiet_until = Instant::now() + KEEP_ALIVE_EVERY;
        loop {
            let events = state.events.as_mut()?;
            let Ok(event) = timeout_at(quiet_until, events.recv()).await else {
                return Some((Ok(Bytes::from_static(boca_api::sse::KEEP_ALIVE.as_bytes())), state));
            };
            match (state.encode)(event?) {
                Encoded::Nothing => {}
                Encoded::Event(text) => return Some((Ok(Bytes::from(text)), state)),
                Encoded::Last(text) => {
                    state.events = None;
                    return Some((Ok(Bytes::from(text)), state));
                }
            }
        }
    })
}

/// What becomes of one event.
pub(super) enum Encoded {
    /// It does not concern the client.
    Nothing,
    /// It is sent.
    Event(String),
    /// It is sent, and the stream is over.
    Last(String),
}

struct State<E, F> {
    first: Option<String>,
    /// `None` after the last event.
    events: Option<mpsc::Receiver<E>>,
    encode: F,
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_and_the_last_event_ends_it() {
        let (sender, events) = mpsc::channel(4);
        let encode = |event: u8| match event {
            0 => Encoded::Nothing,
            9 => Encoded::Last("last".into()),
            n => Encoded::Event(n.to_string()),
        };
        let mut body = Box::pin(body("first".into(), Some(events), encode));
        let mut next = async || String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap();
        assert_eq!(next().await, "first");
        for event in [0, 1] {
            sender.send(event).await.unwrap();
        }
        assert_eq!(next().await, "1");
        let before = Instant::now();
        assert_eq!(next().await, ": keep-alive\n\n");
        assert_eq!(next().await, ": keep-alive\n\n");
        assert!(before.elapsed() <= Duration::from_secs(20));
        sender.send(9).await.unwrap();
        assert_eq!(next().await, "last");
        assert!(body.next().await.is_none());
        assert!(sender.is_closed(), "whoever sends is told that nobody listens any more");
    }
}
