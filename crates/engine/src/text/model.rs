//! Everything about text that belongs to one checkpoint: tokenizer, chat template, tags.

use super::conversation::messages_to_json;
use super::template::{ChatTemplate, Rendered, TemplateError};
use super::thinking::{THINK_CLOSE, THINK_OPEN, ThinkingState};
use super::tokenizer::{Tokenizer, TokenizerError};
use crate::EngineError;
use crate::checkpoint::CheckpointError;
use boca_core::ChatMessage;
use serde_json::Value as Json;

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
}

/// A conversation ready for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Where the generation begins.
    pub state: ThinkingState,
}

impl TextModel {
    /// Builds it from the files of a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`] that names the file.
    pub fn new(
        tokenizer_json: &[u8],
        tokenizer_config: &Json,
        template: &str,
    ) -> Result<Self, CheckpointError> {
        let tokenizer = Tokenizer::from_bytes(tokenizer_json).map_err(bad_tokenizer)?;
        let variables = VARIABLES.iter().filter_map(|name| {
            let value = tokenizer_config.get(*name)?;
            let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
            Some(((*name).to_owned(), text.to_owned()))
        });
        let spellings = tokenizer.added_tokens().map(|token| token.spelling.as_str());
        let template = ChatTemplate::new("chat_template.jinja", template, spellings, variables.collect())
            .map_err(bad_template)?;
        let think_open = tokenizer.added_id(THINK_OPEN);
        let think_close = tokenizer.added_id(THINK_CLOSE);
        let close_ids = match think_close {
            Some(id) => vec![id],
            None => tokenizer.encode_text(THINK_CLOSE).map_err(bad_tokenizer)?,
        };
        Ok(Self { tokenizer, template, think_open, think_close, close_ids })
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
        let mut conversation = messages_to_json(messages, tools_json)
            .map_err(|error| EngineError::InvalidRequest { param: error.field, message: error.message })?;
        conversation.enable_thinking = Some(thinking);
        let invalid = |message: String| EngineError::InvalidRequest { param: "messages".into(), message };
        let rendered: Rendered =
            self.template.render(&conversation).map_err(|error: TemplateError| invalid(error.to_string()))?;
        let ids = self.tokenizer.encode_prompt(&rendered).map_err(|error| invalid(error.to_string()))?;
        // In the disguised text only the template can have written a tag.
        Ok(Prompt { ids, state: ThinkingState::after_prompt(&rendered.disguised) })
    }
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
