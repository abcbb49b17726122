//! What one request uses: reserved by estimate, paid by the real count, and paid whatever becomes of the request.

use super::provider::Shared;
use boca_core::{Failure, GenerateRequest, GenerationEvent, ProviderUsage, Usage};
use std::sync::Arc;
use std::time::Duration;

/// A guess of how much text one token is. English has a little more, other languages less.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens that the template adds to each message.
const TOKENS_PER_MESSAGE: usize = 4;
/// An answer's length for a reservation, when the request allows more.
const USUAL_ANSWER_TOKENS: u32 = 512;

/// The bill of one request. Dropped unpaid, it is paid by estimate.
pub(super) struct Bill {
    shared: Arc<Shared>,
    /// Tokens of the prompt: an estimate, until the provider has counted them.
    prompt_tokens: u32,
    /// A guess of the answer's length.
    expected_tokens: u32,
    /// Text that came so far.
    received_bytes: usize,
    reasoning_bytes: usize,
    /// What is reserved and neither settled nor given back.
    reserved: Option<u32>,
    /// Whether an attempt was made, so that there is something to pay.
    is_sent: bool,
    retries: u64,
    /// What failed attempts used.
    wasted: ProviderUsage,
    is_paid: bool,
}

impl Bill {
    pub(super) fn new(shared: Arc<Shared>, request: &GenerateRequest) -> Self {
        let texts: usize = request
            .messages
            .iter()
            .map(|message| {
                let calls: usize =
                    message.tool_calls.iter().map(|call| call.name.len() + call.arguments_json.len()).sum();
                message.content.len() + calls
            })
            .sum();
        let tools: usize = request.tools_json.iter().map(String::len).sum();
        let bytes = texts + tools + request.answer_so_far.len();
        let prompt_tokens =
            tokens_of(bytes).saturating_add(as_u32(request.messages.len() * TOKENS_PER_MESSAGE));
        let at_most = request.max_tokens.unwrap_or(request.default_max_tokens);
        Self {
            shared,
            prompt_tokens,
            expected_tokens: at_most.min(USUAL_ANSWER_TOKENS),
            received_bytes: 0,
            reasoning_bytes: 0,
            reserved: None,
            is_sent: false,
            retries: 0,
            wasted: ProviderUsage::default(),
            is_paid: false,
        }
    }

    /// Reserves room in the rate limit; gives the time to wait for it.
    ///
    /// # Errors
    /// `ProviderUnavailable`, when the wait would be longer than `at_most`.
    pub(super) fn reserve(&mut self, at_most: Duration) -> Result<Duration, Failure> {
        let tokens = self.prompt_tokens.saturating_add(self.expected_tokens);
        let wait = self.shared.gate.reserve(tokens, at_most)?;
        self.reserved = Some(tokens);
        Ok(wait)
    }

    /// From now on something is to be paid.
    pub(super) fn sent(&mut self) {
        self.is_sent = true;
    }

    /// Notes what an event says about the tokens.
    pub(super) fn note(&mut self, event: &GenerationEvent) {
        match event {
            GenerationEvent::Started { prompt_tokens, .. } if *prompt_tokens > 0 => {
                self.prompt_tokens = *prompt_tokens;
            }
            GenerationEvent::Text(text) => self.received_bytes += text.len(),
            GenerationEvent::Reasoning(text) => self.reasoning_bytes += text.len(),
            GenerationEvent::ToolCall(call) => {
                self.received_bytes += call.name.len() + call.arguments_json.len();
            }
            GenerationEvent::ContextCut(_)
            | GenerationEvent::Started { .. }
            | GenerationEvent::Logprobs(_) => {}
        }
    }

    /// A failed attempt is followed by another.
    pub(super) fn retry(&mut self, used: Usage) {
        self.retries += 1;
        self.wasted.add(&self.priced(&used));
        // Nothing has come: an attempt that has said something is not followed by another.
        self.settle(total(&used));
    }

    /// The answer is complete. Gives the tokens: those that the provider counted, or an estimate.
    pub(super) fn pay(&mut self, counted: Usage) -> Usage {
        if total(&counted) == 0 {
            return self.pay_by_estimate();
        }
        self.close(counted, ProviderUsage::default());
        counted
    }

    /// The answer was cut off before the provider had counted.
    pub(super) fn pay_by_estimate(&mut self) -> Usage {
        let usage = self.estimate();
        self.close(usage, ProviderUsage { estimated: 1, ..Default::default() });
        usage
    }

    /// The request failed for good.
    pub(super) fn fail(&mut self, counted: Usage) {
        let mut note = ProviderUsage { failures: 1, ..Default::default() };
        let mut usage = counted;
        if total(&counted) == 0 && self.received_bytes + self.reasoning_bytes > 0 {
            usage = self.estimate();
            note.estimated = 1;
        }
        self.close(usage, note);
    }

    /// The provider took the request and fell silent: it has probably read the prompt.
    pub(super) fn fail_unanswered(&mut self) {
        let usage = self.estimate();
        self.close(usage, ProviderUsage { failures: 1, estimated: 1, ..Default::default() });
    }

    fn estimate(&self) -> Usage {
        let reasoning_tokens = tokens_of(self.reasoning_bytes);
        Usage {
            prompt_tokens: self.prompt_tokens,
            cached_tokens: 0,
            completion_tokens: tokens_of(self.received_bytes).saturating_add(reasoning_tokens),
            reasoning_tokens,
        }
    }

    fn close(&mut self, usage: Usage, note: ProviderUsage) {
        self.is_paid = true;
        let mut sum = ProviderUsage { requests: 1, retries: self.retries, ..note };
        sum.add(&self.wasted);
        sum.add(&self.priced(&usage));
        self.settle(total(&usage));
        self.shared.gate.count_use(&sum);
    }

    fn priced(&self, usage: &Usage) -> ProviderUsage {
        let cost = self.shared.settings.prices.map(|prices| prices.cost(usage)).unwrap_or_default();
        ProviderUsage { cost, ..ProviderUsage::of_tokens(usage) }
    }

    fn settle(&mut self, real: u32) {
        if let Some(reserved) = self.reserved.take() {
            self.shared.gate.settle(reserved, real);
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        if self.is_paid {
            return;
        }
        if self.is_sent {
            // The asker has gone away: the provider may have read the prompt, and has written what came.
            self.pay_by_estimate();
        } else if let Some(reserved) = self.reserved.take() {
            self.shared.gate.give_back(reserved);
        }
    }
}

fn total(usage: &Usage) -> u32 {
    usage.prompt_tokens.saturating_add(usage.completion_tokens)
}

fn tokens_of(bytes: usize) -> u32 {
    as_u32(bytes.div_ceil(BYTES_PER_TOKEN))
}

fn as_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
