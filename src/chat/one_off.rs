//! A question that belongs to no stored conversation: it brings its own turns, and nothing of it is stored here.

use super::merge::merge;
use super::question::{CheckedQuestion, Question};
use crate::config::ChatSettings;
use boca_core::{
    Ask, ChatMessage, ContextPlan, Failure, GenerateRequest, RequestId, Role, SessionId, check_message_text,
};
use boca_store::SessionSettings;
use std::time::Duration;

/// Puts a question together with the turns before it. Its own deadline holds, else the longest that is allowed.
///
/// # Errors
/// A bad request that names the first field out of bounds.
pub(crate) fn one_off(
    question: Question,
    before: Vec<ChatMessage>,
    id: RequestId,
    settings: &ChatSettings,
) -> Result<Ask, Failure> {
    let fairness_key = question.client.clone().unwrap_or_default();
    let own_system = before.iter().position(|turn| turn.role == Role::System);
    match (own_system, &question.system) {
        (None, _) | (Some(0), None) => {}
        (Some(0), Some(_)) => {
            let message = "`system` is given twice: as a field, and as the first of `messages`";
            return Err(Failure::invalid("system", message));
        }
        (Some(place), _) => {
            let message = format!("only the first of `messages` may be a system turn, got one at {place}");
            return Err(Failure::invalid("messages", message));
        }
    }
    for turn in &before {
        check_message_text("messages", &turn.content, settings.max_message_bytes)
            .map_err(|error| Failure::invalid(error.field, error.message))?;
    }
    // Blank: no configured instructions beside its own.
    let system = question.system.or(own_system.map(|_| String::new()));
    let deadline = question.deadline.or(Some(settings.max_deadline));
    let checked = CheckedQuestion::new(Question { system, deadline, ..question }, settings)?;
    let merged = merge(&checked, &SessionSettings::default(), settings);
    let mut messages: Vec<ChatMessage> = merged.system.into_iter().map(ChatMessage::system).collect();
    messages.extend(before);
    messages.push(ChatMessage::user(checked.message));
    let n_instructions = messages.iter().take_while(|turn| turn.role == Role::System).count();
    let turns = (0..).take(messages.len() - n_instructions).collect();
    let context = ContextPlan { policy: checked.context_policy, turns, summary: None };
    let time_left: Duration = checked.deadline;
    Ok(Ask {
        session_id: SessionId::from_uuid(uuid::Uuid::now_v7()),
        mode: checked.mode,
        effort: checked.effort,
        strategy: checked.strategy,
        private: merged.private,
        generate: GenerateRequest {
            sampling: merged.sampling,
            max_tokens: merged.max_tokens,
            stop: checked.stop,
            priority: checked.priority,
            is_read_whole: checked.is_read_whole,
            fairness_key,
            context,
            ..GenerateRequest::new(id, messages, merged.default_max_tokens, time_left)
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::tests::chat_settings;
    use boca_core::Priority;

    fn ask(question: Question, before: Vec<ChatMessage>) -> Result<Ask, Failure> {
        let settings = ChatSettings { system: Some("configured".into()), ..chat_settings() };
        let question = Question { message: "now".into(), ..question };
        one_off(question, before, "r".parse().unwrap(), &settings)
    }

    fn said(ask: &Ask) -> Vec<String> {
        ask.generate.messages.iter().map(|m| format!("{}:{}", m.role.as_str(), m.content)).collect()
    }

    #[test]
    fn a_question_brings_its_own_turns_and_instructions() {
        let plain = ask(Question { priority: Priority::Background, ..Question::default() }, vec![]).unwrap();
        assert_eq!(said(&plain), ["system:configured", "user:now"]);
        assert_eq!(plain.generate.priority, Priority::Background);
        assert_eq!(plain.generate.time_left, chat_settings().max_deadline);
        let turns = vec![
            ChatMessage::system("own"),
            ChatMessage::user("before"),
            ChatMessage::text(Role::Assistant, "answered"),
        ];
        let talk = ask(Question::default(), turns.clone()).unwrap();
        assert_eq!(said(&talk), ["system:own", "user:before", "assistant:answered", "user:now"]);
        assert_eq!(talk.generate.context.turns, [0, 1, 2]);
        let own = Question { system: Some("x".into()), ..Question::default() };
        assert_eq!(ask(own, turns).unwrap_err().param.as_deref(), Some("system"));
        let late = vec![ChatMessage::user("a"), ChatMessage::system("b")];
        assert_eq!(ask(Question::default(), late).unwrap_err().param.as_deref(), Some("messages"));
        let bad = Question {
            sampling: boca_core::SamplingOverrides { top_p: Some(2.0), ..Default::default() },
            ..Question::default()
        };
        assert_eq!(ask(bad, vec![]).unwrap_err().param.as_deref(), Some("top_p"));
    }
}
