//! What becomes of a conversation that does not fit the context of the model of this machine.
//!
//! A conversation is cut only where an exchange begins, from its beginning on, and never in silence: whoever cuts it says
//! so in a [`ContextCut`]. Its instructions and its last question are always kept.

use crate::{ChatMessage, GenerateRequest, Role};
use serde::{Deserialize, Serialize};

/// What may be done with a conversation that does not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextPolicy {
    /// Nothing: the question is refused, with both numbers.
    #[default]
    Refuse,
    /// The oldest turns are left out.
    Sliding,
    /// The oldest turns are left out, and a summary of them takes their place.
    Summarise,
}

impl ContextPolicy {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Refuse, Self::Sliding, Self::Summarise];

    /// The name on the wire and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Sliding => "sliding",
            Self::Summarise => "summarise",
        }
    }
}

/// What one has to know of a conversation to cut it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextPlan {
    /// What may be done.
    pub policy: ContextPolicy,
    /// By which numbers those who keep the conversation know its turns, oldest first, the question last; instructions at
    /// the beginning are no turn. What stands behind the question is never cut.
    pub turns: Vec<u32>,
    /// What is known of its oldest turns in few words.
    pub summary: Option<TurnSummary>,
}

/// The oldest turns of a conversation in few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnSummary {
    /// The first turn that is not in it.
    pub before_turn: u32,
    /// The summary.
    pub text: String,
    /// The name of the model that wrote it.
    pub model: String,
}

/// What a conversation was answered without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextCut {
    /// The first turn that was left out.
    pub first_turn: u32,
    /// The last turn that was left out.
    pub last_turn: u32,
    /// How many they are.
    pub n_turns: u32,
    /// Tokens of the whole conversation.
    pub whole_tokens: u32,
    /// What took their place.
    pub summary: Option<TurnSummary>,
    /// Why there is no summary, where one was to be had.
    pub no_summary: Option<String>,
}

impl ContextCut {
    /// What `who` answered without, in one sentence.
    pub fn sentence(&self, who: &str) -> String {
        let Self { first_turn, last_turn, whole_tokens, .. } = self;
        let what = match &self.summary {
            Some(summary) if summary.before_turn > *last_turn => "; a summary takes their place".to_owned(),
            Some(summary) => format!("; a summary takes the place of those before {}", summary.before_turn),
            None => String::new(),
        };
        let why_not = self.no_summary.as_ref().map(|why| format!(" (no newer summary: {why})"));
        format!(
            "`{who}` was given the conversation, of {whole_tokens} tokens, without its turns {first_turn} to \
             {last_turn}{what}{}",
            why_not.unwrap_or_default()
        )
    }
}

impl TurnSummary {
    /// What the model is told instead of the turns.
    pub fn told(text: &str) -> String {
        format!("{SUMMARY_BEGINS}\n\n{text}")
    }
}

/// What stands before a summary.
const SUMMARY_BEGINS: &str = "This is what we said before, in short, because there is no room for all of it:";

impl GenerateRequest {
    /// Messages at the beginning that are instructions.
    pub fn n_instructions(&self) -> usize {
        self.messages.iter().take_while(|message| message.role == Role::System).count()
    }

    /// The places of messages before which the conversation may be cut, in order: where an exchange begins, the last
    /// question included.
    pub fn cuts(&self) -> Vec<usize> {
        let first = self.n_instructions();
        let end = (first + self.context.turns.len()).min(self.messages.len());
        let asks = |place: &usize| self.messages[*place].role == Role::User;
        (first + 1..end).filter(asks).collect()
    }

    /// The place before which a summary ends; `None` when the conversation cannot be cut there.
    pub fn cut_of(&self, summary: &TurnSummary) -> Option<usize> {
        // The turn itself may have come to nothing.
        let is_after = |cut: &usize| self.turn_at(*cut).is_some_and(|turn| turn >= summary.before_turn);
        let cut = self.cuts().into_iter().find(is_after)?;
        let before = cut.checked_sub(1).and_then(|before| self.turn_at(before));
        before.is_none_or(|before| before < summary.before_turn).then_some(cut)
    }

    /// The number of the turn at a place.
    pub fn turn_at(&self, place: usize) -> Option<u32> {
        self.context.turns.get(place.checked_sub(self.n_instructions())?).copied()
    }

    /// The request without the turns before a cut, with a summary in their place. It is not cut any further.
    #[must_use]
    pub fn cut_at(&self, cut: usize, summary: Option<&TurnSummary>) -> Self {
        let instructions = &self.messages[..self.n_instructions()];
        let told = summary.map(|summary| ChatMessage::user(TurnSummary::told(&summary.text)));
        let messages = instructions.iter().cloned().chain(told).chain(self.messages[cut..].iter().cloned());
        Self {
            messages: messages.collect(),
            context: ContextPlan::default(),
            prepared: None,
            // Field by field would clone the messages that are left out.
            id: self.id.clone(),
            tools_json: self.tools_json.clone(),
            sampling: self.sampling.clone(),
            max_tokens: self.max_tokens,
            default_max_tokens: self.default_max_tokens,
            answer_so_far: self.answer_so_far.clone(),
            stop: self.stop.clone(),
            top_logprobs: self.top_logprobs,
            time_left: self.time_left,
            priority: self.priority,
            fairness_key: self.fairness_key.clone(),
            is_read_whole: self.is_read_whole,
        }
    }

