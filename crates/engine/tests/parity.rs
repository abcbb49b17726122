//! The CPU backend against mlx-lm, on every checkpoint under `tests/data` (see its README for what is recorded).
//!
//! **Tolerance.** References are recorded after `set_dtype(float32)`: both sides compute in f32 from the very same
//! stored weights, and differ only in the order of sums and in the last bit of `exp`, `sin` and `cos`. A few layers
//! turn rounding errors of 6e-8 into some 1e-5 of the spread of a shape's logits (their standard deviation);
//! [`TOLERANCE`] allows five times that. It is the same for every number format of the weights, because bf16 and f16
//! are widened exactly and quantised values are off by one rounding at most.
//!
//! The recording in bf16 is shown, not matched: mlx's x86 code then accumulates in 8 bits of mantissa, which now and
//! then sends a token to another expert and moves logits by more than their spread's half. All that is asked is that
//! we are as far from it as the f32 reference is.
//!
//! Run with `--nocapture` for the table.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

use boca_core::KvPrecision;
use boca_engine::ModelSource;
use boca_engine::backend::{Backend, Chunk, Logits, LogitsOf, SequenceId};
use boca_engine::checkpoint::CheckpointWeights;
use boca_engine::cpu::{CpuBackend, CpuOptions, Isa};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

/// Of the logits' standard deviation.
const TOLERANCE: f32 = 5e-5;
/// How many shapes the data must have at least, so that an empty directory does not pass.
const LEAST_SHAPES: usize = 8;

struct Reference {
    name: String,
    checkpoint: CheckpointWeights,
    prompt: Vec<u32>,
    greedy: Vec<u32>,
    /// `[prompt, vocab_size]`
    prompt_logits: Vec<f32>,
    /// `[greedy, vocab_size]`: the first row belongs to the prompt's last token.
    greedy_logits: Vec<f32>,
    /// The same, recorded in bf16, and how far it is from those.
    bf16: Option<(Vec<f32>, Vec<f32>, f32)>,
}

impl Reference {
    fn open(directory: &Path) -> Self {
        let json = std::fs::read_to_string(directory.join("reference.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let tokens = |name: &str| -> Vec<u32> { serde_json::from_value(json[name].clone()).unwrap() };
        let (prompt_logits, greedy_logits) = read_logits(&directory.join("reference.safetensors"));
        let bf16 = json.get("bf16_largest_difference").map(|away| {
            let (prompt, greedy) = read_logits(&directory.join("reference-bf16.safetensors"));
            (prompt, greedy, away.as_f64().unwrap() as f32)
        });
        Self {
            name: json["shape"].as_str().unwrap().into(),
            checkpoint: CheckpointWeights::open(&ModelSource::Directory(directory.into())).unwrap(),
            prompt: tokens("prompt"),
            greedy: tokens("greedy"),
            prompt_logits,
            greedy_logits,
            bf16,
        }
    }

    fn backend(&self, isa: Isa, threads: usize) -> CpuBackend {
        // The reference keeps keys and values as it computes them.
        let kv_precision = KvPrecision::F32;
        let options = CpuOptions { threads: Some(threads), isa: Some(isa), kv_precision };
        CpuBackend::with_options(&self.checkpoint.config, self.checkpoint.weights.clone(), options)
    }

    fn max_tokens(&self) -> usize {
        self.prompt.len() + self.greedy.len()
    }

    fn tolerance(&self) -> f32 {
        let n = self.prompt_logits.len() as f32;
        let mean = self.prompt_logits.iter().sum::<f32>() / n;
        let variance = self.prompt_logits.iter().map(|logit| (logit - mean).powi(2)).sum::<f32>() / n;
        TOLERANCE * variance.sqrt()
    }
}

fn references() -> Vec<Reference> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut directories: Vec<PathBuf> = std::fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("reference.json").exists())
        .collect();
    directories.sort();
    assert!(directories.len() >= LEAST_SHAPES, "only {} reference shapes", directories.len());
    directories.iter().map(|directory| Reference::open(directory)).collect()
}

fn read_logits(path: &Path) -> (Vec<f32>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: &str| {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
        tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    (read("prompt_logits"), read("greedy_logits"))
}

fn instruction_sets() -> Vec<Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
}

