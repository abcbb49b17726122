//! The checkpoint's chat template: a conversation becomes the text of a prompt, and every character of that text is
//! known to be the template's own or somebody's.
//!
//! The template is rendered twice. Once as it is: that is the prompt's text, byte for byte what Python's Jinja2
//! makes of it. And once with all text from messages and tools in disguise (see `disguise`), through comparisons and
//! methods that see through it: there a special token shows only where the template wrote every character of it.
//! The second rendering, its disguise taken off, must be the first; if it is not, the template does something with
//! text that cannot be followed, and the request is refused instead of guessing who wrote what.

use super::disguise::Disguise;
use super::environment::{RAISED, environment};
use super::foreign::{message_to_value, to_value};
use super::see_through::see_through;
use minijinja::{Environment, Error, Value};
use serde_json::Value as Json;

/// What is rendered: a conversation in the JSON shape that chat templates know.
///
/// A `null` content prints as it does in Python (`None`, where a template prints it); whoever builds a conversation
/// from requests leaves such a key out or gives it as empty text, as [`super::messages_to_json`] does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// Objects with `role`, `content`, and what else the template reads (`reasoning_content`, `tool_calls`).
    pub messages: Vec<Json>,
    /// Tool definitions; the template sees `none` when there are none.
    pub tools: Vec<Json>,
    /// Whether the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// `None` leaves the variable undefined.
    pub enable_thinking: Option<bool>,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The prompt as text.
    pub text: String,
    /// The same with foreign text in disguise.
    pub(super) disguised: String,
    pub(super) disguise: Disguise,
}

/// A template that could not be read or rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template itself is wrong.
    #[error("{name}: {reason}")]
    Broken {
        /// The template's name.
        name: String,
        /// The engine's words, with the line.
        reason: String,
    },
    /// The template refused the conversation, in its own words.
    #[error("the chat template {name} refuses the conversation: {reason}")]
    Refused {
        /// The template's name.
        name: String,
        /// What it said.
        reason: String,
    },
    /// Rendering failed with this conversation.
    #[error("the chat template {name} fails on the conversation: {reason}")]
    Failed {
        /// The template's name.
        name: String,
        /// The engine's words, with the line.
        reason: String,
    },
    /// It is impossible to tell the template's special tokens from text of the messages.
    #[error(
        "the chat template {name} handles text in a way that hides whether it comes from a message; \
         leave out text that looks like the model's own markers"
    )]
    Untraceable {
        /// The template's name.
        name: String,
    },
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    name: String,
    source: String,
    /// Text variables such as `bos_token` that templates may print.
    variables: Vec<(String, String)>,
    disguise: Disguise,
    /// Renders with nothing in disguise.
    plain: Environment<'static>,
    /// Renders with `disguise`.
    disguised: Environment<'static>,
}

/// The name of the one template inside an environment.
const CHAT: &str = "chat";

