//! What comes of a question in every mode, with every fault, in virtual time.

use super::scripted::*;
use crate::cancel_cause::n_not_needed;
use boca_core::fusion::{SelectBy, TrackRecord};
use boca_core::{
    Ask, Availability, EngineLoad, ErrorCode, Failure, FinishReason, Mode, SourceRole, SourceState, Strategy,
};
use std::time::Duration;

const CANBERRA: &str = "The capital of Australia is Canberra.";
const ALSO_CANBERRA: &str = "Canberra is the capital of Australia.";
const SYDNEY: &str = "The capital of Australia is Sydney.";
const BEST_IS_1: &str = r#"{"best": 1, "reason": "it is right"}"#;

fn three(local: Vec<Act>, gemini: Vec<Act>, claude: Vec<Act>) -> Vec<Scripted> {
    vec![Scripted::new("local", local), Scripted::new("gemini", gemini), Scripted::new("claude", claude)]
}

fn two(local: Vec<Act>, gemini: Vec<Act>) -> Vec<Scripted> {
    vec![Scripted::new("local", local), Scripted::new("gemini", gemini)]
}

#[tokio::test(start_paused = true)]
async fn answers_that_agree_need_no_judge_and_take_as_long_as_the_slowest() {
    let stage = Stage::new(two(says(300, CANBERRA), says(500, ALSO_CANBERRA)));
    let told = stage.ask_in(Mode::Auto).await;
    let answer = told.answer();
    assert_eq!((answer.text.as_str(), answer.model_used.as_str()), (CANBERRA, "local-model"));
    assert_eq!(told.took, ms(500), "the slowest, never the sum");
    assert_eq!(answer.trace.mode, "collaborative");
    assert_eq!(answer.trace.strategy, Some(Strategy::Select));
    assert_eq!(answer.trace.chosen.as_deref(), Some("local"));
    assert!(answer.trace.agreement.unwrap() > 0.9 && told.says_why("agree"));
    assert_eq!(answer.answers.iter().map(|a| a.provider.as_str()).collect::<Vec<_>>(), ["local", "gemini"]);
    let (local, gemini) = (told.source("local"), told.source("gemini"));
    assert_eq!((local.began, gemini.began), (ms(0), ms(0)), "all begin at the same moment");
    assert_eq!((local.ended, gemini.ended), (Some(ms(300)), Some(ms(500))));
    assert_eq!(gemini.cost.unwrap().0, 20);
    assert_eq!(stage.source("local").seen().len() + stage.source("gemini").seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_judge_decides_between_answers_that_differ() {
    // Whatever order the sources have for the judge, its word counts for the source that it means.
    for _ in 0..20 {
        let judge = Scripted::new("local", says(300, CANBERRA)).helping("-judge", says(200, BEST_IS_1));
        let stage = Stage::new(vec![judge, Scripted::new("gemini", says(100, SYDNEY))]);
        let told = stage.ask_in(Mode::Collaborative).await;
        let answer = told.answer();
        let prompt = &stage.source("local").seen()[1].messages;
        let text = &prompt.last().unwrap().content;
        let first_is_canberra = text.find(CANBERRA) < text.find(SYDNEY);
        assert_eq!(answer.text, if first_is_canberra { CANBERRA } else { SYDNEY });
        assert!(!text.contains("gemini") && !text.contains("local"), "{text}");
        assert_eq!(told.took, ms(500));
        assert_eq!(told.first_text, Some(ms(500)), "nothing is shown before it is decided");
        assert_eq!(answer.trace.judged_by.as_deref(), Some("local"));
        let judge = answer.sources.iter().find(|source| source.role == SourceRole::Judge).unwrap();
        assert_eq!((judge.began, judge.ended), (ms(300), Some(ms(500))));
        let record = stage.shared.records.of("gemini");
        assert_eq!((record.n_decided, record.n_preferred), (1, u64::from(!first_is_canberra)));
        assert_eq!(record.median_latency, Some(ms(100)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_does_not_think_and_the_engine_reads_the_conversation_as_it_did_before() {
    for (judge, of_question, expected) in [
        ("local", None, (None, Some(1))),
        ("local", Some(true), (Some(true), Some(1))),
        ("local", Some(false), (Some(false), None)),
        ("gemini", None, (Some(false), None)),
        ("gemini", Some(true), (Some(false), None)),
    ] {
        let verdict = || says(1, BEST_IS_1);
        let sources = vec![
            Scripted::new("local", says(300, CANBERRA)).helping("-judge", verdict()),
            Scripted::new("gemini", says(100, SYDNEY)).helping("-judge", verdict()),
        ];
        let stage = Stage::with(sources, |settings| settings.judge = Some(judge.into()));
        let mut ask = question("q", Mode::Collaborative);
        ask.generate.sampling.thinking = of_question;
        assert_eq!(stage.ask(ask).await.answer().trace.judged_by.as_deref(), Some(judge));
        let [own, asked] = &stage.source(judge).seen()[..] else { panic!("two requests") };
        assert_eq!((asked.sampling.thinking, asked.sampling.thinking_budget_tokens), expected, "{judge}");
        assert_eq!(asked.sampling.temperature, Some(0.0));
        assert_eq!(asked.messages[..own.messages.len()], own.messages);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_verdict_the_preferred_answer_is_taken() {
    for (script, reason) in [
        (vec![Act::Refuse(ErrorCode::Overloaded)], "failed as the judge"),
        (vec![Act::Fail(ErrorCode::EngineFailed)], "failed as the judge"),
        (says(1, "Source 1, I think"), "JSON"),
        (says(1, r#"{"best": 7}"#), "chose source 7"),
        (vec![Act::Hang], "judge"),
    ] {
        let judge = Scripted::new("local", says(300, CANBERRA)).helping("-judge", script.clone());
        let stage = Stage::new(vec![judge, Scripted::new("gemini", says(100, SYDNEY))]);
        let told = stage.ask_in(Mode::Collaborative).await;
        assert_eq!(told.answer().text, CANBERRA, "{script:?}");
        assert!(told.says_why("there is no verdict") && told.says_why(reason), "{script:?} {told:?}");
        assert_eq!(told.answer().trace.judged_by, None);
        assert!(told.took <= ms(300) + Duration::from_secs(20));
    }
}

#[tokio::test(start_paused = true)]
async fn a_synthesizer_writes_one_answer_and_is_shown_as_it_writes() {
    let merge = vec![Act::Wait(100), Act::Say("Canberra, "), Act::Wait(400), Act::Say("not Sydney."), STOP];
    let local = Scripted::new("local", says(300, CANBERRA)).helping("-merge", merge);
    let stage = Stage::new(vec![local, Scripted::new("gemini", says(200, SYDNEY))]);
    let told = stage.ask(Ask { strategy: Some(Strategy::Merge), ..question("q", Mode::Auto) }).await;
    let answer = told.answer();
    assert_eq!(
        (answer.text.as_str(), answer.model_used.as_str()),
        ("Canberra, not Sydney.", "collaborative")
    );
    assert_eq!((told.first_text, told.took), (Some(ms(400)), ms(800)));
    assert_eq!((answer.trace.strategy, answer.trace.chosen.as_deref()), (Some(Strategy::Merge), None));
    assert_eq!(answer.trace.judged_by.as_deref(), Some("local"));
    assert_eq!(answer.answers.len(), 2);
    let mut open = question("q", Mode::Auto);
    open.generate.messages[0].content = "How should I spend a week in Australia?".into();
    assert_eq!(stage.ask(open).await.answer().model_used, "collaborative", "an open question is merged");
}

#[tokio::test(start_paused = true)]
async fn without_a_synthesizer_the_preferred_answer_is_taken() {
    for script in
        [vec![Act::Fail(ErrorCode::EngineFailed)], says(1, "  "), vec![Act::Refuse(ErrorCode::Overloaded)]]
    {
        let local = Scripted::new("local", says(300, CANBERRA)).helping("-merge", script.clone());
        let stage = Stage::new(vec![local, Scripted::new("gemini", says(200, SYDNEY))]);
        let told = stage.ask(Ask { strategy: Some(Strategy::Merge), ..question("q", Mode::Auto) }).await;
        let answer = told.answer();
        assert_eq!(answer.text.trim(), CANBERRA, "{script:?}");
        assert_eq!(
            (answer.model_used.as_str(), answer.trace.strategy),
            ("local-model", Some(Strategy::Select))
        );
        assert!(told.says_why("not merged"), "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn quorum_and_grace_leave_the_slow_one_behind() {
    let stage = Stage::new(three(says(100, CANBERRA), says(200, ALSO_CANBERRA), says(30_000, SYDNEY)));
    let told = stage.ask_in(Mode::Collaborative).await;
    assert_eq!(told.took, ms(2200), "the second answer and the grace");
    assert_eq!(told.source("claude").state, SourceState::Cancelled);
    assert!(told.says_why("`claude` is not waited for"));
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_leaves_the_answer_to_the_other() {
    for fault in [
        vec![Act::Refuse(ErrorCode::ProviderUnavailable)],
        vec![Act::Wait(50), Act::Fail(ErrorCode::ProviderFailed)],
        vec![Act::Say("The cap"), Act::Fail(ErrorCode::ProviderFailed)],
        vec![Act::Finish(FinishReason::Stop)],
        vec![Act::Finish(FinishReason::ContentFilter)],
    ] {
        for mode in [Mode::Auto, Mode::Collaborative, Mode::Compare] {
            let stage = Stage::new(two(says(300, CANBERRA), fault.clone()));
            let told = stage.ask_in(mode.clone()).await;
            let answer = told.answer();
            assert_eq!((answer.text.as_str(), answer.model_used.as_str()), (CANBERRA, "local-model"));
            assert_eq!(told.source("gemini").state, SourceState::Failed, "{mode:?} {fault:?}");
            assert_eq!(told.took, ms(300));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_one_left_is_shown_while_it_writes() {
    let slow = vec![Act::Wait(100), Act::Say("The capital "), Act::Wait(900), Act::Say("is Canberra."), STOP];
    let stage = Stage::new(two(slow, vec![Act::Wait(200), Act::Fail(ErrorCode::ProviderFailed)]));
    let told = stage.ask_in(Mode::Collaborative).await;
    assert_eq!((told.first_text, told.took), (Some(ms(200)), ms(1000)));
    assert_eq!(told.answer().text, "The capital is Canberra.");
}

#[tokio::test(start_paused = true)]
async fn all_that_fail_are_named_with_their_reasons() {
    let fail = |code| vec![Act::Wait(10), Act::Fail(code)];
    for mode in [Mode::Auto, Mode::Collaborative, Mode::Race, Mode::Fallback, Mode::Compare, Mode::Cloud] {
        let stage = Stage::new(three(
            fail(ErrorCode::EngineFailed),
            fail(ErrorCode::ProviderFailed),
            vec![Act::Refuse(ErrorCode::ProviderRefused)],
        ));
        let told = stage.ask_in(mode.clone()).await;
        let failure = told.failure();
        assert_eq!(failure.code, ErrorCode::NoProviderAnswered, "{mode:?}");
        for (name, reason) in [("gemini", "provider_failed"), ("claude", "provider_refused")] {
            assert!(failure.message.contains(&format!("`{name}`: the script says {reason}")), "{failure}");
        }
        assert_eq!(failure.message.contains("`local`"), mode != Mode::Cloud);
        assert_eq!(told.first_text, None, "an error is never shown as an answer");
    }
}

#[tokio::test(start_paused = true)]
async fn what_everyone_says_of_the_request_is_said_once() {
    let refuse = || vec![Act::Refuse(ErrorCode::ContextLengthExceeded)];
    let told = Stage::new(two(refuse(), refuse())).ask_in(Mode::Collaborative).await;
    assert_eq!(told.failure().code, ErrorCode::ContextLengthExceeded);
    let told = Stage::new(two(vec![Act::Refuse(ErrorCode::Overloaded)], refuse())).ask_in(Mode::Local).await;
    assert_eq!(told.failure(), &Failure::new(ErrorCode::Overloaded, "the script says overloaded"));
}

#[tokio::test(start_paused = true)]
async fn the_first_to_say_something_wins_a_race() {
    let slow = vec![Act::Wait(10), Act::Think("hm"), Act::Wait(190), Act::Say("late"), STOP];
    let quick =
        vec![Act::Wait(100), Act::Say("The capital "), Act::Wait(500), Act::Say("is Canberra."), STOP];
    let stage = Stage::new(three(slow, quick, vec![Act::Fail(ErrorCode::ProviderFailed)]));
    let told = stage.ask_in(Mode::Race).await;
    assert_eq!((told.first_text, told.took), (Some(ms(100)), ms(600)));
    assert_eq!(
        (told.answer().text.as_str(), told.answer().model_used.as_str()),
        ("The capital is Canberra.", "gemini")
    );
    let local = told.source("local");
    assert_eq!((local.state, local.ended), (SourceState::Cancelled, Some(ms(100))));
    assert_eq!(n_not_needed(told.answer()), 1, "the one that failed was not cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_asks_one_after_the_other() {
    let stage = Stage::new(three(
        vec![Act::Wait(100), Act::Fail(ErrorCode::EngineFailed)],
        says(50, "  "),
        says(200, CANBERRA),
    ));
    let told = stage.ask_in(Mode::Fallback).await;
    assert_eq!((told.answer().text.as_str(), told.took), (CANBERRA, ms(350)));
    assert_eq!(told.source("claude").began, ms(150));
    assert!(told.says_why("`gemini` gave no answer"));
    let stage = Stage::new(two(says(100, CANBERRA), says(1, SYDNEY)));
    stage.ask_in(Mode::Fallback).await.answer();
    assert_eq!(stage.source("gemini").seen().len(), 0, "nobody else is asked when the first answers");
    let stage = Stage::new(two(vec![Act::Hang], says(1, CANBERRA)));
    let told = stage.ask_in(Mode::Fallback).await;
    assert_eq!(
        (told.answer().text.as_str(), told.took),
        (CANBERRA, ms(30_001)),
        "a share of the time, not all of it"
    );
}

#[tokio::test(start_paused = true)]
async fn all_answers_stand_side_by_side() {
    let stage =
        Stage::new(three(says(300, CANBERRA), says(100, SYDNEY), vec![Act::Fail(ErrorCode::ProviderFailed)]));
    let told = stage.ask_in(Mode::Compare).await;
    let answer = told.answer();
    let texts: Vec<_> = answer.answers.iter().map(|a| (a.provider.as_str(), a.text.as_str())).collect();
    assert_eq!(texts, [("gemini", SYDNEY), ("local", CANBERRA)]);
    assert_eq!((answer.text.as_str(), answer.trace.agreement), (CANBERRA, Some(0.0)));
    assert_eq!(answer.sources.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_preferred_one_is_shown_at_once_and_the_others_are_spared() {
    let slow =
        || vec![Act::Wait(100), Act::Say("The capital "), Act::Wait(900), Act::Say("is Canberra."), STOP];
    let stage = Stage::with(two(says(50, SYDNEY), slow()), |settings| {
        settings.select_by = SelectBy::Preferred;
        settings.preferred = vec!["gemini".into()];
    });
    let told = stage.ask_in(Mode::Auto).await;
    assert_eq!((told.first_text, told.took), (Some(ms(100)), ms(1000)));
    assert_eq!(told.answer().model_used, "gemini");
    let stage = Stage::with(two(slow(), says(50, SYDNEY)), |settings| settings.select_by = SelectBy::Record);
    let record = |s, n_preferred| TrackRecord {
        median_latency: Some(Duration::from_secs(s)),
        n_preferred,
        n_decided: 10,
        ..TrackRecord::default()
    };
    stage.shared.records.load("local", record(9, 1));
    stage.shared.records.load("gemini", record(1, 9));
    let told = stage.ask_in(Mode::Auto).await;
    assert_eq!((told.answer().text.as_str(), told.took), (SYDNEY, ms(50)));
    let failing =
        Stage::with(two(vec![Act::Wait(500), Act::Fail(ErrorCode::EngineFailed)], slow()), |settings| {
            settings.select_by = SelectBy::Preferred;
        });
    let told = failing.ask_in(Mode::Auto).await;
    assert_eq!((told.first_text, told.answer().model_used.as_str()), (Some(ms(500)), "gemini"));
}

#[tokio::test(start_paused = true)]
async fn a_named_provider_answers_alone_and_says_what_went_wrong_itself() {
    let stage = Stage::new(two(says(1, CANBERRA), vec![Act::Wait(1), Act::Fail(ErrorCode::ProviderRefused)]));
    let told = stage.ask_in(Mode::Provider("gemini".into())).await;
    assert_eq!(told.failure().code, ErrorCode::ProviderRefused);
    assert_eq!(stage.source("local").seen().len(), 0);
    let told = stage.ask_in(Mode::Provider("gpt".into())).await;
    assert_eq!(told.failure().param.as_deref(), Some("mode"));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_asked_is_left_out_and_named_when_nobody_answers() {
    let mut gemini = Scripted::new("gemini", says(1, SYDNEY));
    gemini.availability =
        Availability::CircuitOpen { retry_in: ms(5000), reason: "connection refused".into() };
    let stage = Stage::new(vec![Scripted::new("local", says(100, CANBERRA)), gemini]);
    let told = stage.ask_in(Mode::Auto).await;
    assert_eq!((told.answer().text.as_str(), told.took), (CANBERRA, ms(100)));
    assert!(told.says_why("connection refused"));
    assert_eq!(told.first_text, Some(ms(100)));
    assert_eq!(stage.source("gemini").seen().len(), 0);
    let mut gemini = Scripted::new("gemini", Vec::new());
    gemini.availability = Availability::Resting { resumes_in: ms(9000) };
    let stage = Stage::new(vec![Scripted::new("local", vec![Act::Fail(ErrorCode::EngineFailed)]), gemini]);
    let told = stage.ask_in(Mode::Auto).await;
    assert_eq!(told.failure().code, ErrorCode::NoProviderAnswered);
    assert!(told.failure().message.contains("`gemini`: its daily budget is spent"), "{}", told.failure());
    assert_eq!(told.failure().retry_after, Some(ms(9000)));
}

#[tokio::test(start_paused = true)]
async fn a_full_engine_is_left_out_and_the_trace_says_so() {
    let mut local = Scripted::new("local", says(1, CANBERRA));
    local.load = Some(EngineLoad {
        n_requests: 9,
        expected_wait: Duration::from_secs(61),
        kv_headroom_tokens: None,
        available_memory_bytes: None,
        is_memory_short: false,
    });
    let stage = Stage::new(vec![
        local,
        Scripted::new("gemini", says(100, SYDNEY)),
        Scripted::new("claude", says(90, SYDNEY)),
    ]);
    let told = stage.ask_in(Mode::Collaborative).await;
    assert_eq!(told.answer().text, SYDNEY);
    assert!(told.says_why("its queue takes about 61.0 s"));
    assert_eq!(stage.source("local").seen().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_demo_model_stays_away_from_real_answers() {
    let demo = || Scripted::new("local", says(1, "demo")).demo();
    let stage = Stage::new(vec![demo(), Scripted::new("gemini", says(50, CANBERRA))]);
    for mode in [Mode::Auto, Mode::Collaborative, Mode::Race, Mode::Compare, Mode::Fallback] {
        assert_eq!(stage.ask_in(mode).await.answer().text, CANBERRA);
    }
    assert_eq!(stage.source("local").seen().len(), 0);
    assert_eq!(stage.ask_in(Mode::Local).await.answer().text, "demo");
    let broken = vec![Act::Say("The cap"), Act::Fail(ErrorCode::ProviderFailed)];
    let stage = Stage::new(vec![demo(), Scripted::new("gemini", broken)]);
    assert_eq!(
        stage.ask_in(Mode::Auto).await.failure().code,
        ErrorCode::ProviderFailed,
        "it does not go on either"
    );
}