/// Appends tokens in chunks; returns the logits of every position.
fn prefill(backend: &mut impl Backend, sequence: SequenceId, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let (mut all, mut logits) = (Vec::new(), Logits::default());
    for tokens in tokens.chunks(chunk) {
        let ticket = backend.launch(&[Chunk { sequence, tokens, logits: LogitsOf::All }]).unwrap();
        backend.collect(ticket, &mut logits).unwrap();
        assert_eq!(logits.n_rows(), tokens.len());
        all.extend_from_slice(&logits.values);
    }
    all
}

/// Greedy tokens after what each sequence holds, all sequences stepping together; also the logits that chose them.
fn generate(
    backend: &mut impl Backend,
    prompts: &[(SequenceId, &[u32])],
    n: usize,
) -> Vec<(Vec<u32>, Vec<f32>)> {
    let mut logits = Logits::default();
    let mut last = Vec::new();
    let mut results = vec![(Vec::new(), Vec::new()); prompts.len()];
    for step in 0..n {
        let tokens_of = |row: usize| if step == 0 { prompts[row].1 } else { &last[row..=row] };
        let chunks: Vec<Chunk<'_>> = prompts
            .iter()
            .enumerate()
            .map(|(row, (sequence, _))| Chunk {
                sequence: *sequence,
                tokens: tokens_of(row),
                logits: LogitsOf::Last,
            })
            .collect();
        let ticket = backend.launch(&chunks).unwrap();
        backend.collect(ticket, &mut logits).unwrap();
        assert_eq!(logits.n_rows(), prompts.len());
        last = (0..prompts.len()).map(|row| arg_max(logits.row(row)) as u32).collect();
        for (row, (chosen, rows)) in results.iter_mut().enumerate() {
            chosen.push(last[row]);
            rows.extend_from_slice(logits.row(row));
        }
    }
    results
}

fn arg_max(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

fn largest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let difference = |(a, b): (&f32, &f32)| if a.is_finite() { (a - b).abs() } else { f32::INFINITY };
    ours.iter().zip(theirs).map(difference).fold(0.0, f32::max)
}

/// Compares row by row; returns the largest difference.
fn compare(what: &str, ours: &[f32], theirs: &[f32], vocab_size: usize, tolerance: f32) -> f32 {
    let largest = largest_difference(ours, theirs);
    assert!(largest <= tolerance, "{what}: logits differ by {largest:e}, allowed is {tolerance:e}");
    for (position, (ours, theirs)) in ours.chunks(vocab_size).zip(theirs.chunks(vocab_size)).enumerate() {
        let best = arg_max(theirs);
        let others = (0..vocab_size).filter(|i| *i != best).map(|i| theirs[i]);
        let gap = theirs[best] - others.fold(f32::NEG_INFINITY, f32::max);
        assert!(gap <= tolerance || arg_max(ours) == best, "{what}: another token wins at {position}");
    }
    largest
}

#[test]
fn logits_and_greedy_tokens_are_those_of_mlx_lm() {
    println!(
        "| {:<22} | {:<8} | {:>9} | {:>9} | {:>9} | {:>9} | {:>9} |",
        "shape", "isa", "tolerance", "whole", "chunks", "one by one", "decode"
    );
    for reference in references() {
        let (vocab, tolerance) = (reference.checkpoint.config.vocab_size, reference.tolerance());
        for isa in instruction_sets() {
            let mut reached = Vec::new();
            let mut first = None;
            for chunk in [reference.prompt.len(), 7, 1] {
                let mut backend = reference.backend(isa, 2);
                let sequence = backend.open(reference.max_tokens()).unwrap();
                let ours = prefill(&mut backend, sequence, &reference.prompt, chunk);
                let what = format!("{} on {isa} in chunks of {chunk}", reference.name);
                reached.push(compare(&what, &ours, &reference.prompt_logits, vocab, tolerance));
                assert_eq!(first.get_or_insert_with(|| ours.clone()), &ours, "{what}: chunks change logits");
            }
            let mut backend = reference.backend(isa, 2);
            let sequence = backend.open(reference.max_tokens()).unwrap();
            let n = reference.greedy.len();
            let (tokens, logits) = generate(&mut backend, &[(sequence, &reference.prompt)], n).remove(0);
            let what = format!("{} on {isa}, decoding", reference.name);
            reached.push(compare(&what, &logits, &reference.greedy_logits, vocab, tolerance));
            assert_eq!(tokens, reference.greedy, "{what}");
            println!(
                "| {:<22} | {:<8} | {tolerance:>9.1e} | {:>9.1e} | {:>9.1e} | {:>10.1e} | {:>9.1e} |",
                reference.name,
                isa.to_string(),
                reached[0],
                reached[1],
                reached[2],
                reached[3]
            );
        }
    }
}

