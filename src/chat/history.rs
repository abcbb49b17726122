//! What of a stored conversation is sent back as context.

use boca_core::{ChatMessage, FinishReason, Role};
use boca_store::StoredMessage;

/// The turns to be answered: system prompt, history, the new message. A question whose answer failed, was cancelled
/// or ran out of time before it had any text is left out together with that answer.
pub(super) fn messages(
    system: Option<String>,
    history: Vec<StoredMessage>,
    message: String,
) -> Vec<ChatMessage> {
    let mut turns: Vec<ChatMessage> = system.into_iter().map(ChatMessage::system).collect();
    let n_before = turns.len();
    for stored in history {
        if came_to_nothing(&stored) {
            if turns.len() > n_before && turns.last().is_some_and(|turn| turn.role == Role::User) {
                turns.pop();
            }
            continue;
        }
        let message = stored.message;
        turns.push(ChatMessage {
            reasoning: message.reasoning,
            ..ChatMessage::text(message.role, message.content)
        });
    }
    turns.push(ChatMessage::user(message));
    turns
}

fn came_to_nothing(stored: &StoredMessage) -> bool {
    let message = &stored.message;
    let broken_off = message.failure.is_some()
        || matches!(message.finish_reason, Some(FinishReason::Cancelled | FinishReason::Deadline));
    message.role == Role::Assistant && message.content.trim().is_empty() && broken_off
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::ErrorCode;
    use boca_store::Message;

    fn said(role: Role, text: &str) -> Message {
        Message::text(role, text, 0)
    }

    fn context(history: Vec<Message>) -> Vec<String> {
        let stored = (0..).zip(history).map(|(index, message)| StoredMessage { index, message });
        messages(Some("sys".into()), stored.collect(), "new".into())
            .into_iter()
            .map(|turn| format!("{}:{}", turn.role.as_str(), turn.content))
            .collect()
    }

    #[test]
    fn every_turn_with_a_text_is_sent_back() {
        let partial =
            Message { failure: Some(ErrorCode::EngineFailed), ..said(Role::Assistant, "half an answ") };
        let history = vec![said(Role::User, "a"), said(Role::Assistant, "b"), said(Role::User, "c"), partial];
        assert_eq!(
            context(history),
            ["system:sys", "user:a", "assistant:b", "user:c", "assistant:half an answ", "user:new"]
        );
    }

    #[test]
    fn what_came_to_nothing_is_left_out_with_its_question() {
        let failed = Message { failure: Some(ErrorCode::Cancelled), ..said(Role::Assistant, "") };
        let cancelled =
            Message { finish_reason: Some(FinishReason::Cancelled), ..said(Role::Assistant, " ") };
        let history = vec![
            said(Role::User, "a"),
            failed,
            said(Role::User, "b"),
            said(Role::Assistant, "answer"),
            said(Role::User, "c"),
            cancelled,
        ];
        assert_eq!(context(history), ["system:sys", "user:b", "assistant:answer", "user:new"]);
    }

    #[test]
    fn an_empty_answer_that_ended_well_stays() {
        let silent = Message { finish_reason: Some(FinishReason::Stop), ..said(Role::Assistant, "") };
        assert_eq!(context(vec![said(Role::User, "a"), silent]).len(), 4);
    }
}
