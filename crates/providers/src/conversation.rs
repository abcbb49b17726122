//! A request's conversation in the form that the cloud protocols share: system text apart, tool results tied to calls.

use crate::AskOptions;
use crate::fault::Fault;
use boca_core::{GenerateRequest, Role, SamplingOverrides};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::VecDeque;

/// What a dialect encodes: the conversation, the tools, and everything that was decided about sampling.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    /// All system turns, in order; `None` when they say nothing.
    pub(crate) system: Option<String>,
    /// The other turns.
    pub(crate) turns: Vec<Turn<'a>>,
    /// The tools that the model may call.
    pub(crate) tools: Vec<Tool>,
    /// The request's fields over the provider's defaults.
    pub(crate) sampling: SamplingOverrides,
    /// The request itself, for what is taken as it is.
    pub(crate) request: &'a GenerateRequest,
    /// What the ask wants beyond it.
    pub(crate) options: &'a AskOptions,
}

/// One turn.
#[derive(Debug, PartialEq)]
pub(crate) enum Turn<'a> {
    User(&'a str),
    Assistant { text: &'a str, reasoning: Option<&'a str>, calls: Vec<PastCall<'a>> },
    ToolResult { call_id: String, name: &'a str, content: &'a str },
}

/// A call that the model made in an earlier turn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PastCall<'a> {
    /// Made up here: the domain ties results to calls by their order.
    pub(crate) id: String,
    pub(crate) name: &'a str,
    pub(crate) arguments: Map<String, Value>,
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Tool {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// A JSON schema.
    #[serde(default)]
    pub(crate) parameters: Option<Value>,
}

/// How much a model shall think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// As the model likes.
    Unsaid,
    Off,
    /// On, with a budget where one is named.
    On(Option<u32>),
}

impl<'a> Ask<'a> {
    /// Reads a request for a provider with these sampling defaults.
    pub(crate) fn new(
        request: &'a GenerateRequest,
        options: &'a AskOptions,
        defaults: &SamplingOverrides,
    ) -> Result<Self, Fault> {
        let (system, turns) = split(request)?;
        Ok(Self {
            system,
            turns,
            tools: tools(&request.tools_json)?,
            sampling: request.sampling.clone().over(defaults),
            request,
            options,
        })
    }

    /// What request and options together say about thinking. A continued answer is past its thinking.
    pub(crate) fn thinking(&self) -> Thinking {
        if !self.request.answer_so_far.is_empty() {
            return Thinking::Off;
        }
        let budget = self.options.thinking_budget_tokens.or(self.sampling.thinking_budget_tokens);
        match (self.options.thinking_budget_tokens, self.sampling.thinking, budget) {
            (Some(0), _, _) | (None, Some(false), _) | (None, _, Some(0)) => Thinking::Off,
            (_, _, Some(budget)) => Thinking::On(Some(budget)),
            (_, Some(true), None) => Thinking::On(None),
            (_, _, None) => Thinking::Unsaid,
        }
    }

    /// The most tokens to generate, thinking included. A bound that only stands in preset or config is meant for the
    /// answer: thinking, which the cloud's models cannot always be kept from, comes on top of it.
    pub(crate) fn max_tokens(&self, usual_thinking_tokens: u32) -> u32 {
        match (self.request.max_tokens, self.thinking()) {
            (Some(max_tokens), _) => max_tokens,
            (None, Thinking::Off) => self.request.default_max_tokens,
            (None, Thinking::On(Some(budget))) => self.request.default_max_tokens.saturating_add(budget),
            (None, Thinking::On(None) | Thinking::Unsaid) => {
                self.request.default_max_tokens.saturating_add(usual_thinking_tokens)
            }
        }
    }
}

impl Tool {
    /// The schema of the arguments; a tool without one takes none.
    pub(crate) fn parameters(&self) -> Value {
        self.parameters.clone().unwrap_or_else(|| serde_json::json!({"type": "object", "properties": {}}))
    }
}

type SplitConversation<'a> = (Option<String>, Vec<Turn<'a>>);

fn split(request: &GenerateRequest) -> Result<SplitConversation<'_>, Fault> {
    let mut system: Option<String> = None;
    let mut turns = Vec::with_capacity(request.messages.len());
    let mut open_calls: VecDeque<(String, &str)> = VecDeque::new();
    let mut n_calls = 0_usize;
    for (index, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System => match &mut system {
                Some(system) => {
                    system.push_str("\n\n");
                    system.push_str(&message.content);
                }
                none => *none = Some(message.content.clone()),
            },
            Role::User => turns.push(Turn::User(&message.content)),
            Role::Assistant => {
                open_calls.clear();
                let mut calls = Vec::with_capacity(message.tool_calls.len());
                for call in &message.tool_calls {
                    let arguments = serde_json::from_str(&call.arguments_json).map_err(|_| {
                        let field = format!("messages[{index}].tool_calls");
                        let problem = format!("`{field}` must hold arguments that are a JSON object");
                        Fault::invalid(field, problem)
                    })?;
                    let id = format!("call_{n_calls}");
                    n_calls += 1;
                    open_calls.push_back((id.clone(), &call.name));
                    calls.push(PastCall { id, name: &call.name, arguments });
                }
                turns.push(Turn::Assistant {
                    text: &message.content,
                    reasoning: message.reasoning.as_deref(),
                    calls,
                });
            }
            Role::Tool => {
                let (call_id, name) = open_calls.pop_front().ok_or_else(|| {
                    let field = format!("messages[{index}]");
                    let problem = format!("`{field}` is the result of a tool, but no call waits for one");
                    Fault::invalid(field, problem)
                })?;
                turns.push(Turn::ToolResult { call_id, name, content: &message.content });
            }
        }
    }
    if turns.is_empty() {
        return Err(Fault::invalid(
            "messages",
            "needs at least one turn in `messages` that is not the system's",
        ));
    }
    Ok((system.filter(|text| !text.is_empty()), turns))
}

