//! The demo model answers questions that it never saw, and it is really the model that answers.

use crate::harness::{Daemon, Home, until};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;

/// How many of the held-out questions must be answered rightly, with the default settings.
const WANTED: usize = 40;

/// A held-out question with the facts that its answer must and must not hold.
struct Rule {
    id: String,
    question: String,
    /// One alternative of each list has to be there.
    must: Vec<Vec<String>>,
    must_not: Vec<String>,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_lowercase()).collect()
}

fn rules() -> Vec<Rule> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/demo-model/heldout.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let rule = |value: &Value| Rule {
        id: value["id"].as_str().unwrap().to_owned(),
        question: value["question"].as_str().unwrap().to_owned(),
        must: value["must"].as_array().unwrap().iter().map(texts).collect(),
        must_not: texts(&value["must_not"]),
    };
    all.as_array().unwrap().iter().map(rule).collect()
}

impl Rule {
    fn is_met_by(&self, answer: &str) -> bool {
        let answer = answer.to_lowercase();
        let has = |part: &String| answer.contains(part.as_str());
        self.must.iter().all(|alternatives| alternatives.iter().any(has)) && !self.must_not.iter().any(has)
    }
}

#[test]
fn held_out_questions_are_answered() {
    let rules = rules();
    assert_eq!(rules.len(), 50);
    for rule in &rules {
        assert!(!rule.must.is_empty(), "{} demands nothing", rule.id);
        assert!(!rule.is_met_by(""), "{} is met by silence", rule.id);
        assert!(!rule.is_met_by(&rule.question), "{} is met by an echo", rule.id);
    }
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let mut wrong = Vec::new();
    for rule in &rules {
        let answer = daemon.chat(&json!({ "message": rule.question, "temperature": 0 }));
        let answer = answer["response"].as_str().unwrap();
        if !rule.is_met_by(answer) {
            wrong.push(format!("{}: {:?} -> {answer:?}", rule.id, rule.question));
        }
    }
    let right = rules.len() - wrong.len();
    println!("{right} of {} held-out questions were answered rightly", rules.len());
    assert!(right >= WANTED, "only {right} are right; the wrong ones: {wrong:#?}");
}

#[test]
fn the_answers_are_generated() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let ask = |body: Value| daemon.chat(&body)["response"].as_str().unwrap().to_owned();
    let question = "Tell me something about yourself.";
    let hot: HashSet<String> = (0..6)
        .map(|seed| ask(json!({ "message": question, "temperature": 2.0, "top_p": 1.0, "seed": seed, "thinking": false, "max_tokens": 40 })))
        .collect();
    assert!(hot.len() >= 4, "six seeds give only {hot:?}");
    let greedy: HashSet<String> =
        (0..3).map(|seed| ask(json!({ "message": question, "temperature": 0, "seed": seed }))).collect();
    assert_eq!(greedy.len(), 1, "greedy answers do not depend on the seed: {greedy:?}");
    // The most likely first token, forbidden, gives another answer.
    let first = daemon.chat(&json!({ "message": question, "temperature": 0, "logprobs": true, "top_logprobs": 2, "max_tokens": 1 }));
    let top = &first["logprobs"][0]["top_logprobs"];
    assert!(top[0]["logprob"].as_f64() > top[1]["logprob"].as_f64(), "{first}");
}

#[test]
fn the_demo_model_says_that_it_is_one() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!(
        (&status["model"]["info"]["name"], &status["model"]["info"]["is_demo"]),
        (&json!("boca-demo"), &json!(true))
    );
    until("the log to say it", || daemon.log().contains("\"is_demo\":true").then_some(()));
}
