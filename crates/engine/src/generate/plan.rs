//! What a request comes to: its prompt, its sampler, its bounds.

use super::decoding::Limits;
use super::engine::Engine;
use super::sampler::Sampler;
use crate::EngineError;
use crate::prompts::left_of;
use boca_core::{GenerateRequest, PreparedPrompt, ThinkingState, token_budget};
use std::sync::Arc;
use std::time::Duration;

/// A request that fits, with everything decided.
pub(super) struct Plan {
    /// All that is computed before the first token, the answer so far included.
    pub(super) prompt: Vec<u32>,
    /// How many of its last tokens are the answer so far.
    pub(super) n_answer: usize,
    pub(super) sampler: Sampler,
    pub(super) limits: Limits,
    pub(super) state: ThinkingState,
}

impl Engine {
    /// Decides everything about a request that does not need the backend.
    pub(super) fn plan(
        &mut self,
        request: &GenerateRequest,
        time_left: Option<Duration>,
    ) -> Result<Plan, EngineError> {
        let wishes = self.prompts.wishes(request)?;
        let PreparedPrompt { ids: prompt, n_answer, state, .. } = self.prompts.prompt(request, &wishes)?;
        let n_cached = self.longest_match(&prompt).map_or(0, |found| found.n_tokens);
        let max_tokens = self.budget(prompt.len(), n_cached, n_answer, request, time_left)?;
        let before_answer = &prompt[..prompt.len() - n_answer];
        let sampling = wishes.sampling.resolve(wishes.thinking);
        Ok(Plan {
            sampler: Sampler::new(sampling, before_answer, Arc::clone(&self.unknown_ids)),
            limits: Limits {
                max_tokens,
                thinking_tokens: wishes.thinking_tokens,
                eos_ids: self.config.defaults.eos_token_ids.clone(),
                top_logprobs: request.top_logprobs,
                ends_loops: self.config.loop_guard,
            },
            state,
            prompt,
            n_answer,
        })
    }

    /// The tokens that this generation may take. Those of the answer so far count towards the bound of the answer;
    /// 0 when they have spent it.
    fn budget(
        &self,
        prompt_tokens: usize,
        n_cached: usize,
        n_answer: usize,
        request: &GenerateRequest,
        time_left: Option<Duration>,
    ) -> Result<u32, EngineError> {
        let context_left = self.prompts.context_left(prompt_tokens, n_answer, request.max_tokens)?;
        let n_prompt = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
        let kv_tokens = u32::try_from(self.kv_tokens()).unwrap_or(u32::MAX);
        let wanted = request.max_tokens.map_or(1, |bound| left_of(bound, n_answer));
        let kv_left = kv_tokens.saturating_sub(n_prompt);
        if kv_left < wanted {
            return Err(EngineError::KvExceeded { prompt_tokens: n_prompt, max_tokens: wanted, kv_tokens });
        }
        let context_left = context_left.min(kv_left);
        Ok(match request.max_tokens {
            Some(max_tokens) => left_of(max_tokens, n_answer),
            None => match left_of(request.default_max_tokens, n_answer) {
                0 => 0,
                bound => {
                    let for_decode = time_left.map(|left| {
                        left.saturating_sub(self.speed.expected_prefill(prompt_tokens - n_cached))
                    });
                    token_budget(bound, context_left, for_decode, self.speed.decode_tokens_per_s())
                }
            },
        })
    }
}
