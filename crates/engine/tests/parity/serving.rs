//! The engine over MLX: what its device draws is what the host would have picked, many at once are answered as one alone
//! is, and what was computed is kept, in memory and over a restart.
//!
//! MLX rounds by the number of rows, so that an answer in company may part from the one alone where two tokens are nearly
//! as likely: a few may differ.

use boca_core::{
    ChatMessage, FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, SamplingOverrides,
};
use boca_engine::generate::{BackendChoice, DeviceChoice, EngineOptions, PrefixCacheDisk, load};
use boca_engine::mlx::MlxBackend;
use boca_engine::{CancelToken, Generator, ModelSource, Report};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

const QUESTIONS: [&str; 6] = [
    "What can you do?",
    "How do I stop the daemon?",
    "Which model is this, and how large is it?",
    "Hello!",
    "Where are the conversations kept?",
    "Which commands are there?",
];

fn engine(disk: Option<&Path>) -> Box<dyn Generator> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
    let options = EngineOptions {
        backend: BackendChoice::Mlx,
        device: if MlxBackend::has_gpu() { DeviceChoice::Gpu } else { DeviceChoice::Cpu },
        max_running: QUESTIONS.len(),
        prefix_cache_bytes: 64 << 20,
        prefix_cache_disk: disk
            .map(|disk| PrefixCacheDisk { directory: disk.join("kept"), max_bytes: 64 << 20 }),
        ..EngineOptions::default()
    };
    load(&ModelSource::Directory(directory), &options, &mut |_| {}).unwrap()
}

fn asking(n: usize) -> GenerateRequest {
    let messages = vec![ChatMessage::user(QUESTIONS[n])];
    let id = format!("r{n}").parse().unwrap();
    let sampling = SamplingOverrides { temperature: Some(0.0), ..SamplingOverrides::default() };
    GenerateRequest { sampling, ..GenerateRequest::new(id, messages, 40, Duration::from_secs(300)) }
}

/// Texts and ends of requests that are all under way at once.
fn run(
    engine: &mut dyn Generator,
    requests: &[GenerateRequest],
) -> HashMap<String, (String, GenerationSummary)> {
    let (mut texts, mut ends) = (HashMap::<String, String>::new(), HashMap::new());
    let mut hear = |id: &str, report: Report| match report {
        Report::Event(GenerationEvent::Text(more) | GenerationEvent::Reasoning(more)) => {
            texts.entry(id.into()).or_default().push_str(&more);
        }
        Report::Event(_) => {}
        Report::Ended(end) => assert!(ends.insert(id.to_owned(), end.unwrap()).is_none()),
    };
    for request in requests {
        engine.begin(request, Instant::now(), &CancelToken::default(), &mut |id, report| {
            hear(id.as_str(), report);
        });
    }
    while engine.n_running() > 0 {
        engine.step(&mut |id, report| hear(id.as_str(), report));
    }
    ends.into_iter().map(|(id, end)| (id.clone(), (texts.remove(&id).unwrap_or_default(), end))).collect()
}

/// How many answers are the same.
fn n_equal(
    one: &HashMap<String, (String, GenerationSummary)>,
    other: &HashMap<String, (String, GenerationSummary)>,
) -> usize {
    assert_eq!(one.len(), other.len());
    one.iter().filter(|(id, (text, _))| *text == other[*id].0).count()
}

#[test]
fn the_device_draws_what_the_host_would_have_picked() {
    let sampled = |n: usize| SamplingOverrides {
        temperature: Some([0.0, 0.7, 1.1][n % 3]),
        top_p: Some([1.0, 0.9][n % 2]),
        top_k: Some([0, 40][n / 3]),
        min_p: Some([0.0, 0.02][n / 4]),
        seed: Some(n as u64),
        // One whose thinking is closed for it.
        thinking_budget_tokens: (n == 1).then_some(6),
        ..SamplingOverrides::default()
    };
    let (mut drawn, mut picked) = (HashMap::new(), HashMap::new());
    let mut engine = engine(None);
    for n in 0..QUESTIONS.len() {
        let by_device = GenerateRequest { sampling: sampled(n), ..asking(n) };
        // Whoever wants log probabilities has tokens picked from the logits.
        let by_host = GenerateRequest { top_logprobs: Some(0), ..by_device.clone() };
        drawn.extend(run(engine.as_mut(), &[by_device]));
        engine.give_up_cache();
        picked.extend(run(engine.as_mut(), &[by_host]));
        engine.give_up_cache();
    }
    assert_eq!(n_equal(&drawn, &picked), QUESTIONS.len(), "{drawn:?}\n{picked:?}");
}

#[test]
fn many_at_once_are_answered_as_one_alone_is() {
    let requests: Vec<GenerateRequest> = (0..QUESTIONS.len()).map(asking).collect();
    let mut engine = engine(None);
    let mut alone = HashMap::new();
    for request in &requests {
        alone.extend(run(engine.as_mut(), std::slice::from_ref(request)));
    }
    engine.give_up_cache();
    let together = run(engine.as_mut(), &requests);
    let same = n_equal(&alone, &together);
    println!("{same} of {} answers are the same in company", requests.len());
    assert!(same + 2 >= requests.len(), "{alone:?}\n{together:?}");
    assert!(together.values().all(|(text, end)| !text.is_empty()
        && matches!(end.finish_reason, FinishReason::Stop | FinishReason::Length)));
}

#[test]
fn what_was_read_is_kept_in_memory_and_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let first = asking(0);
    let next = {
        let mut next = GenerateRequest { id: "next".parse().unwrap(), ..first.clone() };
        next.messages.push(ChatMessage::assistant("Many things."));
        next.messages.push(ChatMessage::user("Name three of them."));
        next
    };
    let cold = run(engine(None).as_mut(), std::slice::from_ref(&next));
    let mut before = engine(Some(directory.path()));
    run(before.as_mut(), std::slice::from_ref(&first));
    let warm = run(before.as_mut(), std::slice::from_ref(&next));
    drop(before);
    let after = run(engine(Some(directory.path())).as_mut(), std::slice::from_ref(&next));
    let reused = |of: &HashMap<String, (String, GenerationSummary)>| of["next"].1.usage.cached_tokens;
    assert_eq!(reused(&cold), 0);
    assert!(reused(&warm) > 5, "{}", reused(&warm));
    assert!(reused(&after) >= reused(&warm), "{} of {}", reused(&after), reused(&warm));
    for answered in [&cold, &warm, &after] {
        assert!(!answered["next"].0.is_empty());
    }
}
