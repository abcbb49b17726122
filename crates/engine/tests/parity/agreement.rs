//! The CPU and the MLX backend side by side on the demo model: 200 prompts, answered greedily.

use crate::reference::arg_max;
use boca_core::{ChatMessage, GenerateRequest, KvPrecision, SamplingOverrides};
use boca_engine::backend::{Backend, Chunk, Logits, LogitsOf};
use boca_engine::checkpoint::CheckpointWeights;
use boca_engine::cpu::{CpuBackend, CpuOptions};
use boca_engine::generate::DeviceChoice;
use boca_engine::mlx::{MlxBackend, MlxOptions};
use boca_engine::{ModelSource, PromptMaker};
use std::path::Path;
use std::time::Duration;

const N_PROMPTS: usize = 200;
const N_TOKENS: usize = 24;
/// Prompts that are also answered in the model's own format.
const N_SHOWN: usize = 10;
/// How many of the answers must be the same.
const LEAST_EQUAL: usize = N_PROMPTS * 99 / 100;
/// Where answers part, by how much the best token may be better than the other backend's, in logits: the rounding of
/// f32 over a few layers, with room.
const TOLERANCE: f32 = 1e-3;

/// Questions that the demo model was not trained on, each asked in four ways.
fn prompts(source: &ModelSource) -> Vec<Vec<u32>> {
    let questions: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tools/demo-model/heldout.json")).unwrap();
    let questions = strings_in(&questions);
    let maker = PromptMaker::open(source, None).unwrap();
    let ways = ["", "Be brief.", "You are boca.", "Answer as a friend would."];
    let mut prompts = Vec::new();
    'all: for way in ways {
        for question in &questions {
            let mut messages = vec![ChatMessage::user(question)];
            if !way.is_empty() {
                messages.insert(0, ChatMessage::system(way));
            }
            let id = format!("r{}", prompts.len()).parse().unwrap();
            let mut request = GenerateRequest::new(id, messages, N_TOKENS as u32, Duration::from_secs(60));
            request.sampling = SamplingOverrides { thinking: Some(false), ..SamplingOverrides::default() };
            prompts.push(maker.prepare(&request).unwrap().ids.clone());
            if prompts.len() == N_PROMPTS {
                break 'all;
            }
        }
    }
    assert_eq!(prompts.len(), N_PROMPTS, "{} questions", questions.len());
    prompts
}

fn strings_in(value: &serde_json::Value) -> Vec<String> {
    let questions = value.as_array().unwrap().iter();
    questions
        .map(|entry| entry["question"].as_str().unwrap_or_else(|| entry.as_str().unwrap()).to_owned())
        .collect()
}

/// The answer to a prompt, and the logits that chose each of its tokens.
fn answer(backend: &mut dyn Backend, prompt: &[u32]) -> Vec<(u32, Vec<f32>)> {
    let sequence = backend.open(prompt.len() + N_TOKENS).unwrap();
    let (mut logits, mut answer) = (Logits::default(), Vec::new());
    let mut tokens = prompt.to_vec();
    for _ in 0..N_TOKENS {
        let ticket = backend.launch(&[Chunk { sequence, tokens: &tokens, logits: LogitsOf::Last }]).unwrap();
        backend.collect(ticket, &mut logits).unwrap();
        let best = arg_max(logits.row(0)) as u32;
        answer.push((best, logits.row(0).to_vec()));
        tokens = vec![best];
    }
    backend.close(sequence);
    answer
}

/// How many answers are equal, and by how much the first other token was worse in those that are not.
fn agreement(one: &mut dyn Backend, other: &mut dyn Backend, prompts: &[Vec<u32>]) -> (usize, Vec<f32>) {
    let mut gaps = Vec::new();
    for prompt in prompts {
        let (one, other) = (answer(one, prompt), answer(other, prompt));
        if let Some(((a, logits), (b, _))) = one.iter().zip(&other).find(|((a, _), (b, _))| a != b) {
            gaps.push(logits[*a as usize] - logits[*b as usize]);
        }
    }
    (prompts.len() - gaps.len(), gaps)
}

#[test]
fn both_backends_say_the_same() {
    let source =
        ModelSource::Directory(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model"));
    let checkpoint = CheckpointWeights::open(&source).unwrap();
    let prompts = prompts(&source);
    let cpu = |kv_precision| {
        let options = CpuOptions { threads: Some(2), kv_precision, ..CpuOptions::default() };
        CpuBackend::with_options(&checkpoint.config, checkpoint.weights.clone(), options)
    };
    let mlx = |widen| {
        let options = MlxOptions { device: DeviceChoice::Auto, widen, ..MlxOptions::default() };
        MlxBackend::new(&checkpoint.config, &checkpoint.weights, options, &mut || {}).unwrap()
    };
    let (n_equal, gaps) = agreement(&mut cpu(KvPrecision::F32), &mut mlx(true), &prompts);
    println!("in f32: {n_equal} of {N_PROMPTS} answers are the same; the others part at gaps of {gaps:?}");
    assert!(n_equal >= LEAST_EQUAL, "{n_equal} of {N_PROMPTS}");
    assert!(gaps.iter().all(|gap| *gap <= TOLERANCE), "{gaps:?}");
    // MLX's code for processors adds in bf16, so this is shown and not asked for.
    let some = &prompts[..N_SHOWN];
    let (n_equal, gaps) = agreement(&mut cpu(KvPrecision::default()), &mut mlx(false), some);
    let largest = gaps.iter().copied().fold(0.0, f32::max);
    println!("as configured: {n_equal} of {N_SHOWN} answers are the same; the largest gap is {largest:.2}");
}