impl ChatTemplate {
    /// Compiles a template. `special_tokens` are the spellings that text from messages must never turn into;
    /// `variables` are texts such as `bos_token` that the template may use.
    ///
    /// # Errors
    /// [`TemplateError::Broken`] with the name and the line.
    pub fn new<'a>(
        name: &str,
        source: &str,
        special_tokens: impl Iterator<Item = &'a str>,
        variables: Vec<(String, String)>,
    ) -> Result<Self, TemplateError> {
        let nothing = Disguise::new(std::iter::empty());
        let disguise = Disguise::new(special_tokens);
        let disguise = disguise.apart_from([source].into_iter()).ok_or_else(|| untraceable(name))?;
        let plain = compiled(name, source, &nothing)?;
        let disguised = compiled_disguised(name, source, &disguise)?;
        Ok(Self { name: name.into(), source: source.into(), variables, disguise, plain, disguised })
    }

    /// Whether the template knows the switch `enable_thinking`.
    pub fn knows_thinking(&self) -> bool {
        self.source.contains("enable_thinking")
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// See [`TemplateError`]; each names the template.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, TemplateError> {
        let nothing = Disguise::new(std::iter::empty());
        let text = self.run(&self.plain, conversation, &nothing)?;
        let (disguise, disguised) = if clashes(&self.disguise, conversation) {
            let texts = texts_of(conversation).chain([self.source.clone()]).collect::<Vec<_>>();
            let apart = self.disguise.apart_from(texts.iter().map(String::as_str));
            let disguise = apart.ok_or_else(|| untraceable(&self.name))?;
            let env = compiled_disguised(&self.name, &self.source, &disguise)?;
            let disguised = self.run(&env, conversation, &disguise);
            (disguise, disguised)
        } else {
            (self.disguise.clone(), self.run(&self.disguised, conversation, &self.disguise))
        };
        match disguised {
            Ok(disguised) if disguise.reveal(&disguised) == text => {
                Ok(Rendered { text, disguised, disguise })
            }
            _ => Err(untraceable(&self.name)),
        }
    }

    fn run(
        &self,
        env: &Environment<'static>,
        conversation: &Conversation,
        disguise: &Disguise,
    ) -> Result<String, TemplateError> {
        let messages: Value =
            conversation.messages.iter().map(|message| message_to_value(message, disguise)).collect();
        let tools = if conversation.tools.is_empty() {
            Value::from(())
        } else {
            conversation.tools.iter().map(|tool| to_value(tool, disguise)).collect()
        };
        let mut context = vec![
            ("messages", messages),
            ("tools", tools),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(conversation.add_generation_prompt)),
        ];
        if let Some(flag) = conversation.enable_thinking {
            context.push(("enable_thinking", Value::from(flag)));
        }
        let variables = self.variables.iter();
        context.extend(variables.map(|(name, text)| (name.as_str(), Value::from(text.as_str()))));
        let template = env.get_template(CHAT).map_err(|error| broken(&self.name, &error))?;
        template.render(Value::from_pairs(context)).map_err(|error| failed(&self.name, &error))
    }
}

fn compiled(name: &str, source: &str, disguise: &Disguise) -> Result<Environment<'static>, TemplateError> {
    let mut env = environment(disguise);
    env.add_template_owned(CHAT, source.to_owned()).map_err(|error| broken(name, &error))?;
    Ok(env)
}

fn compiled_disguised(
    name: &str,
    source: &str,
    disguise: &Disguise,
) -> Result<Environment<'static>, TemplateError> {
    // Should the rewritten form not compile, the original still traces every template that compares nothing.
    compiled(name, &see_through(source), disguise).or_else(|_| compiled(name, source, disguise))
}

fn broken(name: &str, error: &Error) -> TemplateError {
    TemplateError::Broken { name: name.into(), reason: describe(error) }
}

fn failed(name: &str, error: &Error) -> TemplateError {
    let raised = error.detail().and_then(|detail| detail.strip_prefix(RAISED));
    match raised {
        Some(reason) => TemplateError::Refused { name: name.into(), reason: reason.into() },
        None => TemplateError::Failed { name: name.into(), reason: describe(error) },
    }
}

fn untraceable(name: &str) -> TemplateError {
    TemplateError::Untraceable { name: name.into() }
}

/// One line: what, the detail, and where.
fn describe(error: &Error) -> String {
    let mut text = error.kind().to_string();
    if let Some(detail) = error.detail() {
        text = format!("{text}: {detail}");
    }
    match error.line() {
        Some(line) => format!("{text} (line {line})"),
        None => text,
    }
}

fn clashes(disguise: &Disguise, conversation: &Conversation) -> bool {
    texts_of(conversation).any(|text| disguise.clashes_with(&text))
}

/// Every value of a conversation as text, in which all its characters occur.
fn texts_of(conversation: &Conversation) -> impl Iterator<Item = String> + '_ {
    conversation.messages.iter().chain(&conversation.tools).map(Json::to_string)
}
