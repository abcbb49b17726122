use super::*;
use crate::backend::{Backend, Chunk, Logits, LogitsOf};
use crate::checkpoint::{Checkpoint, CheckpointWeights};
use crate::cpu::CpuBackend;
use crate::generate::{EngineOptions, load};
use crate::{CancelToken, ModelSource};
use boca_core::{ChatMessage, FinishReason, GenerateRequest};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn tiny(seed: u64) -> SyntheticCheckpoint {
    SyntheticCheckpoint {
        shape: SyntheticShape::tiny(3).unwrap(),
        seed,
        chat_template: include_str!("../../../../assets/demo-model/chat_template.jinja").into(),
    }
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn source(directory: &Path) -> ModelSource {
    ModelSource::Directory(directory.to_owned())
}

#[test]
fn a_tiny_one_answers() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("tiny");
    let most = AtomicU64::new(0);
    let written = tiny(1).write(&directory, &|done, total| {
        assert!(done <= total);
        most.fetch_max(done, Ordering::Relaxed);
    });
    let written = written.unwrap();
    assert_eq!(most.into_inner(), written.tensor_bytes);
    assert!(written.n_shards > 1, "a real one is sharded too");
    let bytes: usize = files(&directory).values().map(Vec::len).sum();
    assert!(bytes < 2_000_000, "{bytes}");

    let mut model = load(&source(&directory), &EngineOptions::default(), &mut |_| {}).unwrap();
    let request = GenerateRequest {
        max_tokens: Some(8),
        ..GenerateRequest::new(
            "r".parse().unwrap(),
            vec![ChatMessage::user("What can you do?")],
            8,
            Duration::from_secs(600),
        )
    };
    let summary = model.generate(&request, Instant::now(), &CancelToken::default(), &mut |_| {}).unwrap();
    assert!(matches!(summary.finish_reason, FinishReason::Length | FinishReason::Stop), "{summary:?}");
    assert!(summary.usage.completion_tokens >= 1);
}

#[test]
fn every_tensor_is_sound_and_logits_are_neither_flat_nor_certain() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("tiny");
    tiny(2).write(&directory, &|_, _| {}).unwrap();
    let weights = CheckpointWeights::open(&source(&directory)).unwrap();
    assert!(weights.verify(&mut |_, _| {}).is_good());
    let mut backend = CpuBackend::new(&weights.config, weights.weights.clone(), Some(1));
    let sequence = backend.open(64).unwrap();
    let tokens: Vec<u32> = (0..48).map(|i| i * 19 % 900).collect();
    let ticket = backend.launch(&[Chunk { sequence, tokens: &tokens, logits: LogitsOf::All }]).unwrap();
    let mut logits = Logits::default();
    backend.collect(ticket, &mut logits).unwrap();
    let mut likeliest = std::collections::HashSet::new();
    let mut entropies = 0.0;
    for row in 0..tokens.len() {
        let row = logits.row(row);
        assert!(row.iter().all(|logit| logit.abs() < 40.0), "saturated, or no number at all");
        let most = row.iter().copied().fold(f32::MIN, f32::max);
        likeliest.insert(row.iter().position(|logit| *logit == most));
        let total: f32 = row.iter().map(|logit| (logit - most).exp()).sum();
        let entropy: f32 = row
            .iter()
            .map(|logit| (logit - most).exp() / total)
            .filter(|p| *p > 0.0)
            .map(|p| -p * p.ln())
            .sum();
        assert!(entropy > 0.1, "{entropy}");
        entropies += entropy;
    }
    // All 1024 tokens alike would be 6.9.
    let mean = entropies / tokens.len() as f32;
    assert!((2.0..6.0).contains(&mean), "{mean}");
    assert!(likeliest.len() > 24, "what comes next depends on the text: {}", likeliest.len());
}

#[test]
fn the_seed_decides_every_byte() {
    let home = tempfile::tempdir().unwrap();
    let [one, again, other] = ["one", "again", "other"].map(|name| home.path().join(name));
    for (directory, seed) in [(&one, 7), (&again, 7), (&other, 8)] {
        tiny(seed).write(directory, &|_, _| {}).unwrap();
    }
    let (one, again, other) = (files(&one), files(&again), files(&other));
    assert_eq!(one, again);
    let differ: Vec<_> = one.keys().filter(|name| one[*name] != other[*name]).collect();
    assert!(!differ.is_empty() && differ.iter().all(|name| name.ends_with(".safetensors")), "{differ:?}");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_behind() {
    let home = tempfile::tempdir().unwrap();
    let there = home.path().join("there");
    fs::create_dir(&there).unwrap();
    let told = tiny(1).write(&there, &|_, _| {}).unwrap_err();
    assert!(matches!(told, SyntheticError::Exists(_)), "{told}");
    let nowhere = home.path().join("no/such");
    let told = tiny(1).write(&nowhere, &|_, _| {}).unwrap_err();
    assert!(matches!(told, SyntheticError::Io { action: "create", .. }), "{told}");
    assert!(matches!(tiny(1).write(&home.path().join(".."), &|_, _| {}), Err(SyntheticError::Unnamed(_))));
    // No machine of today has room for that.
    let mut huge = tiny(1);
    huge.shape = SyntheticShape::glm_4_5_air(128).unwrap();
    let told = huge.write(&home.path().join("huge"), &|_, _| {});
    if let Err(told) = told {
        assert!(matches!(told, SyntheticError::NoSpace { .. }), "{told}");
        assert!(told.to_string().contains("are free there"), "{told}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "only what was there before");
}

#[test]
fn what_a_killed_writer_left_is_removed_and_a_living_one_is_not_disturbed() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("tiny");
    let unfinished = home.path().join(".tiny.unfinished");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("model-00001-of-00009.safetensors"), "half").unwrap();
    let lock = File::open(&unfinished).unwrap();
    lock.lock().unwrap();
    let told = tiny(1).write(&directory, &|_, _| {}).unwrap_err();
    assert!(matches!(told, SyntheticError::Busy(_)), "{told}");
    drop(lock);
    tiny(1).write(&directory, &|_, _| {}).unwrap();
    assert!(!unfinished.exists());
    Checkpoint::open(&source(&directory)).unwrap();
}
