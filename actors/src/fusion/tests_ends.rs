//! How answers end early, are finished by others, are cancelled, and stay private.

use super::scripted::*;
use boca_core::fusion::SelectBy;
use boca_core::{
    AnswerEvent, Ask, Effort, ErrorCode, FinishReason, Mode, Seam, SourceRole, SourceState, Strategy,
};
use futures_util::StreamExt;
use std::time::Duration;

const BROKEN: &[Act] =
    &[Act::Wait(100), Act::Say("The capital of "), Act::Wait(100), Act::Fail(ErrorCode::ProviderFailed)];

fn rest() -> Vec<Act> {
    vec![Act::Wait(300), Act::Say("Australia is "), Act::Say("Canberra."), STOP]
}

#[tokio::test(start_paused = true)]
async fn the_local_model_finishes_what_the_cloud_began() {
    let whole = "The capital of Australia is Canberra.";
    for (mode, script) in [
        (Mode::Provider("gemini".into()), BROKEN.to_vec()),
        (Mode::Cloud, BROKEN.to_vec()),
        (Mode::Race, BROKEN.to_vec()),
    ] {
        let local =
            Scripted::new("local", vec![Act::Wait(1000), Act::Say("x"), STOP]).helping("-rest", rest());
        let stage = Stage::new(vec![local, Scripted::new("gemini", script)]);
        let told = stage.ask_in(mode.clone()).await;
        let answer = told.answer();
        assert_eq!(answer.text, whole, "{mode:?}");
        assert_eq!(answer.model_used, "gemini + local-model");
        assert_eq!(answer.trace.seam, Some(Seam { at_byte: 15, from: "gemini".into(), to: "local".into() }));
        assert_eq!(&answer.text[..15], "The capital of ");
        assert_eq!((told.first_text, told.took), (Some(ms(100)), ms(500)));
        let asked = stage.source("local").seen().pop().unwrap();
        assert_eq!(asked.answer_so_far, "The capital of ");
        assert_eq!(asked.messages, question("q", Mode::Auto).generate.messages);
        assert_eq!(answer.sources.last().unwrap().role, SourceRole::Continuation);
        assert_eq!(answer.finish_reason, FinishReason::Stop);
    }
}

#[tokio::test(start_paused = true)]
async fn another_goes_on_from_local_text_only_where_it_can() {
    let local = || Scripted::new("local", BROKEN.to_vec());
    let gemini = || Scripted::new("gemini", says(1, "no")).helping("-rest", rest());
    let told = Stage::new(vec![local(), gemini()]).ask_in(Mode::Local).await;
    assert_eq!(told.failure().code, ErrorCode::ProviderFailed);
    let told = Stage::new(vec![local(), gemini().continuing()]).ask_in(Mode::Local).await;
    assert_eq!(told.answer().model_used, "local-model + gemini");
}

#[tokio::test(start_paused = true)]
async fn a_merge_that_breaks_off_is_finished_too() {
    let gemini = Scripted::new("gemini", says(1, "It is Sydney.")).helping("-merge", BROKEN.to_vec());
    let local = Scripted::new("local", says(1, "It is Canberra.")).helping("-rest", rest());
    let stage = Stage::with(vec![local, gemini], |settings| settings.synthesizer = Some("gemini".into()));
    let told = stage.ask(Ask { strategy: Some(Strategy::Merge), ..question("q", Mode::Auto) }).await;
    assert_eq!(told.answer().text, "The capital of Australia is Canberra.");
    assert_eq!(
        (told.answer().model_used.as_str(), told.answer().trace.chosen.as_deref()),
        ("collaborative", None)
    );
    let asked = stage.source("local").seen().pop().unwrap();
    assert!(
        asked.messages.last().unwrap().content.contains("It is Sydney."),
        "it sees what the synthesizer saw"
    );
}

