//! Text in and out of the model: tokenizer, chat template, streaming detokenisation, thinking and stop strings.

pub(crate) mod byte_alphabet;
mod conversation;
mod detokenizer;
mod disguise;
mod environment;
mod foreign;
mod model;
mod python_json;
mod python_text;
mod python_value;
mod see_through;
mod stop;
mod string_methods;
mod template;
mod thinking;
mod tokenizer;

pub use conversation::messages_to_json;
pub use detokenizer::Detokenizer;
pub use model::{ContinuedPrompt, Prompt, TextModel};
pub use stop::{StopStrings, StopVerdict};
pub use template::{ChatTemplate, Conversation, Rendered, TemplateError};
pub use thinking::{Part, THINK_CLOSE, THINK_OPEN, ThinkingSplitter, split_thinking};
pub use tokenizer::{AddedToken, Tokenizer, TokenizerError};