fn tools(tools_json: &[String]) -> Result<Vec<Tool>, Fault> {
    /// OpenAI's form, which the chat templates use too; a bare function is taken as well.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Wrapped { function: Tool },
        Bare(Tool),
    }
    let read = |(index, text): (usize, &String)| match serde_json::from_str(text) {
        Ok(Written::Wrapped { function } | Written::Bare(function)) => Ok(function),
        Err(_) => {
            let field = format!("tools[{index}]");
            let problem = format!("`{field}` must be an object with a `function` that has a `name`");
            Err(Fault::invalid(field, problem))
        }
    };
    tools_json.iter().enumerate().map(read).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use boca_core::{ChatMessage, RequestId, ToolCall};
    use std::time::Duration;

    /// A request with these turns and nothing else.
    pub(crate) fn request(messages: Vec<ChatMessage>) -> GenerateRequest {
        GenerateRequest::new("test".parse::<RequestId>().unwrap(), messages, 100, Duration::from_secs(60))
    }

    fn called(names: &[&str]) -> ChatMessage {
        let call = |name: &&str| ToolCall { name: (*name).into(), arguments_json: r#"{"x":1}"#.into() };
        ChatMessage { tool_calls: names.iter().map(call).collect(), ..ChatMessage::assistant("") }
    }

    #[test]
    fn results_belong_to_calls_in_order() {
        let request = request(vec![
            ChatMessage::system("one"),
            ChatMessage::user("hi"),
            called(&["a", "b"]),
            ChatMessage::text(Role::Tool, "result a"),
            ChatMessage::text(Role::Tool, "result b"),
            ChatMessage::system("two"),
        ]);
        let options = AskOptions::default();
        let ask = Ask::new(&request, &options, &SamplingOverrides::default()).unwrap();
        assert_eq!(ask.system.as_deref(), Some("one\n\ntwo"));
        let result =
            |call_id: &str, name, content| Turn::ToolResult { call_id: call_id.into(), name, content };
        assert_eq!(ask.turns[2..], [result("call_0", "a", "result a"), result("call_1", "b", "result b")]);
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let refuse = |request: &GenerateRequest| {
            let options = AskOptions::default();
            Ask::new(request, &options, &SamplingOverrides::default()).unwrap_err()
        };
        assert!(refuse(&request(vec![ChatMessage::system("only")])).message.contains("at least one turn"));
        let stray = request(vec![ChatMessage::user("hi"), ChatMessage::text(Role::Tool, "x")]);
        assert_eq!(refuse(&stray).param.as_deref(), Some("messages[1]"));
        let mut bad_arguments = called(&["a"]);
        bad_arguments.tool_calls[0].arguments_json = "[]".into();
        assert!(refuse(&request(vec![bad_arguments])).message.contains("JSON object"));
        let mut bad_tool = request(vec![ChatMessage::user("hi")]);
        bad_tool.tools_json = vec![r#"{"type":"function","function":{"name":"a"}}"#.into(), "{}".into()];
        assert_eq!(refuse(&bad_tool).param.as_deref(), Some("tools[1]"));
    }

    #[test]
    fn options_stand_above_sampling_about_thinking() {
        let thinking = |thinking, budget, option| {
            let mut request = request(vec![ChatMessage::user("hi")]);
            request.sampling.thinking = thinking;
            request.sampling.thinking_budget_tokens = budget;
            let options = AskOptions { thinking_budget_tokens: option, ..AskOptions::default() };
            Ask::new(&request, &options, &SamplingOverrides::default()).unwrap().thinking()
        };
        assert_eq!(thinking(None, None, None), Thinking::Unsaid);
        assert_eq!(thinking(Some(true), None, None), Thinking::On(None));
        assert_eq!(thinking(Some(true), Some(9), None), Thinking::On(Some(9)));
        assert_eq!(thinking(None, Some(9), None), Thinking::On(Some(9)));
        assert_eq!(thinking(Some(false), Some(9), None), Thinking::Off);
        assert_eq!(thinking(Some(true), Some(9), Some(0)), Thinking::Off);
        assert_eq!(thinking(Some(false), None, Some(5)), Thinking::On(Some(5)));
    }
}
