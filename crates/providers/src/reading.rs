//! The response of one attempt, read piece by piece.

use crate::decode::{Decode, Ending, Flow, check_not_empty};
use crate::fault::Fault;
use crate::frame::{Framing, too_large};
use crate::ndjson::NdjsonDecoder;
use crate::sse::SseFrames;
use crate::transport::{Transport, content_type, not_begun, stopped};
use crate::{AttemptClass, AttemptError, AttemptStream, Endpoint};
use boca_core::{GenerationEvent, GenerationSummary, GenerationUpdate, ProviderKind, Timings};
use futures_util::stream;
use reqwest::Response;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most bytes of one frame of a stream.
const MAX_FRAME_BYTES: usize = 8 << 20;
/// How long the rest of a stream is waited for when the reason of its end is known. Counts may follow; more text does
/// too where a server puts the reason into every piece, as early models of Gemini did.
const WAIT_FOR_COUNTS: Duration = Duration::from_secs(5);

/// Everything that belongs to a response that is being read. Dropping it closes the connection.
pub(crate) struct Reading {
    response: Response,
    framing: Framing,
    decoder: Box<dyn Decode>,
    transport: Transport,
    endpoint: Arc<Endpoint>,
    deadline: Instant,
    sent_at: Instant,
    last_byte_at: Instant,
    n_bytes: usize,
    first_event_at: Option<Instant>,
    last_event_at: Option<Instant>,
    has_content: bool,
    events: VecDeque<GenerationEvent>,
    /// The last update, which comes after the events that are still to be handed out.
    last: Option<Result<GenerationUpdate, AttemptError>>,
    is_over: bool,
}

impl Reading {
    /// Reads a response whose status is good.
    pub(crate) fn new(
        response: Response,
        decoder: Box<dyn Decode>,
        transport: Transport,
        endpoint: Arc<Endpoint>,
        deadline: Instant,
        sent_at: Instant,
    ) -> Result<Self, Fault> {
        let framing = framing(&response, endpoint.kind, transport.max_response_bytes())?;
        Ok(Self {
            response,
            framing,
            decoder,
            transport,
            endpoint,
            deadline,
            sent_at,
            last_byte_at: Instant::now(),
            n_bytes: 0,
            first_event_at: None,
            last_event_at: None,
            has_content: false,
            events: VecDeque::new(),
            last: None,
            is_over: false,
        })
    }

    /// The updates, one by one.
    pub(crate) fn into_stream(self) -> AttemptStream {
        AttemptStream::new(stream::unfold(self, |mut reading| async move {
            let update = reading.next().await?;
            Some((update, reading))
        }))
    }

