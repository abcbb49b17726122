use crate::support::*;
use boca_core::{
    ActorState, AnswerEvent, ErrorCode, FinishReason, GenerationEvent, Mode, SourceState, TokenLogprob,
    TopLogprob,
};
use futures_util::StreamExt;

#[test]
fn an_answer_streams_in_order() {
    with_actors(|actors, script| async move {
        script.loads();
        let mut stream = ask(&actors, "a").await.unwrap();
        let logprob = TokenLogprob {
            chosen: TopLogprob { token: "x".into(), bytes: b"x".to_vec(), logprob: -0.1 },
            top: Vec::new(),
        };
        for event in [
            GenerationEvent::Started { prompt_tokens: 5, max_tokens: 8 },
            GenerationEvent::Reasoning("hm".into()),
            GenerationEvent::Logprobs(vec![logprob.clone()]),
        ] {
            script.step.send(boca_step(event)).unwrap();
        }
        let mut seen = Vec::new();
        while seen.last().is_none_or(|event| !matches!(event, AnswerEvent::Reasoning(_))) {
            seen.push(stream.next().await.unwrap().unwrap());
        }
        script.says("he");
        assert!(matches!(stream.next().await, Some(Ok(AnswerEvent::Text(text))) if text == "he"));
        script.says("llo");
        script.finishes();
        let (rest, answer) = read(stream).await;
        let answer = answer.unwrap();

        let states: Vec<_> = seen
            .iter()
            .chain(&rest)
            .filter_map(|event| match event {
                AnswerEvent::Source(trace) => Some((trace.state, trace.usage.prompt_tokens)),
                _ => None,
            })
            .collect();
        assert_eq!(
            states,
            [
                (SourceState::Asked, 0),
                (SourceState::Asked, 5),
                (SourceState::Answering, 5),
                (SourceState::Finished, 5)
            ]
        );
        assert_eq!(answer.text, "hello");
        assert_eq!(answer.reasoning.as_deref(), Some("hm"));
        assert_eq!(answer.logprobs, Some(vec![logprob]));
        assert_eq!(answer.model_used, MODEL_NAME);
        assert_eq!(answer.finish_reason, FinishReason::Stop);
        let [source] = &answer.sources[..] else { panic!("one source") };
        assert_eq!(source.provider, "local");
        assert!(source.began <= source.first_token.unwrap());
        assert!(source.first_token.unwrap() <= source.ended.unwrap());
    });
}

fn boca_step(event: GenerationEvent) -> Step {
    Step::Emit(event)
}

#[test]
fn a_dropped_stream_frees_the_engine_for_the_next() {
    for _ in 0..50 {
        with_actors(|actors, mut script| async move {
            script.loads();
            let dropped = ask(&actors, "dropped").await.unwrap();
            let next = ask(&actors, "next").await.unwrap();
            assert_eq!(script.seen().await, Seen::LoadBegan);
            assert_eq!(script.seen().await, Seen::Began("dropped".into()));
            drop(dropped);
            assert_eq!(script.seen().await, Seen::Ended("dropped".into(), FinishReason::Cancelled));
            assert_eq!(script.seen().await, Seen::Began("next".into()));
            script.says("free");
            script.finishes();
            assert_eq!(read(next).await.1.unwrap().text, "free");
        });
    }
}

#[test]
fn a_stream_that_is_dropped_while_it_waits_never_reaches_the_engine() {
    with_actors(|actors, mut script| async move {
        script.loads();
        let first = ask(&actors, "first").await.unwrap();
        assert_eq!(script.seen().await, Seen::LoadBegan);
        assert_eq!(script.seen().await, Seen::Began("first".into()));
        let queued = ask(&actors, "queued").await.unwrap();
        let last = ask(&actors, "last").await.unwrap();
        assert_eq!(actors.model.queue().queued, 2);
        drop(queued);
        assert_eq!(actors.model.queue().queued, 1);
        script.finishes();
        script.finishes();
        read(first).await.1.unwrap();
        read(last).await.1.unwrap();
        for expected in [
            Seen::Ended("first".into(), FinishReason::Stop),
            Seen::Began("last".into()),
            Seen::Ended("last".into(), FinishReason::Stop),
        ] {
            assert_eq!(script.seen().await, expected);
        }
    });
}