#[tokio::test(start_paused = true)]
async fn when_nobody_can_go_on_the_failure_is_said_after_the_text() {
    let local = Scripted::new("local", Vec::new()).helping("-rest", vec![Act::Fail(ErrorCode::EngineFailed)]);
    let stage = Stage::new(vec![local, Scripted::new("gemini", BROKEN.to_vec())]);
    let told = stage.ask_in(Mode::Provider("gemini".into())).await;
    assert!(told.failure().message.contains("`local` could not go on"), "{}", told.failure());
    let stage = Stage::with(
        vec![Scripted::new("local", Vec::new()), Scripted::new("gemini", BROKEN.to_vec())],
        |settings| settings.finish_broken_answers = false,
    );
    let told = stage.ask_in(Mode::Provider("gemini".into())).await;
    assert_eq!((told.failure().code, stage.source("local").seen().len()), (ErrorCode::ProviderFailed, 0));
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_an_answer_ends_with_what_it_has() {
    let begins = vec![Act::Wait(100), Act::Say("The capital of"), Act::Hang];
    for mode in
        [Mode::Provider("gemini".into()), Mode::Race, Mode::Fallback, Mode::Collaborative, Mode::Compare]
    {
        let stage = Stage::new(vec![
            Scripted::new("local", vec![Act::Hang]),
            Scripted::new("gemini", begins.clone()),
            Scripted::new("claude", vec![Act::Hang]),
        ]);
        let told = stage.ask_in(mode.clone()).await;
        let answer = told.answer();
        assert_eq!(
            (answer.text.as_str(), answer.finish_reason),
            ("The capital of", FinishReason::Deadline),
            "{mode:?}"
        );
        assert!(
            told.took >= Duration::from_secs(60) && told.took <= Duration::from_secs(63),
            "{:?}",
            told.took
        );
    }
    let stage =
        Stage::new(vec![Scripted::new("local", vec![Act::Hang]), Scripted::new("gemini", vec![Act::Hang])]);
    for mode in [Mode::Race, Mode::Collaborative, Mode::Compare, Mode::Fallback] {
        let told = stage.ask_in(mode).await;
        assert_eq!(told.failure().code, ErrorCode::NoProviderAnswered);
        assert!(told.failure().message.contains("`gemini`"), "{}", told.failure());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_ends_for_everyone() {
    let writes = || vec![Act::Wait(100), Act::Say("The capital"), Act::Hang];
    for mode in [Mode::Race, Mode::Collaborative, Mode::Compare, Mode::Local] {
        let stage = Stage::new(vec![Scripted::new("local", writes()), Scripted::new("gemini", writes())]);
        let cancel = async {
            tokio::time::sleep(ms(500)).await;
            assert!(stage.cancel("q"));
            assert!(!stage.cancel("other"));
        };
        let (told, ()) = tokio::join!(stage.ask_in(mode.clone()), cancel);
        assert_eq!(told.took, ms(500), "{mode:?}");
        match mode {
            Mode::Race | Mode::Local => {
                let answer = told.answer();
                assert_eq!(
                    (answer.text.as_str(), answer.finish_reason),
                    ("The capital", FinishReason::Cancelled)
                );
            }
            _ => assert_eq!(told.failure().code, ErrorCode::Cancelled),
        }
        let is_over = |name| told.source(name).state == SourceState::Cancelled;
        assert!(is_over("local") && (mode == Mode::Local || is_over("gemini")), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_drops_every_source_at_once() {
    let stage =
        Stage::new(vec![Scripted::new("local", vec![Act::Hang]), Scripted::new("gemini", vec![Act::Hang])]);
    let arrived = super::now();
    let question = stage.shared.prepare(question("q", Mode::Auto), arrived, arrived + ms(9000)).unwrap();
    let mut stream = stage.shared.begin(question).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(AnswerEvent::Source(_)))));
    assert_eq!(stage.sources.iter().map(|source| source.n_open()).sum::<usize>(), 2);
    assert!(stage.cancel("q"), "it is on the list");
    drop(stream);
    assert_eq!(stage.sources.iter().map(|source| source.n_open()).sum::<usize>(), 0);
    assert!(!stage.cancel("q"));
}

#[tokio::test(start_paused = true)]
async fn an_id_is_used_once_at_a_time() {
    let stage =
        Stage::new(vec![Scripted::new("local", vec![Act::Hang]), Scripted::new("gemini", vec![Act::Hang])]);
    let begin = || async {
        let arrived = super::now();
        let question = stage.shared.prepare(question("q", Mode::Auto), arrived, arrived + ms(9000)).unwrap();
        stage.shared.begin(question).await
    };
    let first = begin().await.unwrap();
    assert_eq!(begin().await.unwrap_err().code, ErrorCode::Conflict);
    drop(first);
    begin().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn effort_sets_mode_and_thinking_and_the_request_stands_above_it() {
    let stage = Stage::new(vec![
        Scripted::new("local", says(200, "It is Canberra.")),
        Scripted::new("gemini", says(100, "It is Canberra.")),
    ]);
    let with = |effort, mode| Ask { effort: Some(effort), ..question("q", mode) };
    let fast = stage.ask(with(Effort::Fast, Mode::Auto)).await;
    assert_eq!((fast.took, fast.answer().trace.mode.as_str()), (ms(100), "race"));
    assert_eq!(stage.source("gemini").seen()[0].sampling.thinking, Some(false));
    let best = stage.ask(with(Effort::Best, Mode::Auto)).await;
    assert_eq!((best.took, best.answer().trace.mode.as_str()), (ms(200), "collaborative"));
    assert!(stage.source("gemini").seen()[1].sampling.thinking_budget_tokens.unwrap() > 1000);
    let mut named = with(Effort::Fast, Mode::Compare);
    named.generate.sampling.thinking = Some(true);
    assert_eq!(stage.ask(named).await.answer().trace.mode, "compare");
    assert_eq!(stage.source("gemini").seen()[2].sampling.thinking, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_private_question_is_seen_by_no_provider_that_is_not_local() {
    let modes = Mode::NAMED.into_iter().chain(["local", "gemini", "gemini-model"].map(Mode::from_name));
    for mode in modes {
        for local in [
            says(50, "It is Canberra."),
            vec![Act::Wait(50), Act::Say("It is"), Act::Fail(ErrorCode::EngineFailed)],
            vec![Act::Fail(ErrorCode::EngineFailed)],
            vec![Act::Hang],
        ] {
            for strategy in [None, Some(Strategy::Merge), Some(Strategy::Select)] {
                for effort in [None, Some(Effort::Fast), Some(Effort::Best)] {
                    let cloud = |name| Scripted::new(name, says(1, "I saw it.")).continuing();
                    let mut ollama = Scripted::new("local", says(10, "It is Sydney."));
                    ollama.rename("ollama");
                    let stage = Stage::with(
                        vec![Scripted::new("local", local.clone()), cloud("gemini"), cloud("claude"), ollama],
                        |settings| {
                            settings.judge = Some("gemini".into());
                            settings.synthesizer = Some("claude".into());
                            settings.preferred = vec!["gemini".into()];
                            settings.default_mode = Mode::Cloud;
                        },
                    );
                    let ask = Ask { private: true, strategy, effort, ..question("q", mode.clone()) };
                    let told = stage.ask(ask).await;
                    for name in ["gemini", "claude"] {
                        assert!(
                            stage.source(name).seen().is_empty(),
                            "{mode:?} {local:?} {strategy:?}: {told:?}"
                        );
                    }
                    if let Ok(answer) = &told.end {
                        assert!(!answer.text.contains("I saw it."));
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_answers_are_made_at_once_in_bounded_memory() {
    const N: usize = 200;
    const PIECES: usize = 200;
    let long = |last: &'static str| {
        let mut script: Vec<Act> =
            (0..PIECES).flat_map(|_| [Act::Wait(5), Act::Say("word and word ")]).collect();
        script.extend([Act::Say(last), STOP]);
        script
    };
    let stage = Stage::with(
        vec![Scripted::new("local", long("one")), Scripted::new("gemini", long("one"))],
        |settings| settings.select_by = SelectBy::Judge,
    );
    let mut streams = Vec::new();
    for n in 0..N {
        let arrived = super::now();
        let ask = question(&format!("q{n}"), Mode::Collaborative);
        let question = stage.shared.prepare(ask, arrived, arrived + Duration::from_secs(60)).unwrap();
        streams.push(stage.shared.begin(question).await.unwrap());
    }
    assert_eq!(stage.shared.running.n_running(), N);
    assert_eq!(stage.sources.iter().map(|source| source.n_open()).sum::<usize>(), 2 * N);
    // Nobody reads: the work stands still, and nothing piles up behind it.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let read = streams.into_iter().map(|mut stream| async move {
        let (mut n_events, mut text) = (0, 0);
        while let Some(event) = stream.next().await {
            n_events += 1;
            match event.unwrap() {
                AnswerEvent::Text(more) => text += more.len(),
                AnswerEvent::Done(answer) => assert_eq!(answer.text.len(), text),
                _ => {}
            }
        }
        (n_events, text)
    });
    for (n_events, text) in futures_util::future::join_all(read).await {
        assert_eq!(text, PIECES * "word and word ".len() + 3);
        assert!(n_events < 12, "texts run together: {n_events}");
    }
    assert_eq!(stage.sources.iter().map(|source| source.n_open()).sum::<usize>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tool_call_is_an_answer_without_text() {
    let calls = vec![Act::Wait(10), Act::Call("search"), Act::Finish(FinishReason::ToolCalls)];
    for mode in [Mode::Race, Mode::Fallback, Mode::Collaborative] {
        let failing = vec![Act::Wait(1), Act::Fail(ErrorCode::EngineFailed)];
        let stage = Stage::new(vec![Scripted::new("local", failing), Scripted::new("gemini", calls.clone())]);
        let told = stage.ask_in(mode).await;
        let answer = told.answer();
        assert_eq!((answer.tool_calls.len(), answer.finish_reason), (1, FinishReason::ToolCalls));
    }
}
