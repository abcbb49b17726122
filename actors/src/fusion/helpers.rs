//! Judge and synthesizer.

use super::conductor::{Conductor, Stop};
use super::continue_answer::may_be_replaced;
use super::part::now;
use boca_core::fusion::{FusionPrompt, helper, judge_prompt, merge_prompt, read_verdict};
use boca_core::{Answer, Failure, GenerateRequest, ProviderKind, SamplingOverrides, SourceRole, Strategy};
use std::time::Duration;

/// A verdict is one short line of JSON.
const JUDGE_TOKENS: u32 = 256;

impl Conductor {
    /// Lets a judge choose among the good parts, given in the order of preference. Without a judge, or without a
    /// verdict, the preferred one is taken: its answer is good whatever became of the judge.
    pub(super) async fn judge(&mut self, good: &[usize]) -> Result<Answer, Stop> {
        self.trace.strategy = Some(Strategy::Select);
        let chosen = match self.ask_judge(good).await? {
            Ok(chosen) => chosen,
            Err(reason) => {
                let name = self.parts[good[0]].facts.name.clone();
                self.because(format!(
                    "there is no verdict: {reason}; the preferred answer, of `{name}`, is taken"
                ));
                good[0]
            }
        };
        self.answer_from(chosen).await
    }

    /// The part that the judge chose. The inner error says why there is no verdict.
    async fn ask_judge(&mut self, good: &[usize]) -> Result<Result<usize, String>, Stop> {
        let limit = self.question.settings.judge_for;
        let source = match self.helper(self.question.settings.judge.clone(), limit) {
            Ok(source) => source,
            Err(reason) => return Ok(Err(reason)),
        };
        let prompt = self.prompt(good, judge_prompt);
        let request = GenerateRequest {
            id: self.question.ask.generate.id.derived("judge"),
            messages: prompt.messages,
            tools_json: Vec::new(),
            sampling: SamplingOverrides { temperature: Some(0.0), ..self.unthinking(source) },
            max_tokens: None,
            default_max_tokens: JUDGE_TOKENS,
            answer_so_far: String::new(),
            stop: Vec::new(),
            top_logprobs: None,
            time_left: limit,
            priority: self.question.ask.generate.priority,
            is_read_whole: true,
            fairness_key: self.question.ask.generate.fairness_key.clone(),
            context: self.question.ask.generate.context.clone(),
            prepared: None,
        };
        let deadline = self.question.deadline.min(now() + limit);
        let place = self.ask_helper(source, request, SourceRole::Judge, deadline);
        let judge = self.parts[place].facts.name.clone();
        let end = match tokio::time::timeout_at(deadline.into(), self.read_to_end(place)).await {
            Ok(end) => end?.map_err(|failure| format!("`{judge}` failed as the judge: {failure}")),
            Err(_elapsed) => {
                self.cut_off_all_but(None);
                Err(format!("`{judge}` did not judge in time"))
            }
        };
        let verdict = end.and_then(|()| {
            let verdict = read_verdict(&self.parts[place].text, good.len());
            verdict.map_err(|error| format!("`{judge}`: {error}"))
        });
        Ok(verdict.map(|verdict| {
            let chosen = good[prompt.order[verdict.best - 1]];
            let name = self.parts[chosen].facts.name.clone();
            let why = if verdict.reason.is_empty() { String::new() } else { format!(": {}", verdict.reason) };
            self.because(format!("`{judge}` judged the answer of `{name}` to be the best{why}"));
            for part in good.iter().map(|place| &self.parts[*place].facts.name) {
                self.question.records.note_decision(part, *part == name);
            }
            self.trace.judged_by = Some(judge);
            chosen
        }))
    }

    /// Lets a synthesizer write one answer from the good parts, given in the order of preference, and shows it as it
    /// comes. When it fails and nobody can go on, the preferred one is taken.
    pub(super) async fn merge(&mut self, good: &[usize]) -> Result<Answer, Stop> {
        let why_not = match self.ask_synthesizer(good).await? {
            Ok(answer) => return Ok(answer),
            Err(reason) => reason,
        };
        self.trace.strategy = Some(Strategy::Select);
        let name = self.parts[good[0]].facts.name.clone();
        self.because(format!(
            "the answers are not merged: {why_not}; the preferred one, of `{name}`, is taken"
        ));
        self.answer_from(good[0]).await
    }

    async fn ask_synthesizer(&mut self, good: &[usize]) -> Result<Result<Answer, String>, Stop> {
        let time_left = self.question.deadline.saturating_duration_since(now());
        let source = match self.helper(self.question.settings.synthesizer.clone(), time_left) {
            Ok(source) => source,
            Err(reason) => return Ok(Err(reason)),
        };
        let prompt = self.prompt(good, merge_prompt);
        let request = GenerateRequest {
            id: self.question.ask.generate.id.derived("merge"),
            messages: prompt.messages,
            top_logprobs: None,
            ..self.question.ask.generate.clone()
        };
        let place = self.ask_helper(source, request, SourceRole::Synthesizer, self.question.deadline);
        let name = self.parts[place].facts.name.clone();
        let answer = self.write_out(place).await;
        let is_empty = self.shown.text.trim().is_empty();
        match answer {
            Ok(_) if is_empty => Ok(Err(format!("the answer of `{name}` was empty"))),
            Ok(answer) => {
                self.trace.strategy = Some(Strategy::Merge);
                self.trace.chosen = None;
                self.trace.judged_by = Some(name);
                Ok(Ok(Answer { trace: self.trace.clone(), ..answer }))
            }
            Err(Stop::Failed(failure)) if may_be_replaced(&failure) => {
                Ok(Err(format!("`{name}` failed: {failure}")))
            }
            Err(stop) => Err(stop),
        }
    }

    /// Sampling without thinking.
    fn unthinking(&self, source: usize) -> SamplingOverrides {
        if self.question.sources.sources()[source].facts().kind == ProviderKind::Engine {
            return self.question.ask.generate.sampling.unthinking_on_same_prompt();
        }
        SamplingOverrides { thinking: Some(false), ..SamplingOverrides::default() }
    }

    /// Who helps, within `limit`.
    fn helper(&self, named: Option<String>, limit: Duration) -> Result<usize, String> {
        let time_left = self.question.deadline.saturating_duration_since(now()).min(limit);
        helper(named.as_deref(), &self.candidates(), &self.question.plan.asked, time_left)
    }

    fn prompt(
        &self,
        good: &[usize],
        write: impl Fn(&[boca_core::ChatMessage], &[&str], u64) -> FusionPrompt,
    ) -> FusionPrompt {
        let texts: Vec<&str> = good.iter().map(|place| self.parts[*place].text.as_str()).collect();
        write(&self.question.ask.generate.messages, &texts, self.question.seed)
    }
}

impl Conductor {
    /// Whether this part merges.
    pub(super) fn is_merged(&self, place: usize) -> bool {
        self.parts[place].trace.role == SourceRole::Synthesizer
    }
}

/// A failure without what a person must not see twice.
pub(super) fn in_one_sentence(failure: &Failure) -> String {
    failure.message.trim_end_matches('.').to_owned()
}