#[test]
fn the_recording_in_bf16_is_as_far_from_us_as_from_the_reference() {
    let mut seen = 0;
    for reference in references() {
        let Some((prompt_logits, greedy_logits, away)) = &reference.bf16 else { continue };
        seen += 1;
        let mut backend = reference.backend(Isa::detect(), 2);
        let sequence = backend.open(reference.max_tokens()).unwrap();
        let tokens = [&reference.prompt[..], &reference.greedy[..reference.greedy.len() - 1]].concat();
        let ours = prefill(&mut backend, sequence, &tokens, tokens.len());
        let (prompt, decoded) = ours.split_at(prompt_logits.len());
        let last = &prompt[prompt.len() - reference.checkpoint.config.vocab_size..];
        let largest = largest_difference(prompt, prompt_logits)
            .max(largest_difference(&[last, decoded].concat(), greedy_logits));
        println!(
            "{}: {largest:.4} from mlx-lm in bf16, which is {away:.4} from itself in f32",
            reference.name
        );
        assert!((largest - away).abs() <= reference.tolerance(), "{}", reference.name);
    }
    assert!(seen > 0, "no recording in bf16");
}

#[test]
fn a_sequence_gets_the_same_logits_alone_and_in_a_batch() {
    for reference in references() {
        let (vocab, n) = (reference.checkpoint.config.vocab_size as u32, reference.greedy.len());
        // Prompts of different lengths and contents; the reference's own comes second.
        let prompts: Vec<Vec<u32>> = (0..5)
            .map(|i: u32| match i {
                1 => reference.prompt.clone(),
                _ => reference.prompt.iter().skip(i as usize).map(|t| (t + 31 * i) % vocab).collect(),
            })
            .collect();
        for isa in instruction_sets() {
            let mut backend = reference.backend(isa, 3);
            let mut open = |prompt: &[u32]| backend.open(prompt.len() + n).unwrap();
            let together: Vec<_> = prompts.iter().map(|prompt| (open(prompt), &prompt[..])).collect();
            let batched = generate(&mut backend, &together, n);
            assert_eq!(batched[1].0, reference.greedy, "{} on {isa}", reference.name);
            for (prompt, batched) in prompts.iter().zip(&batched) {
                let sequence = backend.open(prompt.len() + n).unwrap();
                let alone = generate(&mut backend, &[(sequence, prompt)], n).remove(0);
                assert!(alone == *batched, "{} on {isa}: a batch changes its members", reference.name);
            }
        }
    }
}

#[test]
fn a_fork_goes_on_like_a_fresh_sequence() {
    for reference in references() {
        let mut backend = reference.backend(Isa::detect(), 2);
        let max_tokens = 2 * reference.max_tokens();
        let parent = backend.open(max_tokens).unwrap();
        // Long enough that the fork shares a whole block and copies another.
        let tokens = [&reference.prompt[..], &reference.greedy[..]].concat();
        prefill(&mut backend, parent, &tokens, tokens.len());
        for at in [0, 1, tokens.len() - 12, tokens.len()] {
            let mut other: Vec<u32> = reference.prompt.iter().rev().copied().collect();
            let fork = backend.fork(parent, at, max_tokens).unwrap();
            assert_eq!(backend.len(fork), Some(at));
            let forked = prefill(&mut backend, fork, &other, other.len());
            // The parent must not notice what the fork appended, nor the fork what the parent appends.
            let fresh = backend.open(max_tokens).unwrap();
            other.splice(0..0, tokens[..at].iter().copied());
            let whole = prefill(&mut backend, fresh, &other, other.len());
            assert_eq!(forked, whole[whole.len() - forked.len()..], "{} forked at {at}", reference.name);
            backend.close(fork);
            backend.close(fresh);
        }
        let again = backend.fork(parent, tokens.len(), max_tokens).unwrap();
        let rest = prefill(&mut backend, parent, &reference.prompt, 5);
        assert_eq!(rest, prefill(&mut backend, again, &reference.prompt, 9), "{}", reference.name);
        backend.close(parent);
        backend.close(again);
        assert_eq!(backend.kv_bytes(), 0);
    }
}
