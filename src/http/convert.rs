//! From the types of boca to those of the wire.

use super::error;
use boca_api as api;
use boca_api::millis;
use boca_core::{
    Answer, ContextCut, FusionTrace, LoadProgress, MicroUsd, ModelInfo, SamplingOverrides, SourceAnswer,
    SourceRole, SourceTrace, Timings, TokenLogprob, TurnSummary, Usage,
};

pub(crate) fn usage(usage: &Usage) -> api::Usage {
    api::Usage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        prompt_tokens_details: api::PromptTokensDetails { cached_tokens: usage.cached_tokens },
        completion_tokens: usage.completion_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
    }
}

pub(super) fn timings(timings: &Timings, usage: &Usage) -> api::Timings {
    api::Timings {
        queue_ms: millis(timings.queue),
        prefill_ms: millis(timings.prefill),
        decode_ms: millis(timings.decode),
        time_to_first_token_ms: millis(timings.time_to_first_token),
        total_ms: millis(timings.total),
        prefill_tokens_per_s: timings.prefill_tokens_per_s(usage),
        decode_tokens_per_s: timings.decode_tokens_per_s(usage),
    }
}

pub(super) fn source_trace(trace: &SourceTrace) -> api::SourceTrace {
    api::SourceTrace {
        provider: trace.provider.clone(),
        model: trace.model.clone(),
        role: trace.role.as_str().to_owned(),
        state: trace.state.as_str().to_owned(),
        began_ms: millis(trace.began),
        first_token_ms: trace.first_token.map(millis),
        ended_ms: trace.ended.map(millis),
        usage: usage(&trace.usage),
        cost_usd: trace.cost.map(MicroUsd::usd),
        error: trace.failure.as_ref().map(error::detail),
        context_cut: trace.context_cut.as_deref().map(context_cut).map(Box::new),
    }
}

/// What a source answered without.
pub(crate) fn context_cut(cut: &ContextCut) -> api::ContextCut {
    api::ContextCut {
        first_turn: cut.first_turn,
        last_turn: cut.last_turn,
        n_turns: cut.n_turns,
        whole_tokens: cut.whole_tokens,
        summary: cut.summary.clone().map(|summary| turn_summary(summary, None)),
        no_summary: cut.no_summary.clone(),
    }
}

pub(super) fn turn_summary(summary: TurnSummary, created_unix_ms: Option<u64>) -> api::TurnSummary {
    let TurnSummary { before_turn, text, model } = summary;
    api::TurnSummary { before_turn, text, model, created_unix_ms }
}

/// How an answer came about.
pub(super) fn trace(fusion: &FusionTrace, sources: &[SourceTrace], private: bool) -> api::Trace {
    let costs: Vec<MicroUsd> = sources.iter().filter_map(|source| source.cost).collect();
    let cost = costs.iter().fold(MicroUsd::default(), |sum, cost| sum.saturating_add(*cost));
    api::Trace {
        sources: sources.iter().map(source_trace).collect(),
        mode: fusion.mode.clone(),
        strategy: fusion.strategy.map(|strategy| strategy.as_str().to_owned()),
        chosen: fusion.chosen.clone(),
        judged_by: fusion.judged_by.clone(),
        agreement: fusion.agreement,
        reasons: fusion.reasons.clone(),
        seam: fusion.seam.as_ref().map(|seam| api::Seam {
            at_byte: seam.at_byte,
            from: seam.from.clone(),
            to: seam.to.clone(),
        }),
        cost_usd: (!costs.is_empty()).then(|| cost.usd()),
        private,
    }
}