    async fn next(&mut self) -> Option<Result<GenerationUpdate, AttemptError>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(GenerationUpdate::Event(event)));
            }
            if self.is_over {
                return self.last.take();
            }
            let step = match self.step().await {
                // Who has said why the answer ended has said everything; the rest of the stream is courtesy.
                Err(_) if self.decoder.is_complete() => Ok(Flow::Done),
                step => step,
            };
            match step {
                Ok(Flow::More) => {}
                Ok(Flow::Done) => {
                    let summary = self.finish();
                    self.end_with(summary.map(GenerationUpdate::Finished));
                }
                Err(fault) => self.end_with(Err(fault)),
            }
        }
    }

    /// Decodes a frame, or reads until there is one.
    async fn step(&mut self) -> Result<Flow, Fault> {
        if let Some(frame) = self.framing.pop() {
            let mut events = Vec::new();
            let flow = self.decoder.frame(frame, &mut events);
            self.note(events);
            return flow;
        }
        match self.piece().await? {
            Some(bytes) => {
                self.n_bytes = self.n_bytes.saturating_add(bytes.len());
                if self.n_bytes > self.transport.max_response_bytes() {
                    return Err(too_large(self.transport.max_response_bytes()));
                }
                self.framing.push(&bytes)?;
                Ok(Flow::More)
            }
            None => {
                self.framing.end();
                while let Some(frame) = self.framing.pop() {
                    let mut events = Vec::new();
                    let flow = self.decoder.frame(frame, &mut events);
                    self.note(events);
                    if flow? == Flow::Done {
                        break;
                    }
                }
                Ok(Flow::Done)
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<bytes::Bytes>, Fault> {
        let timeouts = self.transport.timeouts();
        let between_bytes = match self.decoder.is_complete() {
            true => timeouts.between_bytes.min(WAIT_FOR_COUNTS),
            false => timeouts.between_bytes,
        };
        let next = self.last_byte_at + between_bytes;
        let piece = if self.first_event_at.is_some() {
            let problem = || stopped(timeouts.between_bytes);
            self.transport.piece(&mut self.response, next, self.deadline, problem).await
        } else {
            // Many servers send the head, or an empty beginning, at once and then read the prompt or think.
            let first = self.sent_at + timeouts.first_byte;
            let problem = || not_begun(timeouts.first_byte.max(timeouts.between_bytes));
            self.transport.piece(&mut self.response, first.max(next), self.deadline, problem).await
        };
        self.last_byte_at = Instant::now();
        piece
    }

    fn note(&mut self, mut events: Vec<GenerationEvent>) {
        events.retain(|event| match event {
            GenerationEvent::Text(text) | GenerationEvent::Reasoning(text) => !text.is_empty(),
            _ => true,
        });
        if events.is_empty() {
            return;
        }
        let now = Instant::now();
        self.first_event_at.get_or_insert(now);
        self.last_event_at = Some(now);
        self.has_content |= events
            .iter()
            .any(|event| matches!(event, GenerationEvent::Text(_) | GenerationEvent::ToolCall(_)));
        self.events.extend(events);
    }

    fn finish(&mut self) -> Result<GenerationSummary, Fault> {
        let mut events = Vec::new();
        let ending = self.decoder.end(&mut events);
        self.note(events);
        let ending = match ending {
            // Nothing was cut off: the whole body is here, and nobody answered in it.
            Err(fault) if fault.class == AttemptClass::Connect && self.is_whole() && !self.has_content => {
                return Err(Fault::malformed("gave an empty answer"));
            }
            ending => ending?,
        };
        check_not_empty(&ending, self.has_content)?;
        Ok(self.summary(ending))
    }

    fn is_whole(&self) -> bool {
        matches!(self.framing, Framing::Whole { .. })
    }

    fn summary(&self, ending: Ending) -> GenerationSummary {
        let since_sent = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at - self.sent_at);
        let time_to_first_token = since_sent(self.first_event_at);
        let decode = since_sent(self.last_event_at).saturating_sub(time_to_first_token);
        GenerationSummary {
            finish_reason: ending.finish_reason,
            stop_sequence: ending.stop_sequence,
            usage: self.decoder.usage(),
            timings: Timings {
                queue: ending.queue.unwrap_or_default(),
                prefill: ending.prefill.unwrap_or(time_to_first_token),
                decode: ending.decode.unwrap_or(decode),
                time_to_first_token,
                total: self.sent_at.elapsed(),
            },
        }
    }

    fn end_with(&mut self, last: Result<GenerationUpdate, Fault>) {
        let usage = self.decoder.usage();
        let endpoint = &self.endpoint;
        self.last =
            Some(last.map_err(|fault| fault.of_provider(&endpoint.name, endpoint.key.as_ref(), usage)));
        self.is_over = true;
    }
}

/// How this response is cut into frames, by what it says of itself.
fn framing(response: &Response, kind: ProviderKind, max_response_bytes: usize) -> Result<Framing, Fault> {
    let max_frame_bytes = max_response_bytes.min(MAX_FRAME_BYTES);
    let sse = || Framing::Sse(SseFrames::new(max_frame_bytes));
    let ndjson = || Framing::Ndjson(NdjsonDecoder::new(max_frame_bytes));
    let Some(content_type) = content_type(response) else {
        return Err(Fault::malformed("answered without a content type"));
    };
    match content_type.to_ascii_lowercase().as_str() {
        "text/event-stream" => Ok(sse()),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(ndjson()),
        // Also from a server that does not stream although it was asked to.
        "application/json" => Ok(if kind == ProviderKind::Ollama { ndjson() } else { Framing::whole() }),
        // As it was written: in another case a key in it would not be found.
        _ => Err(Fault::malformed(format!("answered with content of the type `{content_type}`"))),
    }
}
