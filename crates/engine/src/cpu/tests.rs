//! What a caller of the backend can do wrong, and what it may rely on.

use super::{CpuBackend, CpuOptions, Isa};
use crate::ModelSource;
use crate::backend::{Backend, BackendError, Chunk, Logits, LogitsOf, SequenceId};
use crate::checkpoint::{CheckpointWeights, MatrixData, TensorBytes};
use std::path::Path;

fn model() -> CheckpointWeights {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/air-4bit");
    CheckpointWeights::open(&ModelSource::Directory(directory)).unwrap()
}

fn backend_with(threads: usize) -> CpuBackend {
    let model = model();
    CpuBackend::new(&model.config, model.weights, Some(threads))
}

fn launch(backend: &mut CpuBackend, chunks: &[Chunk<'_>]) -> Result<Logits, BackendError> {
    let ticket = backend.launch(chunks)?;
    let mut logits = Logits::default();
    backend.collect(ticket, &mut logits)?;
    Ok(logits)
}

fn chunk(sequence: SequenceId, tokens: &[u32]) -> Chunk<'_> {
    Chunk { sequence, tokens, logits: LogitsOf::Last }
}

#[test]
fn bad_chunks_are_refused_before_anything_changes() {
    let mut backend = backend_with(2);
    let (good, short) = (backend.open(64).unwrap(), backend.open(3).unwrap());
    launch(&mut backend, &[chunk(short, &[1, 2])]).unwrap();
    let cases: [(&[Chunk<'_>], &str); 5] = [
        (&[chunk(good, &[1]), chunk(SequenceId(99), &[1])], "sequence 99: it is not open"),
        (&[chunk(good, &[1]), chunk(good, &[2])], "sequence 0: it has two chunks in one step"),
        (&[chunk(good, &[])], "sequence 0: its chunk has no tokens"),
        (
            &[chunk(good, &[1]), chunk(short, &[1, 2])],
            "sequence 1: it may hold 3 tokens, has 2, and was given 2 more",
        ),
        (&[chunk(good, &[255, 256])], "sequence 0: token ids go up to 255, it was given 256"),
    ];
    for (chunks, message) in cases {
        assert_eq!(backend.launch(chunks).unwrap_err().to_string(), message);
        assert_eq!((backend.len(good), backend.len(short)), (Some(0), Some(2)));
    }
    assert_eq!(launch(&mut backend, &[chunk(good, &[1, 2, 3])]).unwrap().n_rows(), 1);
    assert_eq!(launch(&mut backend, &[]).unwrap().n_rows(), 0);
}

#[test]
fn only_wanted_logits_are_computed() {
    let mut backend = backend_with(2);
    let tokens = [5, 6, 7, 8, 9];
    let mut rows_of = |logits| {
        let sequences = [backend.open(8).unwrap(), backend.open(8).unwrap()];
        let chunks = sequences.map(|sequence| Chunk { sequence, tokens: &tokens, logits });
        launch(&mut backend, &chunks).unwrap()
    };
    assert_eq!(rows_of(LogitsOf::None).n_rows(), 0);
    let (last, all) = (rows_of(LogitsOf::Last), rows_of(LogitsOf::All));
    assert_eq!((last.n_rows(), all.n_rows()), (2, 10));
    assert_eq!(last.row(1), all.row(9));
    assert_eq!(all.row(0), all.row(5));
}

#[test]
fn steps_may_be_collected_late_and_only_once() {
    let mut backend = backend_with(2);
    let sequence = backend.open(8).unwrap();
    let first = backend.launch(&[chunk(sequence, &[1])]).unwrap();
    let second = backend.launch(&[chunk(sequence, &[2])]).unwrap();
    let again = crate::backend::Ticket(first.0);
    let (mut late, mut early) = (Logits::default(), Logits::default());
    backend.collect(second, &mut late).unwrap();
    backend.collect(first, &mut early).unwrap();
    assert_ne!(early.values, late.values);
    assert!(matches!(backend.collect(again, &mut early), Err(BackendError::Device { .. })));
}

#[test]
fn memory_is_counted_shared_and_given_back() {
    let mut backend = backend_with(1);
    let block = 32 * backend.kv_bytes_per_token();
    assert_eq!(backend.kv_bytes_per_token(), 3 * 2 * 2 * 32 * 2, "two bytes a number");
    let parent = backend.open(1000).unwrap();
    assert_eq!(backend.kv_bytes(), 0);
    launch(&mut backend, &[chunk(parent, &[1; 40])]).unwrap();
    assert_eq!(backend.kv_bytes(), 2 * block);
    let fork = backend.fork(parent, 35, 1000).unwrap();
    assert_eq!(backend.kv_bytes(), 3 * block);
    let of = |sequences: &[SequenceId]| backend.kv_bytes_of(sequences);
    assert_eq!((of(&[parent]), of(&[fork]), of(&[fork, parent])), (2 * block, 2 * block, 3 * block));
    backend.close(parent);
    assert_eq!(backend.kv_bytes(), 2 * block);
    backend.close(fork);
    backend.close(fork);
    assert_eq!((backend.kv_bytes(), backend.len(fork)), (0, None));
}

#[test]
fn absurd_lengths_are_refused() {
    let mut backend = backend_with(1);
    assert!(matches!(backend.open(usize::MAX), Err(BackendError::OutOfMemory { .. })));
    let parent = backend.open(10).unwrap();
    launch(&mut backend, &[chunk(parent, &[1, 2])]).unwrap();
    assert!(matches!(backend.fork(parent, 2, usize::MAX), Err(BackendError::OutOfMemory { .. })));
    assert!(matches!(backend.fork(parent, 3, 10), Err(BackendError::BadSequence { .. })));
    assert!(matches!(backend.fork(parent, 2, 1), Err(BackendError::BadSequence { .. })));
    assert!(matches!(backend.fork(SequenceId(7), 0, 1), Err(BackendError::BadSequence { .. })));
}

#[test]
fn the_number_of_threads_does_not_show() {
    let tokens: Vec<u32> = (0..50).map(|i| i * 5).collect();
    let logits_with = |threads| {
        let mut backend = backend_with(threads);
        assert_eq!(backend.threads(), threads);
        let sequence = backend.open(64).unwrap();
        launch(&mut backend, &[Chunk { sequence, tokens: &tokens, logits: LogitsOf::All }]).unwrap().values
    };
    let one = logits_with(1);
    assert!(one.iter().all(|logit| logit.is_finite()));
    assert!(one == logits_with(2) && one == logits_with(7));
}

#[test]
fn an_instruction_set_that_is_missing_is_replaced() {
    let model = model();
    let missing = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
    let options = CpuOptions { threads: Some(1), isa: Some(missing), ..CpuOptions::default() };
    let backend = CpuBackend::with_options(&model.config, model.weights, options);
    assert_eq!(backend.describe(), format!("cpu ({}, 1 thread)", Isa::detect()));
}

#[test]
fn weights_that_do_not_fit_fail_the_step_and_nothing_else() {
    let mut model = model();
    let o_proj = &mut model.weights.layers[1].self_attn.o_proj.weight;
    let MatrixData::Affine { scales, .. } = &mut o_proj.data else { panic!("a quantised layer") };
    *scales = TensorBytes::owned(vec![0; 2]);
    let mut backend = CpuBackend::new(&model.config, model.weights, Some(2));
    let sequence = backend.open(8).unwrap();
    for _ in 0..2 {
        let error = backend.launch(&[chunk(sequence, &[1, 2, 3])]).unwrap_err();
        assert!(
            matches!(&error, BackendError::Device { reason, .. } if reason.contains("scales")),
            "{error}"
        );
        assert_eq!(backend.len(sequence), Some(0));
    }
}