#[test]
fn a_cancelled_request_keeps_its_text() {
    with_actors(|actors, script| async move {
        script.loads();
        let mut stream = ask(&actors, "a").await.unwrap();
        script.says("so far");
        while !matches!(stream.next().await, Some(Ok(AnswerEvent::Text(_)))) {}
        let observed = actors.model.observe(in_time()).await.unwrap();
        assert_eq!(observed.requests.len(), 1);
        assert!(observed.requests[0].is_running);
        assert_eq!(observed.status.state, ActorState::Busy);
        assert!(actors.model.cancel(request_id("a"), in_time()).await.unwrap());
        let answer = read(stream).await.1.unwrap();
        assert_eq!((answer.text.as_str(), answer.finish_reason), ("so far", FinishReason::Cancelled));
        assert_eq!(answer.sources[0].state, SourceState::Cancelled);
        assert!(!actors.model.cancel(request_id("a"), in_time()).await.unwrap());
    });
}

#[test]
fn only_those_who_exist_can_be_asked() {
    with_actors(|actors, script| async move {
        script.loads();
        until_state(&actors, ActorState::Ready).await;
        let to = |mode| boca_core::Ask { mode, ..question("a") };
        let unknown = to(Mode::Provider("gemini".into()));
        let failure = actors.synthesizer.ask(unknown, in_time()).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::InvalidRequest);
        assert_eq!(failure.param.as_deref(), Some("mode"));
        assert!(failure.message.ends_with("or a provider (`local`, `scripted`), got `gemini`"), "{failure}");
        for mode in [Mode::Local, Mode::Provider("local".into()), Mode::Provider(MODEL_NAME.into())] {
            script.finishes();
            let stream = actors.synthesizer.ask(to(mode), in_time()).await.unwrap();
            read(stream).await.1.unwrap();
        }
        let observed = actors.synthesizer.observe(in_time()).await.unwrap();
        assert_eq!((observed.asked, observed.providers), (4, vec!["local".to_owned()]));
    });
}

#[test]
fn an_engine_that_refuses_a_request_serves_the_next() {
    with_actors(|actors, script| async move {
        script.loads();
        script.step.send(Step::Refuse).unwrap();
        let failure = answer(&actors, "a").await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::InvalidRequest);
        assert_eq!(failure.param.as_deref(), Some("logit_bias"));
        script.finishes();
        answer(&actors, "b").await.unwrap();
        assert_eq!(actors.model.status().engine_restarts, 0);
    });
}

#[test]
fn every_outcome_is_counted_once() {
    with_options(
        |options| options.queue_limit = 0,
        |actors, mut script| async move {
            script.loads();
            until_state(&actors, ActorState::Ready).await;
            let chat = actors.synthesizer.for_route("/api/chat");
            let answered = chat.ask(question("a"), in_time()).await.unwrap();
            let refused = chat.ask(question("b"), in_time()).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::Overloaded);
            script.finishes();
            read(answered).await.1.unwrap();
            let abandoned = chat.ask(question("c"), in_time()).await.unwrap();
            while script.seen().await != Seen::Began("c".into()) {}
            drop(abandoned);
            let snapshot = actors.metrics.snapshot(in_time()).await.unwrap();
            let outcomes: Vec<_> = snapshot.by_outcome.iter().map(|(k, v)| (k.as_str(), *v)).collect();
            assert_eq!(outcomes, [("abandoned", 1), ("overloaded", 1), ("stop", 1)]);
            assert_eq!(snapshot.by_route["/api/chat"], 3);
            assert_eq!(snapshot.by_model[MODEL_NAME], 1);
            assert_eq!((snapshot.prompt_tokens, snapshot.completion_tokens), (5, 3));
            assert_eq!(snapshot.total_ms.count, 1);
            assert_eq!(snapshot.lost_samples, 0);
        },
    );
}
