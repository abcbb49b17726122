//! Generation with the demo model's real weights. What it says is not looked at here, only that the rules hold.

use boca_core::{
    ChatMessage, FinishReason, GenerateRequest, GenerationEvent, LoadPhase, SamplingOverrides, Usage,
};
use boca_engine::generate::{EngineOptions, load};
use boca_engine::{CancelToken, Generator, ModelSource};
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn demo(prefill_chunk_tokens: usize) -> (Box<dyn Generator>, Vec<LoadPhase>) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
    let mut phases = Vec::new();
    let options = EngineOptions { prefill_chunk_tokens, ..EngineOptions::default() };
    let generator = load(&ModelSource::Directory(directory), &options, &mut |progress| {
        if phases.last() != Some(&progress.phase) {
            phases.push(progress.phase);
        }
        assert!(progress.done_bytes <= progress.total_bytes);
    });
    (generator.unwrap(), phases)
}

fn request(temperature: f32) -> GenerateRequest {
    GenerateRequest {
        sampling: SamplingOverrides {
            temperature: Some(temperature),
            seed: Some(3),
            ..SamplingOverrides::default()
        },
        max_tokens: Some(24),
        ..GenerateRequest::new(
            "r1".parse().unwrap(),
            vec![ChatMessage::system("Be brief."), ChatMessage::user("What can you do?")],
            24,
            Duration::from_secs(600),
        )
    }
}

fn run(
    generator: &mut dyn Generator,
    request: &GenerateRequest,
    cancel: &CancelToken,
    watch: &mut dyn FnMut(&GenerationEvent),
) -> (String, FinishReason, Usage) {
    let mut text = String::new();
    let summary = generator
        .generate(request, Instant::now(), cancel, &mut |event| {
            watch(&event);
            if let GenerationEvent::Text(piece) = event {
                text.push_str(&piece);
            }
        })
        .unwrap();
    // What was computed before is not computed again; that is seen here alone.
    (text, summary.finish_reason, Usage { cached_tokens: 0, ..summary.usage })
}

#[test]
fn the_demo_model_keeps_the_rules() {
    let (mut generator, phases) = demo(256);
    assert_eq!(phases, [LoadPhase::Checking, LoadPhase::Reading, LoadPhase::WarmingUp]);
    assert!(generator.info().vocab_size > 0 && generator.info().backend.starts_with("cpu"));
    let never = CancelToken::default();
    let ask = |generator: &mut dyn Generator, request: &GenerateRequest| {
        run(generator, request, &never, &mut |_| {})
    };

    let greedy = ask(generator.as_mut(), &request(0.0));
    assert!(greedy.2.completion_tokens <= 24 && greedy.2.prompt_tokens > 5);
    assert_eq!(ask(generator.as_mut(), &request(0.0)), greedy, "greedy text is stable");
    let warm = ask(generator.as_mut(), &request(1.0));
    assert_eq!(ask(generator.as_mut(), &request(1.0)), warm, "a seed fixes the text");

    let (mut small_chunks, _) = demo(3);
    assert_eq!(ask(small_chunks.as_mut(), &request(0.0)), greedy, "the size of prompt chunks does not show");

    let mut short = request(0.0);
    short.max_tokens = Some(2);
    let (_, reason, usage) = ask(generator.as_mut(), &short);
    assert!(usage.completion_tokens <= 2);
    assert!(usage.completion_tokens < 2 || reason == FinishReason::Length || reason == FinishReason::Stop);

    let cancel = CancelToken::default();
    let (text, reason, usage) = run(generator.as_mut(), &request(0.0), &cancel, &mut |event| {
        if !matches!(event, GenerationEvent::Started { .. }) {
            cancel.cancel();
        }
    });
    assert!(greedy.0.starts_with(&text));
    assert!(reason == FinishReason::Cancelled || usage.completion_tokens == greedy.2.completion_tokens);
    assert_eq!(
        ask(generator.as_mut(), &request(0.0)),
        greedy,
        "a cancelled generation leaves nothing behind"
    );

    if greedy.0.chars().count() > 4 {
        let mut stopping = request(0.0);
        let stop: String = greedy.0.chars().skip(2).take(3).collect();
        stopping.stop = vec![stop.clone()];
        let (text, _, _) = ask(generator.as_mut(), &stopping);
        assert!(greedy.0.starts_with(&text) && !text.contains(&stop), "{text:?} should end before {stop:?}");
    }
}