    /// What is said of a cut.
    pub fn cut_report(&self, cut: usize, whole_tokens: u32) -> ContextCut {
        let first = self.n_instructions();
        let left_out = &self.context.turns[..(cut - first).min(self.context.turns.len())];
        ContextCut {
            first_turn: left_out.first().copied().unwrap_or_default(),
            last_turn: left_out.last().copied().unwrap_or_default(),
            n_turns: u32::try_from(left_out.len()).unwrap_or(u32::MAX),
            whole_tokens,
            summary: None,
            no_summary: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn request(messages: Vec<ChatMessage>, turns: Vec<u32>) -> GenerateRequest {
        let new = GenerateRequest::new("r".parse().unwrap(), messages, 8, Duration::from_secs(1));
        GenerateRequest { context: ContextPlan { turns, ..ContextPlan::default() }, ..new }
    }

    fn conversation() -> GenerateRequest {
        let messages = vec![
            ChatMessage::system("s"),
            ChatMessage::user("a"),
            ChatMessage::assistant("b"),
            ChatMessage::user("c"),
            ChatMessage::text(Role::Tool, "t"),
            ChatMessage::assistant("d"),
            ChatMessage::user("e"),
        ];
        request(messages, vec![0, 1, 4, 5, 6, 7])
    }

    fn texts(request: &GenerateRequest) -> Vec<&str> {
        request.messages.iter().map(|message| message.content.as_str()).collect()
    }

    #[test]
    fn a_conversation_is_cut_where_an_exchange_begins() {
        let whole = conversation();
        assert_eq!(whole.cuts(), [3, 6]);
        assert_eq!(texts(&whole.cut_at(3, None)), ["s", "c", "t", "d", "e"]);
        assert_eq!(texts(&whole.cut_at(6, None)), ["s", "e"]);
        let report = whole.cut_report(6, 99);
        assert_eq!((report.first_turn, report.last_turn, report.n_turns), (0, 6, 5));
        assert_eq!(whole.cut_report(3, 99).last_turn, 1);
    }

    #[test]
    fn a_cut_is_told_in_one_sentence() {
        let mut cut = conversation().cut_report(6, 99);
        let begin = "`local` was given the conversation, of 99 tokens, without its turns 0 to 6";
        assert_eq!(cut.sentence("local"), begin);
        cut.summary = Some(TurnSummary { before_turn: 7, text: "t".into(), model: "m".into() });
        assert_eq!(cut.sentence("local"), format!("{begin}; a summary takes their place"));
        cut.summary.as_mut().unwrap().before_turn = 4;
        cut.no_summary = Some("no time".into());
        let end = "; a summary takes the place of those before 4 (no newer summary: no time)";
        assert_eq!(cut.sentence("local"), format!("{begin}{end}"));
    }

    #[test]
    fn what_stands_behind_the_question_is_kept_with_it() {
        let mut judged = conversation();
        judged.messages.extend([ChatMessage::assistant("bridge"), ChatMessage::user("judge")]);
        assert_eq!(judged.cuts(), [3, 6]);
    }

    #[test]
    fn one_question_alone_cannot_be_cut() {
        assert_eq!(
            request(vec![ChatMessage::system("s"), ChatMessage::user("a")], vec![0]).cuts(),
            Vec::<usize>::new()
        );
        assert_eq!(request(vec![ChatMessage::user("a")], vec![0]).cuts(), Vec::<usize>::new());
        assert_eq!(request(vec![], vec![]).cuts(), Vec::<usize>::new());
        let unknown = request(vec![ChatMessage::user("a"), ChatMessage::user("b")], vec![]);
        assert_eq!(unknown.cuts(), Vec::<usize>::new(), "nobody could say what was left out");
    }

    #[test]
    fn a_summary_stands_where_the_turns_stood_that_are_in_it() {
        let whole = conversation();
        let summary = |before_turn| TurnSummary { before_turn, text: "short".into(), model: "m".into() };
        assert_eq!(whole.cut_of(&summary(4)), Some(3));
        assert_eq!(whole.cut_of(&summary(7)), Some(6));
        assert_eq!(whole.cut_of(&summary(5)), None, "in the middle of an exchange");
        assert_eq!(whole.cut_of(&summary(2)), Some(3), "the turns 2 and 3 came to nothing");
        assert_eq!(whole.cut_of(&summary(8)), None);
        let cut = whole.cut_at(3, Some(&summary(4)));
        assert_eq!(texts(&cut)[2..], ["c", "t", "d", "e"]);
        assert!(texts(&cut)[1].ends_with("\n\nshort"));
        assert_eq!(cut.messages[1].role, Role::User);
    }
}
