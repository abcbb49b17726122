//! Reads what `tools/chat-template/render.py` wrote and compares it with our rendering.

#![allow(dead_code)] // each of the binaries that share it uses a part
use boca_engine::text::{ChatTemplate, Conversation, TemplateError};
use serde::Deserialize;
use serde_json::Value as Json;
use std::path::Path;

/// The special tokens of the GLM-4.5 family.
pub(crate) const SPECIAL_TOKENS: [&str; 21] = [
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "/nothink",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
];

/// One conversation and what Python made of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) messages: Vec<Json>,
    pub(crate) tools: Vec<Json>,
    pub(crate) add_generation_prompt: bool,
    pub(crate) enable_thinking: Option<bool>,
    pub(crate) expected: Option<String>,
    pub(crate) refused: Option<String>,
    pub(crate) crashed: Option<String>,
}

impl Case {
    pub(crate) fn conversation(&self) -> Conversation {
        Conversation {
            messages: self.messages.clone(),
            tools: self.tools.clone(),
            add_generation_prompt: self.add_generation_prompt,
            enable_thinking: self.enable_thinking,
        }
    }

    /// `None` when our rendering is Python's, else what differs.
    pub(crate) fn difference(&self, template: &ChatTemplate) -> Option<String> {
        let ours = template.render(&self.conversation());
        let what = match (&self.expected, &ours) {
            // Python fell over its own feet; whether we do too is no matter of the template.
            (None, _) if self.crashed.is_some() => return None,
            (Some(expected), Ok(ours)) if *expected == ours.text => return None,
            (None, Err(TemplateError::Refused { .. } | TemplateError::Failed { .. })) => return None,
            (Some(expected), Ok(ours)) => format!("expected {expected:?}\n     got {:?}", ours.text),
            (Some(_), Err(error)) => error.to_string(),
            (None, ours) => format!("Python refuses it ({:?}), we give {ours:?}", self.refused),
        };
        Some(format!("{} (thinking {:?}): {what}", self.name, self.enable_thinking))
    }
}

pub(crate) fn read_cases(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn read_template(path: &Path) -> ChatTemplate {
    let source = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ChatTemplate::new(&name, &source, SPECIAL_TOKENS.into_iter(), Vec::new())
        .unwrap_or_else(|error| panic!("{error}"))
}
