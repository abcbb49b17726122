//! Conversations that do not fit the context.

use crate::support::*;
use boca_actors::{Actors, ActorsOptions, EngineHosting};
use boca_core::{
    Answer, Ask, ChatMessage, ContextCut, ContextPlan, ContextPolicy, ErrorCode, Failure, FinishReason,
    GenerateRequest, GenerationEvent, GenerationSummary, ModelInfo, Priority, Timings, TurnSummary, Usage,
};
use boca_engine::{CancelToken, EngineError, ModelSource, OneByOne, PromptMaker, SoloModel};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CONTEXT: u32 = 256;

/// Notes what it is asked, and how to answer a summary.
#[derive(Default)]
struct Notes {
    asked: Mutex<Vec<GenerateRequest>>,
    /// `None`: it repeats itself when it is to summarise.
    summary: Mutex<Option<String>>,
    /// The number of the summary in which it repeats itself, counted down; 0: none.
    n_summaries: AtomicU32,
}

impl Notes {
    fn summarises(&self) -> Option<String> {
        if self.n_summaries.load(Ordering::SeqCst) == 1 {
            return None;
        }
        self.n_summaries.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).ok();
        self.summary.lock().unwrap().clone()
    }

    /// The texts of a request, and whether it yields to people.
    fn texts(&self) -> Vec<(Vec<String>, Priority)> {
        let asked = self.asked.lock().unwrap();
        let texts = |request: &GenerateRequest| request.messages.iter().map(|m| m.content.clone()).collect();
        asked.iter().map(|request| (texts(request), request.priority)).collect()
    }
}

struct Noting(Arc<Notes>, ModelInfo);

impl SoloModel for Noting {
    fn info(&self) -> &ModelInfo {
        &self.1
    }

