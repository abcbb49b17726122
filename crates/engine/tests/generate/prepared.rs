//! Prompts that were made where no weights are.

use crate::echo::{Told, demo};
use boca_core::{ChatMessage, FinishReason, GenerateRequest, SamplingOverrides};
use boca_engine::{EngineError, ModelSource, PromptMaker};
use std::path::PathBuf;
use std::time::Duration;

fn prompts(context_tokens: Option<u32>) -> PromptMaker {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
    PromptMaker::open(&ModelSource::Directory(directory), context_tokens).unwrap()
}

fn request(id: &str, question: &str) -> GenerateRequest {
    let messages = vec![ChatMessage::user(question)];
    let sampling = SamplingOverrides { temperature: Some(0.0), ..SamplingOverrides::default() };
    GenerateRequest {
        sampling,
        ..GenerateRequest::new(id.parse().unwrap(), messages, 12, Duration::from_secs(600))
    }
}

#[test]
fn an_engine_takes_the_prompt_and_answers_as_if_it_had_made_it() {
    let mut engine = demo(256, 0);
    let prompts = prompts(None);
    let mut told = Told::default();
    let plain = request("plain", "What is two plus two?");
    let continued = GenerateRequest { answer_so_far: "It is".into(), ..request("continued", "And now?") };
    for request in [&plain, &continued] {
        told.begin(engine.as_mut(), request);
        told.run(engine.as_mut());
        let prepared = prompts.prepare(request).unwrap();
        // Without its messages only the tokens can tell what was asked.
        let id = format!("{}-prepared", request.id).parse().unwrap();
        let bare = GenerateRequest { id, messages: vec![], prepared: Some(prepared), ..request.clone() };
        told.begin(engine.as_mut(), &bare);
        told.run(engine.as_mut());
        let [own, given] = [request.id.as_str(), bare.id.as_str()].map(|id| told.texts[id].clone());
        assert!(!own.is_empty());
        assert_eq!(own, given);
    }
}

#[test]
fn tokens_of_other_text_files_are_not_believed() {
    let mut engine = demo(256, 0);
    let mut told = Told::default();
    let own = request("own", "What is two plus two?");
    told.begin(engine.as_mut(), &own);
    told.run(engine.as_mut());
    let mut prepared = prompts(None).prepare(&request("other", "Name a colour.")).unwrap();
    prepared.text_files ^= 1;
    let foreign = GenerateRequest { prepared: Some(prepared), ..request("foreign", "What is two plus two?") };
    told.begin(engine.as_mut(), &foreign);
    told.run(engine.as_mut());
    assert_eq!(told.texts["own"], told.texts["foreign"]);
    assert!(matches!(told.reason("own"), Some(FinishReason::Stop | FinishReason::Length)));
}

#[test]
fn many_at_once_are_what_each_is_alone_and_in_order() {
    let prompts = prompts(None);
    let mut requests: Vec<_> =
        (0..37).map(|n| request(&format!("r{n}"), &"long ".repeat(n * 7 % 40))).collect();
    requests[5].sampling.temperature = Some(-1.0);
    let together = prompts.prepare_all(&requests);
    assert_eq!(together.len(), requests.len());
    for (place, (request, prepared)) in requests.iter().zip(together).enumerate() {
        match (prompts.prepare(request), prepared) {
            (Ok(alone), Ok(prepared)) => assert_eq!(alone, prepared),
            (Err(EngineError::InvalidRequest { param, .. }), Err(_)) => {
                assert_eq!((place, param.as_str()), (5, "temperature"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(prompts.prepare_all(&[]).is_empty());
}

#[test]
fn what_does_not_fit_is_refused_with_both_numbers_and_can_be_counted() {
    let prompts = prompts(Some(64));
    assert_eq!(prompts.context_tokens(), 64);
    let long = request("long", &"word ".repeat(100));
    let n_prompt = prompts.count(&long).unwrap();
    assert!(n_prompt > 100);
    match prompts.prepare(&long) {
        Err(EngineError::ContextExceeded { prompt_tokens, max_tokens: 1, context_tokens: 64 }) => {
            assert_eq!(prompt_tokens as usize, n_prompt);
        }
        other => panic!("{other:?}"),
    }
    let greedy = GenerateRequest { max_tokens: Some(64), ..request("greedy", "hi") };
    assert!(matches!(prompts.prepare(&greedy), Err(EngineError::ContextExceeded { max_tokens: 64, .. })));
    let mut biased = request("biased", "hi");
    biased.sampling.logit_bias = Some([(u32::MAX, 1.0)].into());
    assert!(matches!(
        prompts.prepare(&biased),
        Err(EngineError::InvalidRequest { param, .. }) if param == "logit_bias"
    ));
}
