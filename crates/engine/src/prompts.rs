//! From a request to the tokens of its prompt: all that can be checked and counted without the weights.
//!
//! The process that takes requests does this before anything is queued; an engine does it for requests that come without
//! it. One set of rules serves both.

use crate::checkpoint::{CheckpointText, GenerationDefaults};
use crate::text::{ContinuedPrompt, TextModel};
use crate::{EngineError, ModelSource};
use boca_core::{GenerateRequest, PreparedPrompt, SamplingOverrides, ThinkingState};
use std::sync::Arc;

/// Tokenizer, template and bounds of a checkpoint.
#[derive(Debug, Clone)]
pub struct PromptMaker {
    text: Arc<TextModel>,
    defaults: GenerationDefaults,
    context_tokens: u32,
}

/// Builds a prompt maker on whichever thread calls it.
pub type PromptMakerFactory = Arc<dyn Fn() -> Result<PromptMaker, EngineError> + Send + Sync>;

/// What a request says about sampling and thinking, on top of what the checkpoint recommends.
pub(crate) struct Wishes {
    pub(crate) sampling: SamplingOverrides,
    /// Whether the model is told to think.
    pub(crate) thinking: bool,
    /// The most tokens of the thinking; 0 when it is not wanted.
    pub(crate) thinking_tokens: Option<u32>,
}

impl PromptMaker {
    /// Reads the small files of a checkpoint; its weights are not touched. `context_tokens` as in
    /// [`crate::generate::EngineOptions`].
    ///
    /// # Errors
    /// [`EngineError::Checkpoint`].
    pub fn open(source: &ModelSource, context_tokens: Option<u32>) -> Result<Self, EngineError> {
        let CheckpointText { text, defaults, context_tokens: of_model } = CheckpointText::open(source)?;
        let text = TextModel::new(&text.tokenizer_json, &text.tokenizer_config, &text.chat_template)?;
        let context_tokens = context_tokens.map_or(of_model, |bound| bound.min(of_model));
        Ok(Self::new(Arc::new(text), defaults, context_tokens))
    }

    pub(crate) fn new(text: Arc<TextModel>, defaults: GenerationDefaults, context_tokens: u32) -> Self {
        Self { text, defaults, context_tokens }
    }

    /// The most tokens of prompt and answer together.
    pub fn context_tokens(&self) -> u32 {
        self.context_tokens
    }

    /// Checks a request, renders and tokenises its prompt, and checks that it fits the context.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] naming the field; [`EngineError::ContextExceeded`].
    pub fn prepare(&self, request: &GenerateRequest) -> Result<PreparedPrompt, EngineError> {
        let wishes = self.wishes(request)?;
        let prompt = self.prompt(request, &wishes)?;
        self.context_left(prompt.ids.len(), prompt.n_answer, request.max_tokens)?;
        Ok(prompt)
    }

    /// The same for many requests at once, on as many threads as there are cores, in their order.
    pub fn prepare_all(&self, requests: &[GenerateRequest]) -> Vec<Result<PreparedPrompt, EngineError>> {
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(requests.len());
        if n_threads < 2 {
            return requests.iter().map(|request| self.prepare(request)).collect();
        }
        let each = requests.len().div_ceil(n_threads);
        let prepare = |part: &[GenerateRequest]| part.iter().map(|request| self.prepare(request)).collect();
        std::thread::scope(|scope| {
            let parts = requests.chunks(each).map(|part| {
                let thread = std::thread::Builder::new().stack_size(crate::TEXT_STACK_BYTES);
                (part, thread.spawn_scoped(scope, move || prepare(part)))
            });
            // All of them at work before the first is waited for.
            let threads: Vec<_> = parts.collect();
            let finish = |(part, thread): (&[GenerateRequest], std::io::Result<_>)| -> Vec<_> {
                match thread {
                    Ok(thread) => std::thread::ScopedJoinHandle::join(thread)
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    // Without a thread it takes longer.
                    Err(_) => prepare(part),
                }
            };
            threads.into_iter().flat_map(finish).collect()
        })
    }

    /// Checks a request, and renders and tokenises its prompt, whether it fits or not.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] naming the field.
    pub fn prompt_of_any_length(&self, request: &GenerateRequest) -> Result<PreparedPrompt, EngineError> {
        self.prompt(request, &self.wishes(request)?)
    }

