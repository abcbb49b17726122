//! The real engine behind the actors, with the model that boca carries.

use crate::support::*;
use boca_core::{ActorState, AnswerEvent, FinishReason, SamplingOverrides};
use boca_engine::ModelSource;
use boca_engine::generate::{EngineOptions, load};
use futures_util::StreamExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_demo_model_answers_and_is_cancelled_and_answers_again() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo-model");
    let source = ModelSource::Directory(directory);
    let engine = EngineOptions::default();
    let options = options(Arc::new(move |progress| load(&source, &engine, progress)));
    actix_rt::System::new().block_on(async move {
        let actors = boca_actors::start(options);
        let mut greedy = question("greedy");
        greedy.generate.sampling = SamplingOverrides {
            temperature: Some(0.0),
            thinking: Some(false),
            ..SamplingOverrides::default()
        };
        greedy.generate.default_max_tokens = 48;
        let ask = |id: &str| {
            let mut ask = greedy.clone();
            ask.generate.id = request_id(id);
            actors.synthesizer.ask(ask, in_time())
        };
        let (events, answer) = read(ask("first").await.unwrap()).await;
        let answer = answer.unwrap();
        let streamed: String = events
            .into_iter()
            .filter_map(|event| match event {
                AnswerEvent::Text(text) => Some(text),
                _ => None,
            })
            .collect();
        assert_eq!(streamed, answer.text);
        assert!(!answer.text.trim().is_empty());
        assert!(answer.usage.prompt_tokens > 0 && answer.usage.completion_tokens > 0);
        let status = until_state(&actors, ActorState::Ready).await;
        assert_eq!(status.info.unwrap().name, answer.model_used);

        let mut dropped = ask("dropped").await.unwrap();
        while !matches!(dropped.next().await, Some(Ok(AnswerEvent::Text(_)))) {}
        drop(dropped);
        let again = read(ask("again").await.unwrap()).await.1.unwrap();
        assert_eq!((&again.text, again.finish_reason), (&answer.text, answer.finish_reason));
        assert_ne!(again.finish_reason, FinishReason::Cancelled);
        actors.drain(Duration::ZERO).await;
        assert!(actors.states().values().all(|report| report.state == ActorState::Down));
    });
}
