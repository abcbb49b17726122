//! Everything about text that belongs to one checkpoint: tokenizer, chat template, tags.

use super::conversation::messages_to_json;
use super::template::{ChatTemplate, Rendered, TemplateError};
use super::thinking::{THINK_CLOSE, THINK_OPEN, state_after_prompt};
use super::tokenizer::{Tokenizer, TokenizerError};
use crate::EngineError;
use crate::checkpoint::CheckpointError;
use boca_core::{ChatMessage, ThinkingState};
use serde_json::Value as Json;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Variables of `tokenizer_config.json` that templates may print.
const VARIABLES: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// Tokenizer and template of a checkpoint.
#[derive(Debug)]
pub struct TextModel {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    think_open: Option<u32>,
    think_close: Option<u32>,
    /// The tokens of `</think>`, to be fed when a thinking budget is spent.
    close_ids: Vec<u32>,
    fingerprint: u64,
}

/// A conversation ready for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Where the generation begins.
    pub state: ThinkingState,
}

/// A prompt that ends inside an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuedPrompt {
    /// Token ids up to where the answer begins.
    pub before: Vec<u32>,
    /// Token ids of the answer so far.
    pub answer: Vec<u32>,
}

impl TextModel {
    /// Builds it from the files of a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`] that names the file.
    pub fn new(
        tokenizer_json: &[u8],
        tokenizer_config: &Json,
        template_text: &str,
    ) -> Result<Self, CheckpointError> {
        let tokenizer = Tokenizer::from_bytes(tokenizer_json).map_err(bad_tokenizer)?;
        let variables = VARIABLES.iter().filter_map(|name| {
            let value = tokenizer_config.get(*name)?;
            let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
            Some(((*name).to_owned(), text.to_owned()))
        });
        let spellings = tokenizer.added_tokens().map(|token| token.spelling.as_str());
        let template =
            ChatTemplate::new("chat_template.jinja", template_text, spellings, variables.collect())
                .map_err(bad_template)?;
        let think_open = tokenizer.added_id(THINK_OPEN);
        let think_close = tokenizer.added_id(THINK_CLOSE);
        let close_ids = match think_close {
            Some(id) => vec![id],
            None => tokenizer.encode_text(THINK_CLOSE).map_err(bad_tokenizer)?,
        };
        // Equal in every process of one binary, which is as far as it is compared.
        let mut hasher = DefaultHasher::new();
        (tokenizer_json, tokenizer_config.to_string(), template_text).hash(&mut hasher);
        Ok(Self { tokenizer, template, think_open, think_close, close_ids, fingerprint: hasher.finish() })
    }

    /// Tells files that differ apart; holds for one build of boca.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The token of `<think>`, if it is one token.
    pub fn think_open(&self) -> Option<u32> {
        self.think_open
    }

    /// The token of `</think>`, if it is one token.
    pub fn think_close(&self) -> Option<u32> {
        self.think_close
    }

    /// What to feed the model so that its thinking ends.
    pub fn close_ids(&self) -> &[u32] {
        &self.close_ids
    }

    /// Renders and tokenises a conversation, up to where the answer begins. `thinking` is told to the template when
    /// it is off, or when the template would otherwise think by itself; templates treat an absent switch as on.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] naming the field: what only the template or the tokenizer can judge.
    pub fn prompt(
        &self,
        messages: &[ChatMessage],
        tools_json: &[String],
        thinking: bool,
    ) -> Result<Prompt, EngineError> {
        let rendered = self.render(messages, tools_json, thinking)?;
        let ids = self.tokenizer.encode_prompt(&rendered).map_err(|error| invalid("messages", error))?;
        // In the disguised text only the template can have written a tag.
        Ok(Prompt { ids, state: state_after_prompt(&rendered.disguised) })
    }

    /// The same without thinking, and with the beginning of the answer: the generation goes on from exactly there.
    /// Whatever `answer_so_far` spells, it is ordinary text.
    ///
    /// # Errors
    /// As [`Self::prompt`]; `answer_so_far` for text that the tokenizer cannot take apart.
    pub fn prompt_continuing(
        &self,
        messages: &[ChatMessage],
        tools_json: &[String],
        answer_so_far: &str,
    ) -> Result<ContinuedPrompt, EngineError> {
        let rendered = self.render(messages, tools_json, false)?;
        let mut before =
            self.tokenizer.encode_prompt(&rendered).map_err(|error| invalid("messages", error))?;
        let state = state_after_prompt(&rendered.disguised);
        if state == ThinkingState::Reasoning {
            before.extend(&self.close_ids);
        }
        // The line end between the tag and an answer belongs to the format: a model writes it, and templates write it
        // when they give a past answer back.
        let is_tag_last = state == ThinkingState::Reasoning || rendered.disguised.ends_with(THINK_CLOSE);
        let joint = if is_tag_last { "\n" } else { "" };
        let text = format!("{joint}{answer_so_far}");
        let answer = self.tokenizer.encode_text(&text).map_err(|error| invalid("answer_so_far", error))?;
        Ok(ContinuedPrompt { before, answer })
    }

    fn render(
        &self,
        messages: &[ChatMessage],
        tools_json: &[String],
        thinking: bool,
    ) -> Result<Rendered, EngineError> {
        let mut conversation = messages_to_json(messages, tools_json)
            .map_err(|error| EngineError::InvalidRequest { param: error.field, message: error.message })?;
        conversation.enable_thinking = Some(thinking);
        self.template.render(&conversation).map_err(|error: TemplateError| invalid("messages", error))
    }
}

fn invalid(param: &str, error: impl std::fmt::Display) -> EngineError {
    EngineError::InvalidRequest { param: param.into(), message: error.to_string() }
}

fn bad_tokenizer(error: TokenizerError) -> CheckpointError {
    let (expected, found) = match error {
        TokenizerError::Unsupported { expected, found } => (expected.to_owned(), found),
        failed @ TokenizerError::Failed { .. } => ("a tokenizer that works".to_owned(), failed.to_string()),
    };
    CheckpointError::Damaged { file: "tokenizer.json".into(), tensor: None, expected, found }
}

fn bad_template(error: TemplateError) -> CheckpointError {
    let found = match &error {
        TemplateError::Broken { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    CheckpointError::Damaged {
        file: "chat_template.jinja".into(),
        tensor: None,
        expected: "a chat template in Jinja2".into(),
        found,
    }
}
