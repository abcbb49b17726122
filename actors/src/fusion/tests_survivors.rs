//! What becomes of an answer that broke off after some of it was shown, when nobody can go on from there.

use super::scripted::*;
use boca_core::fusion::SelectBy;
use boca_core::{AnswerEvent, Ask, ErrorCode, FinishReason, Mode, SourceState, Strategy};

const CANBERRA: &str = "It is Canberra.";

/// Says the beginning of an answer, and fails.
fn breaks_off() -> Vec<Act> {
    vec![
        Act::Wait(100),
        Act::Think("Hm."),
        Act::Say("The capital of "),
        Act::Wait(100),
        Act::Fail(ErrorCode::ProviderFailed),
    ]
}

fn restarts(told: &Told) -> Vec<&str> {
    fn reason(event: &AnswerEvent) -> Option<&str> {
        if let AnswerEvent::Restart(reason) = event { Some(reason) } else { None }
    }
    told.events.iter().filter_map(reason).collect()
}

fn by_preference(sources: Vec<Scripted>) -> Stage {
    Stage::with(sources, |settings| {
        settings.select_by = SelectBy::Preferred;
        settings.preferred = vec!["gemini".into()];
    })
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_breaks_off_is_replaced_by_a_survivor() {
    // Before the lead breaks off, and after it.
    for (survivor_takes, whole_at) in [(150, 200), (700, 700)] {
        let stage = by_preference(vec![
            Scripted::new("gemini", breaks_off()),
            Scripted::new("claude", says(survivor_takes, CANBERRA)),
        ]);
        let told = stage.ask_in(Mode::Collaborative).await;
        let answer = told.answer();
        assert_eq!((answer.text.as_str(), answer.model_used.as_str()), (CANBERRA, "claude"));
        assert_eq!(answer.reasoning, None, "the thinking of the other is not the answer's");
        assert_eq!((told.first_text, told.took), (Some(ms(100)), ms(whole_at)));
        assert_eq!(restarts(&told).len(), 1);
        assert!(restarts(&told)[0].contains("`gemini` broke off") && restarts(&told)[0].contains("`claude`"));
        assert!(told.says_why("`gemini` broke off"), "{told:?}");
        assert_eq!((answer.trace.chosen.as_deref(), &answer.trace.seam), (Some("claude"), &None));
        assert_eq!(told.source("gemini").state, SourceState::Failed);
        assert_eq!(stage.source("claude").seen().len(), 1, "it was asked once");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_by_the_local_model_comes_before_another_answer() {
    let local = || Scripted::new("local", says(5000, "x"));
    let rest = says(300, "Australia is Canberra.");
    let claude = || Scripted::new("claude", says(150, CANBERRA));
    let gemini = || Scripted::new("gemini", breaks_off());
    let stage = by_preference(vec![gemini(), local().helping("-rest", rest), claude()]);
    let told = stage.ask_in(Mode::Collaborative).await;
    assert_eq!(told.answer().text, "The capital of Australia is Canberra.");
    assert_eq!((told.took, restarts(&told).len()), (ms(500), 0));
    assert_eq!(told.answer().model_used, "gemini + local-model");

    let fails = vec![Act::Wait(50), Act::Say("Austr"), Act::Fail(ErrorCode::EngineFailed)];
    let stage = by_preference(vec![gemini(), local().helping("-rest", fails), claude()]);
    let told = stage.ask_in(Mode::Collaborative).await;
    assert_eq!((told.answer().text.as_str(), told.took), (CANBERRA, ms(250)));
    assert_eq!(
        (&told.answer().trace.seam, restarts(&told).len()),
        (&None, 1),
        "there is no seam in this answer"
    );
}

#[tokio::test(start_paused = true)]
async fn when_every_survivor_fails_too_each_is_named() {
    let empty = vec![Act::Wait(400), STOP];
    let stage = by_preference(vec![
        Scripted::new("gemini", breaks_off()),
        Scripted::new("claude", breaks_off()),
        Scripted::new("mistral", empty),
    ]);
    let told = stage.ask_in(Mode::Collaborative).await;
    let failure = told.failure();
    assert_eq!(failure.code, ErrorCode::NoProviderAnswered);
    for name in ["gemini", "claude", "mistral"] {
        assert!(failure.message.contains(&format!("`{name}`")), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn fallback_goes_on_with_the_next_and_a_race_is_run_again() {
    for (mode, took) in [(Mode::Fallback, ms(450)), (Mode::Race, ms(450))] {
        let sources =
            vec![Scripted::new("gemini", breaks_off()), Scripted::new("claude", says(250, CANBERRA))];
        let told = Stage::new(sources).ask_in(mode.clone()).await;
        assert_eq!((told.answer().text.as_str(), told.took), (CANBERRA, took), "{mode:?}");
        assert_eq!((told.answer().model_used.as_str(), restarts(&told).len()), ("claude", 1));

        let sources = vec![Scripted::new("gemini", breaks_off()), Scripted::new("claude", breaks_off())];
        let told = Stage::new(sources).ask_in(mode.clone()).await;
        assert_eq!(told.failure().code, ErrorCode::NoProviderAnswered, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_merge_that_nobody_can_finish_gives_way_to_the_best_single_answer() {
    let gemini = Scripted::new("gemini", says(1, "It is Sydney.")).helping("-merge", breaks_off());
    let stage = Stage::with(vec![Scripted::new("claude", says(1, CANBERRA)), gemini], |settings| {
        settings.synthesizer = Some("gemini".into());
    });
    let told = stage.ask(Ask { strategy: Some(Strategy::Merge), ..question("q", Mode::Auto) }).await;
    let answer = told.answer();
    assert_eq!((answer.text.as_str(), answer.model_used.as_str()), (CANBERRA, "claude"));
    assert_eq!(
        (answer.trace.strategy, answer.trace.chosen.as_deref()),
        (Some(Strategy::Select), Some("claude"))
    );
    assert!(told.says_why("not merged") && restarts(&told).len() == 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_content_rules_cut_counts_only_when_there_is_no_whole_one() {
    let cut = || vec![Act::Wait(50), Act::Say("The capital"), Act::Finish(FinishReason::ContentFilter)];
    let sources = vec![Scripted::new("gemini", cut()), Scripted::new("claude", says(400, CANBERRA))];
    let told = Stage::new(sources).ask_in(Mode::Collaborative).await;
    assert_eq!((told.answer().text.as_str(), told.answer().model_used.as_str()), (CANBERRA, "claude"));
    let sources =
        vec![Scripted::new("gemini", cut()), Scripted::new("claude", vec![Act::Fail(ErrorCode::Internal)])];
    let told = Stage::new(sources).ask_in(Mode::Collaborative).await;
    assert_eq!(
        (told.answer().text.as_str(), told.answer().finish_reason),
        ("The capital", FinishReason::ContentFilter)
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_repeats_itself_gives_way_to_another() {
    let repeats = || {
        vec![Act::Wait(50), Act::Say("and on and on"), Act::Wait(50), Act::Finish(FinishReason::Repetition)]
    };
    // Among equals, and as the lead whose text was shown already.
    for is_lead in [false, true] {
        let sources = |other| vec![Scripted::new("gemini", repeats()), Scripted::new("claude", other)];
        let stage = |other| if is_lead { by_preference(sources(other)) } else { Stage::new(sources(other)) };
        let told = stage(says(400, CANBERRA)).ask_in(Mode::Collaborative).await;
        assert_eq!((told.answer().text.as_str(), told.answer().model_used.as_str()), (CANBERRA, "claude"));
        assert_eq!(restarts(&told).len(), usize::from(is_lead));
        let told =
            stage(vec![Act::Wait(200), Act::Fail(ErrorCode::Internal)]).ask_in(Mode::Collaborative).await;
        let answer = told.answer();
        assert_eq!((answer.text.as_str(), answer.finish_reason), ("and on and on", FinishReason::Repetition));
    }
    let told = Stage::new(vec![Scripted::new("gemini", repeats())]).ask_in(Mode::Collaborative).await;
    assert_eq!(told.answer().finish_reason, FinishReason::Repetition, "asked alone it is the answer");
}

#[tokio::test(start_paused = true)]
async fn a_survivor_that_was_cancelled_without_a_word_is_not_waited_for() {
    let cancelled = vec![Act::Wait(50), Act::Finish(FinishReason::Cancelled)];
    let stage = by_preference(vec![
        Scripted::new("gemini", breaks_off()),
        Scripted::new("claude", cancelled.clone()),
    ]);
    assert!(stage.ask_in(Mode::Collaborative).await.took <= ms(300));
    let stage = Stage::new(vec![
        Scripted::new("gemini", vec![Act::Fail(ErrorCode::Internal)]),
        Scripted::new("claude", cancelled),
    ]);
    assert!(stage.ask_in(Mode::Fallback).await.took <= ms(300));
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_what_was_shown_stands() {
    let stage =
        by_preference(vec![Scripted::new("gemini", breaks_off()), Scripted::new("claude", vec![Act::Hang])]);
    let told = stage.ask_in(Mode::Collaborative).await;
    assert_eq!(
        (told.answer().text.as_str(), told.answer().finish_reason),
        ("The capital of ", FinishReason::Deadline)
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_asked_for_is_not_replaced() {
    let shutting_down = vec![Act::Say("The"), Act::Wait(100), Act::Fail(ErrorCode::ShuttingDown)];
    let stage = by_preference(vec![
        Scripted::new("gemini", shutting_down),
        Scripted::new("claude", says(50, CANBERRA)),
    ]);
    let told = stage.ask_in(Mode::Collaborative).await;
    assert_eq!((told.failure().code, restarts(&told).len()), (ErrorCode::ShuttingDown, 0));
}
