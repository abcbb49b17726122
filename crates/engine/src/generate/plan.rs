//! What a request comes to: its prompt, its sampler, its bounds.

use super::decoding::Limits;
use super::engine::Engine;
use super::prefix_cache::Match;
use super::sampler::Sampler;
use crate::EngineError;
use crate::text::{ContinuedPrompt, Prompt, ThinkingState};
use boca_core::{GenerateRequest, Sampling, token_budget};
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
    /// A sequence that holds the beginning of the prompt already.
    pub(super) reuse: Option<Match>,
}

impl Engine {
    /// Decides everything about a request that does not need the backend.
    pub(super) fn plan(
        &mut self,
        request: &GenerateRequest,
        time_left: Option<Duration>,
    ) -> Result<Plan, EngineError> {
        request
            .sampling
            .check("")
            .map_err(|error| EngineError::InvalidRequest { param: error.field, message: error.message })?;
        let merged = request.sampling.clone().over(&self.config.defaults.sampling);
        let so_far = request.answer_so_far.as_str();
        // The time for thinking is over when an answer has begun.
        let no_thinking =
            !so_far.is_empty() || merged.thinking == Some(false) || merged.thinking_budget_tokens == Some(0);
        let thinking =
            !no_thinking && merged.thinking.unwrap_or_else(|| self.text.template().knows_thinking());
        let sampling = merged.resolve(thinking);
        self.check_bias(&sampling)?;
        let (prompt, n_answer) = if so_far.is_empty() {
            (self.text.prompt(&request.messages, &request.tools_json, thinking)?, 0)
        } else {
            let ContinuedPrompt { mut before, answer } =
                self.text.prompt_continuing(&request.messages, &request.tools_json, so_far)?;
            before.extend(&answer);
            (Prompt { ids: before, state: ThinkingState::Answer }, answer.len())
        };
        if prompt.ids.is_empty() {
            return Err(EngineError::InvalidRequest {
                param: "messages".into(),
                message: "`messages` must make a prompt of at least one token, got none".into(),
            });
        }
        let reuse = self.longest_match(&prompt.ids);
        let n_cached = reuse.map_or(0, |found| found.n_tokens);
        let max_tokens = self.budget(prompt.ids.len(), n_cached, n_answer, request, time_left)?;
        let before_answer = &prompt.ids[..prompt.ids.len() - n_answer];
        Ok(Plan {
            sampler: Sampler::new(sampling, before_answer, Arc::clone(&self.unknown_ids)),
            limits: Limits {
                max_tokens,
                thinking_tokens: if no_thinking { Some(0) } else { merged.thinking_budget_tokens },
                eos_ids: self.config.defaults.eos_token_ids.clone(),
                top_logprobs: request.top_logprobs,
            },
            state: prompt.state,
            reuse,
            prompt: prompt.ids,
            n_answer,
        })
    }

    fn check_bias(&self, sampling: &Sampling) -> Result<(), EngineError> {
        match sampling.logit_bias.iter().find(|(id, _)| !self.text.tokenizer().knows(*id)) {
            None => Ok(()),
            Some((id, _)) => Err(EngineError::InvalidRequest {
                param: "logit_bias".into(),
                message: format!(
                    "`logit_bias` must name tokens of the vocabulary, whose ids are below {}, got {id}",
                    self.text.tokenizer().n_ids()
                ),
            }),
        }
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
        let context_tokens = self.config.info.context_tokens;
        let n_answer = u32::try_from(n_answer).unwrap_or(u32::MAX);
        let left_of = |bound: u32| bound.max(1).saturating_sub(n_answer);
        let wanted = request.max_tokens.map_or(1, left_of);
        let n_prompt = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
        let context_left = context_tokens.saturating_sub(n_prompt);
        if context_left < wanted {
            return Err(EngineError::ContextExceeded {
                prompt_tokens: n_prompt,
                max_tokens: wanted,
                context_tokens,
            });
        }
        Ok(match request.max_tokens {
            Some(max_tokens) => left_of(max_tokens),
            None if left_of(request.default_max_tokens) == 0 => 0,
            None => {
                let for_decode = time_left
                    .map(|left| left.saturating_sub(self.speed.expected_prefill(prompt_tokens - n_cached)));
                let speed = self.speed.decode_tokens_per_s();
                token_budget(left_of(request.default_max_tokens), context_left, for_decode, speed)
            }
        })
    }
}
