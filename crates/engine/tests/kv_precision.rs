//! What it costs to keep keys and values in fewer bits: the logits of each reference shape and of the demo model against
//! those with `f32`, in standard deviations of a shape's logits.
//!
//! Run with `--nocapture` for the table; README.md of the test data shows it.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // also in the helpers of tests

use boca_core::KvPrecision;
use boca_engine::ModelSource;
use boca_engine::backend::{Backend, Chunk, Logits, LogitsOf};
use boca_engine::checkpoint::CheckpointWeights;
use boca_engine::cpu::{CpuBackend, CpuOptions};
use std::path::{Path, PathBuf};

/// The root mean square of the differences that is allowed, in standard deviations of the logits. Random weights, which
/// all shapes but the demo model have, are the worst case: their routers decide between experts that are nearly equal, so
/// that now and then a rounding sends a token to another one. The largest difference shows that.
fn bound(precision: KvPrecision) -> f32 {
    match precision {
        KvPrecision::F32 => 0.0,
        KvPrecision::F16 => 0.002,
        KvPrecision::Bf16 => 0.05,
        KvPrecision::Q8 => 0.2,
    }
}

fn checkpoints() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all: Vec<(String, PathBuf)> = std::fs::read_dir(root.join("tests/data"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("config.json").is_file())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    all.sort();
    all.push(("demo model".into(), root.join("../../assets/demo-model")));
    assert!(all.len() > 8, "{all:?}");
    all
}

/// Logits of all positions, the tokens fed in chunks of these sizes.
fn logits(model: &CheckpointWeights, kv_precision: KvPrecision, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let options = CpuOptions { threads: Some(2), kv_precision, ..CpuOptions::default() };
    let mut backend = CpuBackend::with_options(&model.config, model.weights.clone(), options);
    let sequence = backend.open(tokens.len()).unwrap();
    let mut all = Vec::new();
    for tokens in tokens.chunks(chunk) {
        let ticket = backend.launch(&[Chunk { sequence, tokens, logits: LogitsOf::All }]).unwrap();
        let mut logits = Logits::default();
        backend.collect(ticket, &mut logits).unwrap();
        all.extend(logits.values);
    }
    all
}

fn spread(values: &[f32]) -> f32 {
    let n = values.len() as f32;
    let mean = values.iter().sum::<f32>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / n).sqrt()
}

#[test]
fn fewer_bits_cost_little_and_how_a_prompt_is_cut_costs_nothing() {
    let mut too_large = Vec::new();
    println!("| checkpoint | f16 | largest | bf16 | largest | q8 | largest |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (name, directory) in checkpoints() {
        let model = CheckpointWeights::open(&ModelSource::Directory(directory)).unwrap();
        let vocab = model.config.vocab_size as u32;
        let tokens: Vec<u32> = (0..80_u32).map(|n| n.wrapping_mul(2_654_435_761) % vocab).collect();
        let exact = logits(&model, KvPrecision::F32, &tokens, 80);
        let spread = spread(&exact);
        let mut row = format!("| {name} |");
        for precision in KvPrecision::ALL {
            let whole = logits(&model, precision, &tokens, 80);
            for chunk in [1, 7] {
                assert!(logits(&model, precision, &tokens, chunk) == whole, "{name} {precision:?} {chunk}");
            }
            let differences = || exact.iter().zip(&whole).map(|(a, b)| (a - b).abs() / spread);
            let largest = differences().fold(0.0, f32::max);
            let usual = (differences().map(|one| one * one).sum::<f32>() / exact.len() as f32).sqrt();
            if precision != KvPrecision::F32 {
                row += &format!(" {usual:.5} | {largest:.3} |");
            }
            too_large.extend((usual > bound(precision)).then(|| format!("{name} {precision:?}: {usual}")));
        }
        println!("{row}");
    }
    assert_eq!(too_large, [""; 0]);
}

#[test]
fn a_token_takes_as_many_bytes_as_its_format_says() {
    let (_, directory) = checkpoints().pop().unwrap();
    let model = CheckpointWeights::open(&ModelSource::Directory(directory)).unwrap();
    let of = |precision| CpuBackend::kv_bytes_per_token_of(&model.config, precision);
    assert_eq!(of(KvPrecision::F16) * 2, of(KvPrecision::F32));
    assert_eq!(of(KvPrecision::Bf16), of(KvPrecision::F16));
    assert!(of(KvPrecision::Q8) * 10 < of(KvPrecision::F16) * 7, "{}", of(KvPrecision::Q8));
}