    fn answer(
        &mut self,
        request: &GenerateRequest,
        _: Instant,
        _: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError> {
        let n_tokens = request.prepared.as_ref().expect("the daemon made the prompt").ids.len();
        assert!(n_tokens < CONTEXT as usize, "it does not fit: {n_tokens}");
        assert_eq!(request.context, ContextPlan::default());
        self.0.asked.lock().unwrap().push(request.clone());
        let mut finish_reason = FinishReason::Stop;
        let text = match is_summary(request) {
            false => "answered".to_owned(),
            true => self.0.summarises().unwrap_or_else(|| {
                finish_reason = FinishReason::Repetition;
                "again and again".to_owned()
            }),
        };
        emit(GenerationEvent::Started { prompt_tokens: n_tokens as u32, max_tokens: 8 });
        emit(GenerationEvent::Text(text));
        let (usage, timings) = (Usage::default(), Timings::default());
        Ok(GenerationSummary { finish_reason, stop_sequence: None, usage, timings })
    }
}

fn is_summary(request: &GenerateRequest) -> bool {
    request.messages.last().is_some_and(|task| task.content.contains("Write that summary"))
}

/// Runs over a model whose context is small, and that summarises to this.
fn with_notes<F: Future<Output = ()>>(
    summary: Option<&str>,
    run: impl FnOnce(Actors, Arc<Notes>) -> F + 'static,
) {
    let notes = Arc::new(Notes::default());
    *notes.summary.lock().unwrap() = summary.map(str::to_owned);
    let of_engine = Arc::clone(&notes);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo-model");
    let source = ModelSource::Directory(directory);
    let options = ActorsOptions {
        prompts: Some(Arc::new(move || PromptMaker::open(&source, Some(CONTEXT)))),
        ..ActorsOptions::new(EngineHosting::Thread(Arc::new(move |_| {
            let info = ModelInfo::unknown("noting");
            Ok(Box::new(OneByOne::new(Noting(Arc::clone(&of_engine), info))))
        })))
    };
    actix_rt::System::new().block_on(async move {
        let actors = boca_actors::start(options);
        run(actors.clone(), notes).await;
        actors.drain(Duration::from_secs(5)).await;
    });
}

/// A conversation of so many exchanges of some 16 tokens each, whose turns have the numbers from 100 on, and a question.
fn conversation(n_exchanges: u32, policy: ContextPolicy) -> Ask {
    let mut messages = vec![ChatMessage::system("Be brief.")];
    for n in 0..n_exchanges {
        messages.push(ChatMessage::user(format!("What is the number after {n}?")));
        messages.push(ChatMessage::assistant(format!("It is {}.", n + 1)));
    }
    messages.push(ChatMessage::user("And now?"));
    let turns = (100..=100 + 2 * n_exchanges).collect();
    let mut ask = question("r");
    ask.generate.messages = messages;
    ask.generate.max_tokens = Some(40);
    ask.generate.context = ContextPlan { policy, turns, summary: None };
    ask
}

async fn answer_to(actors: &Actors, ask: Ask) -> Result<Answer, Failure> {
    read(actors.synthesizer.ask(ask, in_time()).await?).await.1
}

fn cut_of(answer: &Answer) -> Option<ContextCut> {
    answer.sources[0].context_cut.as_deref().cloned()
}

#[test]
fn what_fits_is_left_as_it_is_whatever_is_allowed() {
    with_notes(Some("short"), |actors, notes| async move {
        for policy in ContextPolicy::ALL {
            let answer = answer_to(&actors, conversation(3, policy)).await.unwrap();
            assert_eq!(cut_of(&answer), None);
        }
        assert!(notes.texts().iter().all(|(texts, _)| texts.len() == 8));
    });
}

#[test]
fn what_does_not_fit_is_refused_where_nothing_else_is_allowed() {
    with_notes(None, |actors, notes| async move {
        let failure = answer_to(&actors, conversation(40, ContextPolicy::Refuse)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::ContextLengthExceeded);
        assert!(failure.message.contains("256"), "{failure}");
        assert_eq!(notes.texts().len(), 0);
    });
}

#[test]
fn a_sliding_context_keeps_the_instructions_and_the_last_turns_and_says_what_it_left_out() {
    with_notes(None, |actors, notes| async move {
        let answer = answer_to(&actors, conversation(40, ContextPolicy::Sliding)).await.unwrap();
        let cut = cut_of(&answer).unwrap();
        assert_eq!((cut.first_turn, cut.summary.as_ref(), cut.no_summary.as_ref()), (100, None, None));
        assert_eq!(cut.last_turn, 99 + cut.n_turns);
        assert!(cut.whole_tokens > CONTEXT, "{cut:?}");
        let [(texts, _)] = &notes.texts()[..] else { panic!("one request") };
        assert_eq!(texts[0], "Be brief.");
        let first_kept = cut.n_turns / 2;
        assert_eq!(texts[1], format!("What is the number after {first_kept}?"), "an exchange begins");
        assert_eq!(texts.len() as u32, 1 + 81 - cut.n_turns);
        assert!(texts.len() > 6, "the last ones are kept: {texts:?}");
        assert_eq!(texts.last().unwrap(), "And now?");
    });
}

#[test]
fn what_slides_keeps_its_beginning_for_several_questions() {
    with_notes(None, |actors, _| async move {
        let mut cuts = Vec::new();
        for n in 14..40 {
            let answer = answer_to(&actors, conversation(n, ContextPolicy::Sliding)).await.unwrap();
            cuts.extend(cut_of(&answer).map(|cut| cut.last_turn));
        }
        assert!(cuts.is_sorted());
        let n_cut = cuts.len();
        cuts.dedup();
        assert!(n_cut > 2 * cuts.len(), "{n_cut} questions, cut at {cuts:?}");
    });
}

#[test]
fn a_question_that_does_not_fit_by_itself_is_refused_with_both_numbers() {
    with_notes(None, |actors, _| async move {
        let mut ask = conversation(3, ContextPolicy::Sliding);
        ask.generate.messages.last_mut().unwrap().content = "word ".repeat(400);
        let failure = answer_to(&actors, ask).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::ContextLengthExceeded);
        assert!(failure.message.ends_with("also without the turns 100 to 105"), "{failure}");
    });
}