    /// Tokens of a request's prompt, whether it fits or not.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] naming the field.
    pub fn count(&self, request: &GenerateRequest) -> Result<usize, EngineError> {
        Ok(self.prompt_of_any_length(request)?.ids.len())
    }

    /// Tokens of a text, without what a prompt has around it.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] when it cannot be tokenised.
    pub(crate) fn count_text(&self, text: &str) -> Result<usize, EngineError> {
        let ids = self.text.tokenizer().encode_text(text);
        let ids = ids.map_err(|error| EngineError::InvalidRequest {
            param: "messages".into(),
            message: format!("`messages` cannot be tokenised: {error}"),
        })?;
        Ok(ids.len())
    }

    pub(crate) fn wishes(&self, request: &GenerateRequest) -> Result<Wishes, EngineError> {
        request
            .sampling
            .check("")
            .map_err(|error| EngineError::InvalidRequest { param: error.field, message: error.message })?;
        let sampling = request.sampling.clone().over(&self.defaults.sampling);
        self.check_bias(&sampling)?;
        // The time for thinking is over when an answer has begun.
        let no_thinking = !request.answer_so_far.is_empty()
            || sampling.thinking == Some(false)
            || sampling.thinking_budget_tokens == Some(0);
        let thinking =
            !no_thinking && sampling.thinking.unwrap_or_else(|| self.text.template().knows_thinking());
        let thinking_tokens = if no_thinking { Some(0) } else { sampling.thinking_budget_tokens };
        Ok(Wishes { sampling, thinking, thinking_tokens })
    }

    /// The tokens of a request: those that came with it, if they were made with the same text files.
    pub(crate) fn prompt(
        &self,
        request: &GenerateRequest,
        wishes: &Wishes,
    ) -> Result<PreparedPrompt, EngineError> {
        let text_files = self.text.fingerprint();
        if let Some(prepared) = request.prepared.as_ref().filter(|prepared| prepared.text_files == text_files)
        {
            return Ok(prepared.clone());
        }
        let (messages, tools_json) = (&request.messages, &request.tools_json);
        let prompt = if request.answer_so_far.is_empty() {
            let prompt = self.text.prompt(messages, tools_json, wishes.thinking)?;
            PreparedPrompt { ids: prompt.ids, n_answer: 0, state: prompt.state, text_files }
        } else {
            let ContinuedPrompt { before: mut ids, answer } =
                self.text.prompt_continuing(messages, tools_json, &request.answer_so_far)?;
            ids.extend(&answer);
            PreparedPrompt { ids, n_answer: answer.len(), state: ThinkingState::Answer, text_files }
        };
        if prompt.ids.is_empty() {
            return Err(EngineError::InvalidRequest {
                param: "messages".into(),
                message: "`messages` must make a prompt of at least one token, got none".into(),
            });
        }
        Ok(prompt)
    }

    /// The context beside a prompt, which must hold what the request wants. The tokens of the answer so far count
    /// towards that.
    pub(crate) fn context_left(
        &self,
        prompt_tokens: usize,
        n_answer: usize,
        max_tokens: Option<u32>,
    ) -> Result<u32, EngineError> {
        let wanted = max_tokens.map_or(1, |bound| left_of(bound, n_answer));
        let prompt_tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
        let context_left = self.context_tokens.saturating_sub(prompt_tokens);
        if context_left < wanted {
            return Err(EngineError::ContextExceeded {
                prompt_tokens,
                max_tokens: wanted,
                context_tokens: self.context_tokens,
            });
        }
        Ok(context_left)
    }

    fn check_bias(&self, sampling: &SamplingOverrides) -> Result<(), EngineError> {
        let tokenizer = self.text.tokenizer();
        let mut biased = sampling.logit_bias.iter().flatten();
        match biased.find(|(id, _)| !tokenizer.knows(**id)) {
            None => Ok(()),
            Some((id, _)) => Err(EngineError::InvalidRequest {
                param: "logit_bias".into(),
                message: format!(
                    "`logit_bias` must name tokens of the vocabulary, whose ids are below {}, got {id}",
                    tokenizer.n_ids()
                ),
            }),
        }
    }
}

/// What is left of a bound when so many tokens of the answer are there already.
pub(crate) fn left_of(bound: u32, n_answer: usize) -> u32 {
    bound.max(1).saturating_sub(u32::try_from(n_answer).unwrap_or(u32::MAX))
}
