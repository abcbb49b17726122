//! That every adapter matters, and every product in one. What they compute is held against mlx-lm with everything else.

use crate::reference::{Reference, data, largest_difference, prefill, references};
use boca_core::KvPrecision;
use boca_engine::ModelSource;
use boca_engine::backend::Backend;
use boca_engine::checkpoint::CheckpointWeights;
use boca_engine::cpu::{CpuBackend, CpuOptions};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::collections::BTreeSet;

/// Of the logits' differences, by what a test calls the same.
const FAR: f32 = 100.0;

/// How far the logits of the reference's prompt are from the recorded ones.
fn away(checkpoint: &CheckpointWeights, reference: &Reference) -> f32 {
    let options = CpuOptions { threads: Some(2), kv_precision: KvPrecision::F32, ..CpuOptions::default() };
    let mut backend = CpuBackend::with_options(&checkpoint.config, checkpoint.weights.clone(), options);
    let sequence = backend.open(reference.max_tokens()).unwrap();
    let ours = prefill(&mut backend, sequence, &reference.prompt, reference.prompt.len());
    largest_difference(&ours, &reference.prompt_logits)
}

#[test]
fn without_its_adapter_a_model_is_far_from_the_recording() {
    for reference in references() {
        let Some(base) = &reference.base else { continue };
        let source = ModelSource::Directory(base.clone());
        let base = CheckpointWeights::open(&source).unwrap();
        let (with, without) = (away(&reference.checkpoint, &reference), away(&base, &reference));
        println!("{}: {with:.1e} with the adapter, {without:.1e} without", reference.name);
        assert!(with <= reference.tolerance(), "{}", reference.name);
        assert!(without > FAR * reference.tolerance(), "{} is ignored", reference.name);
        let adapter = reference.checkpoint.adapter.as_ref().unwrap();
        assert_eq!(reference.checkpoint.name, format!("{}+{}", base.name, adapter.name));
        assert_ne!(reference.checkpoint.fingerprint(), base.fingerprint(), "{}", reference.name);
        if adapter.kind == "lora" {
            let file =
                std::fs::metadata(data("data-adapters").join(&adapter.name).join("adapters.safetensors"));
            let (more, file) = (reference.checkpoint.weights_bytes - base.weights_bytes, file.unwrap().len());
            assert!(more < file && more + 10_000 > file, "{more} bytes more, a file of {file}");
        }
    }
}

#[test]
fn every_product_counts_and_one_that_is_not_there_adds_nothing() {
    let reference = references().into_iter().find(|reference| reference.name == "+default-keys").unwrap();
    let from = data("data-adapters/default-keys");
    let bytes = std::fs::read(from.join("adapters.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let modules: BTreeSet<&str> =
        tensors.names().into_iter().map(|name| name.rsplit_once('.').unwrap().0).collect();
    assert_eq!(modules.len(), 2 * (4 + 3 + 3), "{modules:?}");
    for left_out in modules {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(from.join("adapter_config.json"), copy.path().join("adapter_config.json")).unwrap();
        let kept = tensors.iter().filter(|(name, _)| !name.starts_with(left_out));
        let kept = kept.map(|(name, tensor)| {
            (
                name.to_owned(),
                TensorView::new(tensor.dtype(), tensor.shape().to_vec(), tensor.data()).unwrap(),
            )
        });
        let bytes = safetensors::serialize(kept, None).unwrap();
        std::fs::write(copy.path().join("adapters.safetensors"), bytes).unwrap();
        let source = ModelSource::Directory(reference.base.clone().unwrap());
        let checkpoint = CheckpointWeights::open_adapted(&source, Some(copy.path())).unwrap();
        let away = away(&checkpoint, &reference);
        assert!(away > FAR * reference.tolerance(), "{left_out}: {away:.1e}");
    }
}