#[test]
fn a_summary_takes_the_place_of_old_turns_and_serves_the_next_question() {
    with_notes(Some("we counted"), |actors, notes| async move {
        let answer = answer_to(&actors, conversation(20, ContextPolicy::Summarise)).await.unwrap();
        let cut = cut_of(&answer).unwrap();
        let summary = cut.summary.clone().unwrap();
        let known =
            TurnSummary { before_turn: cut.last_turn + 1, text: "we counted".into(), model: "noting".into() };
        assert_eq!(summary, known);
        let asked = notes.texts();
        let (last, parts) = asked.split_last().unwrap();
        assert!(!parts.is_empty());
        for (texts, priority) in parts {
            assert_eq!(
                (texts[0].as_str(), *priority),
                ("Be brief.", Priority::Interactive),
                "somebody waits"
            );
        }
        assert!(last.0[1].ends_with("\n\nwe counted"), "{:?}", last.0);
        assert_eq!(last.0[2], format!("What is the number after {}?", cut.n_turns / 2));

        // The next question of the conversation finds it.
        let mut next = conversation(21, ContextPolicy::Summarise);
        next.generate.context.summary = Some(summary.clone());
        next.generate.id = request_id("next");
        let answer = answer_to(&actors, next).await.unwrap();
        assert_eq!(cut_of(&answer).unwrap().summary, Some(summary.clone()));
        assert_eq!(notes.texts().len(), asked.len() + 1, "nothing was summarised again");

        // Much later it takes in what came since.
        *notes.summary.lock().unwrap() = Some("we counted on".into());
        let n_before = notes.texts().len();
        let mut later = conversation(34, ContextPolicy::Summarise);
        later.generate.context.summary = Some(summary.clone());
        later.generate.id = request_id("later");
        let cut = cut_of(&answer_to(&actors, later).await.unwrap()).unwrap();
        assert!(cut.summary.as_ref().unwrap().before_turn > summary.before_turn);
        assert_eq!(cut.summary.unwrap().text, "we counted on");
        let first = &notes.texts()[n_before].0;
        assert!(first[1].ends_with("\n\nwe counted"), "it goes on from the first: {first:?}");
    });
}

#[test]
fn a_conversation_far_larger_than_the_context_is_summarised_piece_by_piece() {
    with_notes(Some("short"), |actors, notes| async move {
        let mut ask = conversation(60, ContextPolicy::Summarise);
        ask.generate.messages[21].content = "a long text ".repeat(200);
        let answer = answer_to(&actors, ask).await.unwrap();
        assert!(cut_of(&answer).unwrap().summary.is_some());
        let asked = notes.texts();
        assert!(asked.len() > 4, "{}", asked.len());
        assert!(asked.iter().any(|(texts, _)| texts.iter().any(|text| text.contains(" […] "))));
    });
}

#[test]
fn without_a_summary_turns_are_left_out_and_that_is_said() {
    with_notes(None, |actors, notes| async move {
        let answer = answer_to(&actors, conversation(20, ContextPolicy::Summarise)).await.unwrap();
        let cut = cut_of(&answer).unwrap();
        assert_eq!(cut.summary, None);
        assert_eq!(cut.no_summary.as_deref(), Some("the summary ended early: repetition"));
        assert_eq!(answer.text, "answered");
        assert_eq!(notes.texts().len(), 2);
    });
}

#[test]
fn a_summary_of_a_larger_context_is_written_anew() {
    with_notes(Some("small"), |actors, _| async move {
        let mut ask = conversation(20, ContextPolicy::Summarise);
        let known = TurnSummary { before_turn: 138, text: "much ".repeat(300), model: "large".into() };
        ask.generate.context.summary = Some(known);
        let summary = cut_of(&answer_to(&actors, ask).await.unwrap()).unwrap().summary.unwrap();
        assert_eq!((summary.text.as_str(), summary.model.as_str()), ("small", "noting"));
    });
}

#[test]
fn what_was_summarised_before_it_went_wrong_is_told() {
    with_notes(Some("part"), |actors, notes| async move {
        notes.n_summaries.store(3, Ordering::SeqCst);
        let answer = answer_to(&actors, conversation(60, ContextPolicy::Summarise)).await.unwrap();
        let cut = cut_of(&answer).unwrap();
        let summary = cut.summary.unwrap();
        assert_eq!(summary.text, "part");
        assert!(summary.before_turn > 100 && summary.before_turn <= cut.last_turn, "{summary:?}");
        assert_eq!(cut.no_summary.as_deref(), Some("the summary ended early: repetition"));
    });
}

#[test]
fn a_summary_is_made_ahead_when_a_conversation_is_nearly_full() {
    with_notes(Some("early"), |actors, notes| async move {
        let ahead = async |n, summary: Option<TurnSummary>| {
            let mut request = conversation(n, ContextPolicy::Summarise).generate;
            request.context.summary = summary;
            actors.model.summarise_ahead(request, in_time()).await.unwrap()
        };
        assert_eq!(ahead(3, None).await, None);
        let summary = ahead(10, None).await.unwrap();
        assert_eq!(summary.text, "early");
        let n_asked = notes.texts().len();
        assert_eq!(ahead(10, Some(summary.clone())).await, Some(summary), "it will do");
        assert_eq!(notes.texts().len(), n_asked);
    });
}
