//! What of a stored conversation is sent back as context.

use boca_core::{ChatMessage, FinishReason, Role};
use boca_store::{Message, StoredMessage};

/// The turns to be answered: system prompt, history, the new message, and the numbers of all but the system prompt. A
/// question whose answer failed, was cancelled or ran out of time before it had any text is left out together with that
/// answer.
pub(super) fn turns(
    system: Option<String>,
    history: Vec<StoredMessage>,
    message: String,
    number: u32,
) -> (Vec<ChatMessage>, Vec<u32>) {
    let mut turns: Vec<(u32, ChatMessage)> = Vec::with_capacity(history.len() + 1);
    for stored in history {
        if came_to_nothing(&stored) {
            if turns.last().is_some_and(|(_, turn)| turn.role == Role::User) {
                turns.pop();
            }
            continue;
        }
        turns.push((stored.index, turn(stored.message)));
    }
    turns.push((number, ChatMessage::user(message)));
    let (numbers, turns): (Vec<_>, Vec<_>) = turns.into_iter().unzip();
    (system.into_iter().map(ChatMessage::system).chain(turns).collect(), numbers)
}

/// A stored message as a model is given it.
pub(super) fn turn(message: Message) -> ChatMessage {
    ChatMessage { reasoning: message.reasoning, ..ChatMessage::text(message.role, message.content) }
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

    fn said(role: Role, text: &str) -> Message {
        Message::text(role, text, 0)
    }

    fn context(history: Vec<Message>) -> Vec<String> {
        let stored = (0..).zip(history).map(|(index, message)| StoredMessage { index, message });
        let (messages, numbers) = turns(Some("sys".into()), stored.collect(), "new".into(), 77);
        assert_eq!((messages.len(), numbers.last()), (numbers.len() + 1, Some(&77)));
        messages.into_iter().map(|turn| format!("{}:{}", turn.role.as_str(), turn.content)).collect()
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
        assert_eq!(context(history.clone()), ["system:sys", "user:b", "assistant:answer", "user:new"]);
        let stored = (0..).zip(history).map(|(index, message)| StoredMessage { index, message });
        assert_eq!(turns(None, stored.collect(), "new".into(), 6).1, [2, 3, 6], "as they are stored");
    }

    #[test]
    fn an_empty_answer_that_ended_well_stays() {
        let silent = Message { finish_reason: Some(FinishReason::Stop), ..said(Role::Assistant, "") };
        assert_eq!(context(vec![said(Role::User, "a"), silent]).len(), 4);
    }
}
