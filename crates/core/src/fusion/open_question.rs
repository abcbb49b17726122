//! Whether a question has many good answers.
//!
//! Only such a question is worth merging: where one answer is right, a text made of a right one and a wrong one is
//! worse than the right one alone. The rule looks for the words that open questions are asked with, in English; what
//! it does not know counts as closed, so that nothing is merged by mistake.

/// How the first sentence of an open question may begin.
const OPENINGS: &[&str] = &[
    "advise",
    "brainstorm",
    "compare",
    "describe",
    "discuss",
    "explain",
    "give me ideas",
    "give me some ideas",
    "give me tips",
    "give me advice",
    "help me",
    "how can",
    "how could",
    "how do i",
    "how do you",
    "how do we",
    "how might",
    "how should",
    "how to",
    "how would",
    "outline",
    "plan",
    "recommend",
    "suggest",
    "tell me about",
    "what are some",
    "what are the advantages",
    "what are the best",
    "what are the pros",
    "what can i",
    "what could",
    "what do you think",
    "what should",
    "what would",
    "why",
    "write about",
    "write an essay",
];
/// What makes a question open wherever it stands.
const MARKS: &[&str] = &[
    "advantages and disadvantages",
    "best practices",
    "best way to",
    "ideas for",
    "pros and cons",
    "strategies for",
    "trade-offs",
    "tradeoffs",
    "your opinion",
];
/// What makes it closed all the same: there is one text to be reproduced, or one result.
const CLOSED: &[&str] = &[
    "```",
    "calculate",
    "compute",
    "exactly one",
    "in one word",
    "json",
    "multiple choice",
    "regex",
    "sql",
    "translate",
    "true or false",
    "write a function",
    "write code",
    "yes or no",
];

/// Whether several good answers to `question` can differ.
pub fn is_open_question(question: &str) -> bool {
    let text = question.trim().to_lowercase();
    if CLOSED.iter().any(|mark| text.contains(mark)) {
        return false;
    }
    let begins = |sentence: &str| {
        let sentence = sentence.trim_start_matches(|c: char| !c.is_alphanumeric());
        let sentence = sentence.strip_prefix("please ").unwrap_or(sentence);
        OPENINGS.iter().any(|opening| {
            let rest = sentence.strip_prefix(opening);
            rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        })
    };
    text.split_inclusive(['.', '?', '!', '\n']).any(begins) || MARKS.iter().any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_with_one_right_answer_are_closed() {
        for open in [
            "How should I prepare for an interview?",
            "I am moving to Oslo. What should I know?",
            "Please explain why bread rises.",
            "What are the pros and cons of remote work?",
            "Why did Rome fall?",
        ] {
            assert!(is_open_question(open), "{open}");
        }
        for closed in [
            "What is the capital of Australia?",
            "How many moons has Mars?",
            "Who wrote Hamlet?",
            "How do I translate \"bread\" to French?",
            "Why is 17 prime? Answer in one word.",
            "Planets: name the largest.",
            "Wie hoch ist der Eiffelturm?",
            "",
        ] {
            assert!(!is_open_question(closed), "{closed}");
        }
    }
}
