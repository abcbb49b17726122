//! What an engine has done since it was loaded.

use super::engine::{End, Engine};
use boca_core::{FinishReason, GeneratorLoad};

/// Counts that only ever grow.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) steps: u64,
    pub(super) prompt_tokens_computed: u64,
    pub(super) prompt_tokens_reused: u64,
    pub(super) generated_tokens: u64,
    pub(super) prefix_hits: u64,
    pub(super) prefix_misses: u64,
    pub(super) requests: u64,
    pub(super) cancelled: u64,
    pub(super) repetitions: u64,
}

impl Counters {
    /// A request begins whose first `n_cached` tokens need not be computed.
    pub(super) fn count_start(&mut self, n_cached: usize) {
        self.prompt_tokens_reused += n_cached as u64;
        if n_cached > 0 {
            self.prefix_hits += 1;
        } else {
            self.prefix_misses += 1;
        }
    }

    /// A step was computed with so many prompt tokens, and so many answers got a token.
    pub(super) fn count_step(&mut self, n_prompt: usize) {
        self.steps += 1;
        self.prompt_tokens_computed += n_prompt as u64;
    }

    /// A request has ended.
    pub(super) fn count_end(&mut self, end: &End) {
        match end.as_ref().map(|summary| summary.finish_reason) {
            Ok(FinishReason::Cancelled) => self.cancelled += 1,
            Ok(FinishReason::Repetition) => self.repetitions += 1,
            _ => {}
        }
    }
}

impl Engine {
    /// See [`GeneratorLoad`].
    pub(super) fn current_load(&self) -> GeneratorLoad {
        let Counters {
            steps,
            prompt_tokens_computed,
            prompt_tokens_reused,
            generated_tokens,
            prefix_hits,
            prefix_misses,
            requests,
            cancelled,
            repetitions,
        } = self.counters;
        let kv_bytes_per_token = self.backend.kv_bytes_per_token();
        GeneratorLoad {
            n_running: u32::try_from(self.running.len()).unwrap_or(u32::MAX),
            n_waiting: u32::try_from(self.waiting.len()).unwrap_or(u32::MAX),
            kv_bytes_in_use: self.backend.kv_bytes(),
            kv_bytes_promised: self.promised_bytes,
            kv_limit_bytes: self.config.kv_limit_bytes,
            kv_bytes_per_token,
            prefix_cache_bytes: self.kept_bytes(),
            prefix_cache_limit_bytes: self.config.prefix_cache_bytes,
            accelerator: self.backend.memory(),
            prefix_cache_tokens: self.cache.n_tokens() as u64,
            prefix_hits_total: prefix_hits,
            prefix_misses_total: prefix_misses,
            steps_total: steps,
            prompt_tokens_computed_total: prompt_tokens_computed,
            prompt_tokens_reused_total: prompt_tokens_reused,
            generated_tokens_total: generated_tokens,
            requests_total: requests,
            cancelled_total: cancelled,
            repetitions_total: repetitions,
            prefill_tokens_per_s: self.speed.prefill_tokens_per_s(),
            decode_tokens_per_s: self.speed.decode_tokens_per_s(),
        }
    }
}