/// Whole answers with the models that wrote them.
pub(super) fn whole_answers(answers: &[SourceAnswer], sources: &[SourceTrace]) -> Vec<api::SourceAnswer> {
    let model_of = |provider: &str| {
        let of_provider =
            |source: &&SourceTrace| source.provider == provider && source.role == SourceRole::Answer;
        sources.iter().find(of_provider).and_then(|source| source.model.clone())
    };
    let answer = |answer: &SourceAnswer| api::SourceAnswer {
        source: answer.provider.clone(),
        model: model_of(&answer.provider),
        response: answer.text.clone(),
        finish_reason: answer.finish_reason.as_str().to_owned(),
        usage: usage(&answer.usage),
    };
    answers.iter().map(answer).collect()
}

/// The answers of everyone who was asked. With one provider the answer is that one's.
pub(super) fn source_answers(answer: &Answer) -> Vec<api::SourceAnswer> {
    if !answer.answers.is_empty() {
        return whole_answers(&answer.answers, &answer.sources);
    }
    vec![api::SourceAnswer {
        source: answer.model_used.clone(),
        model: None,
        response: answer.text.clone(),
        finish_reason: answer.finish_reason.as_str().to_owned(),
        usage: usage(&answer.usage),
    }]
}

pub(super) fn logprob(token: &TokenLogprob) -> api::TokenLogprob {
    api::TokenLogprob {
        token: token.chosen.token.clone(),
        bytes: token.chosen.bytes.clone(),
        logprob: token.chosen.logprob,
        top_logprobs: token
            .top
            .iter()
            .map(|top| api::TopLogprob {
                token: top.token.clone(),
                bytes: top.bytes.clone(),
                logprob: top.logprob,
            })
            .collect(),
    }
}

pub(super) fn load_progress(progress: &LoadProgress) -> api::LoadProgress {
    let phase = match progress.phase {
        boca_core::LoadPhase::Checking => "checking",
        boca_core::LoadPhase::Reading => "reading",
        boca_core::LoadPhase::WarmingUp => "warming_up",
    };
    api::LoadProgress {
        phase: phase.to_owned(),
        done_bytes: progress.done_bytes,
        total_bytes: progress.total_bytes,
        elapsed_ms: millis(progress.elapsed),
    }
}

pub(super) fn model_info(info: ModelInfo) -> api::ModelInfo {
    api::ModelInfo {
        name: info.name,
        is_demo: info.is_demo,
        source: info.source,
        architecture: info.architecture,
        n_parameters: info.n_parameters,
        n_active_parameters: info.n_active_parameters,
        weights_bytes: info.weights_bytes,
        quantization_bits: info.quantization.map(|quantization| quantization.bits),
        quantization_group_size: info.quantization.map(|quantization| quantization.group_size),
        n_layers: info.n_layers,
        n_experts: info.n_experts,
        n_experts_per_token: info.n_experts_per_token,
        vocab_size: info.vocab_size,
        context_tokens: info.context_tokens,
        kv_bytes_per_token: info.kv_bytes_per_token,
        recommended_sampling: sampling_fields(info.recommended_sampling),
        backend: info.backend,
        adapter: info.adapter.map(|adapter| api::AdapterInfo {
            name: adapter.name,
            source: adapter.source,
            kind: adapter.kind,
            rank: adapter.rank,
        }),
    }
}

macro_rules! copy_sampling {
    ($name:ident, $from:ty => $to:path) => {
        pub(super) fn $name(from: $from) -> $to {
            $to {
                temperature: from.temperature,
                top_p: from.top_p,
                top_k: from.top_k,
                min_p: from.min_p,
                repetition_penalty: from.repetition_penalty,
                presence_penalty: from.presence_penalty,
                frequency_penalty: from.frequency_penalty,
                seed: from.seed,
                logit_bias: from.logit_bias,
                max_tokens: from.max_tokens,
                thinking: from.thinking,
                thinking_budget_tokens: from.thinking_budget_tokens,
            }
        }
    };
}

copy_sampling!(sampling_fields, SamplingOverrides => api::sessions::SamplingFields);
copy_sampling!(sampling_overrides, api::sessions::SamplingFields => SamplingOverrides);
