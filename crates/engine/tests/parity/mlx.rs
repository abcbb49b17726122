//! The MLX backend, on the processor and, where MLX has one, on the graphics processor.
//!
//! MLX picks kernels by the number of rows, and they round differently, so that company, chunks and forks may change the
//! last bits of a logit; the bound is the one against the reference.

use crate::reference::{Reference, check_forks, compare, generate, prefill, references};
use boca_core::KvPrecision;
use boca_engine::backend::Backend;
use boca_engine::generate::DeviceChoice;
use boca_engine::memory::ModelNeeds;
use boca_engine::mlx::{MlxBackend, MlxOptions};

fn devices() -> Vec<DeviceChoice> {
    let gpu = MlxBackend::has_gpu().then_some(DeviceChoice::Gpu);
    [DeviceChoice::Cpu].into_iter().chain(gpu).collect()
}

fn backend(reference: &Reference, device: DeviceChoice, widen: bool) -> MlxBackend {
    let options = MlxOptions { device, widen, kv_precision: KvPrecision::F32, ..MlxOptions::default() };
    let checkpoint = &reference.checkpoint;
    MlxBackend::new(&checkpoint.config, &checkpoint.weights, options, &mut || {}).unwrap()
}

#[test]
fn logits_and_greedy_tokens_are_those_of_mlx_lm() {
    println!("| shape | device | tolerance | whole | chunks | one by one | decode |");
    for reference in references() {
        let (vocab, tolerance) = (reference.checkpoint.config.vocab_size, reference.tolerance());
        for device in devices() {
            let mut reached = Vec::new();
            for chunk in [reference.prompt.len(), 7, 1] {
                let mut backend = backend(&reference, device, true);
                let sequence = backend.open(reference.max_tokens()).unwrap();
                let ours = prefill(&mut backend, sequence, &reference.prompt, chunk);
                let what = format!("{} on {device:?} in chunks of {chunk}", reference.name);
                reached.push(compare(&what, &ours, &reference.prompt_logits, vocab, tolerance));
            }
            let mut backend = backend(&reference, device, true);
            let sequence = backend.open(reference.max_tokens()).unwrap();
            let n = reference.greedy.len();
            let (tokens, logits) = generate(&mut backend, &[(sequence, &reference.prompt)], n).remove(0);
            let what = format!("{} on {device:?}, decoding", reference.name);
            reached.push(compare(&what, &logits, &reference.greedy_logits, vocab, tolerance));
            assert_eq!(tokens, reference.greedy, "{what}");
            let [whole, chunks, single, decode] = reached[..] else { panic!("{reached:?}") };
            println!(
                "| {} | {device:?} | {tolerance:.1e} | {whole:.1e} | {chunks:.1e} | {single:.1e} | {decode:.1e} |",
                reference.name
            );
        }
    }
}

#[test]
fn in_the_models_own_format_it_computes_what_mlx_lm_does() {
    let mut seen = 0;
    for reference in references() {
        let Some((prompt_logits, greedy_logits, _)) = &reference.bf16 else { continue };
        seen += 1;
        let vocab = reference.checkpoint.config.vocab_size;
        let mut backend = backend(&reference, DeviceChoice::Cpu, false);
        let sequence = backend.open(reference.max_tokens()).unwrap();
        let (last, before) = reference.prompt.split_last().unwrap();
        let ours = prefill(&mut backend, sequence, before, before.len());
        let what = format!("{} in its own format", reference.name);
        let prompt = compare(&what, &ours, &prompt_logits[..ours.len()], vocab, 0.0);
        let mut decoded = Vec::new();
        let fed = [&[*last], &reference.greedy[..reference.greedy.len() - 1]].concat();
        for token in fed {
            decoded.extend(prefill(&mut backend, sequence, &[token], 1));
        }
        let decode = compare(&what, &decoded, greedy_logits, vocab, 0.0);
        println!("{what}: {prompt:e} and {decode:e} away from mlx-lm");
    }
    assert!(seen > 0, "no recording in bf16");
}

#[test]
fn company_changes_no_more_than_the_last_bits() {
    for reference in references() {
        let (vocab, n) = (reference.checkpoint.config.vocab_size, reference.greedy.len());
        let prompts = reference.company();
        for device in devices() {
            let mut backend = backend(&reference, device, true);
            let mut open = |prompt: &[u32]| backend.open(prompt.len() + n).unwrap();
            let together: Vec<_> = prompts.iter().map(|prompt| (open(prompt), &prompt[..])).collect();
            let batched = generate(&mut backend, &together, n);
            assert_eq!(batched[1].0, reference.greedy, "{} on {device:?}", reference.name);
            let what = format!("{} on {device:?} in company", reference.name);
            compare(&what, &batched[1].1, &reference.greedy_logits, vocab, reference.tolerance());
            for (prompt, batched) in prompts.iter().zip(&batched) {
                let sequence = backend.open(prompt.len() + n).unwrap();
                let alone = generate(&mut backend, &[(sequence, prompt)], n).remove(0);
                // A close call may go either way, and everything after it then differs.
                let same = alone.0.iter().zip(&batched.0).take_while(|(a, b)| a == b).count();
                let compared = (same + 1).min(n) * vocab;
                compare(&what, &batched.1[..compared], &alone.1[..compared], vocab, reference.tolerance());
            }
        }
    }
}

#[test]
fn a_fork_goes_on_like_a_fresh_sequence() {
    for reference in references() {
        let (vocab, tolerance) = (reference.checkpoint.config.vocab_size, reference.tolerance());
        let mut backend = backend(&reference, DeviceChoice::Auto, true);
        check_forks(&mut backend, &reference, |what, ours, theirs| {
            compare(what, ours, theirs, vocab, tolerance);
        });
    }
}

#[test]
fn what_is_planned_for_a_token_is_what_it_takes() {
    for reference in references() {
        for kv_precision in [KvPrecision::F16, KvPrecision::Q8] {
            let checkpoint = &reference.checkpoint;
            let options = MlxOptions { kv_precision, ..MlxOptions::default() };
            let backend = MlxBackend::new(&checkpoint.config, &checkpoint.weights, options, &mut || {});
            // Some heads are too narrow for 8 bits.
            let Ok(backend) = backend else { continue };
            let planned = ModelNeeds::on_mlx(checkpoint, kv_precision, 256, 4);
            assert_eq!(backend.kv_bytes_per_token(), planned.kv_bytes_per_token, "{}", reference.name);
            assert_eq!(backend.kv_granule_tokens() as u64, planned.kv_granule_tokens);
        }
    }
}

#[test]
fn exported_keys_and_values_are_imported_as_they_were() {
    for reference in references() {
        for kv_precision in [KvPrecision::F16, KvPrecision::Q8] {
            let (config, weights) = (&reference.checkpoint.config, &reference.checkpoint.weights);
            let options = MlxOptions { kv_precision, ..MlxOptions::default() };
            let new = || MlxBackend::new(config, weights, options, &mut || {});
            if kv_precision == KvPrecision::Q8 && !config.head_dim.is_multiple_of(32) {
                assert!(new().unwrap_err().to_string().contains("multiple of 32"));
                continue;
            }
            let new = || new().unwrap();
            let (mut before, mut after) = (new(), new());
            assert_eq!(before.kv_format(), after.kv_format());
            let sequence = before.open(reference.max_tokens()).unwrap();
            prefill(&mut before, sequence, &reference.prompt, 16);
            let image = before.export(sequence).unwrap();
            let n_tokens = reference.prompt.len();
            assert_eq!(image.n_bytes(), before.kv_bytes_per_token() * n_tokens as u64);
            let mut bytes = Vec::new();
            image.write_to(&mut bytes).unwrap();
            let kept = after.import(None, n_tokens, image.n_bytes(), &mut &bytes[..]).unwrap();
            let goes_on = after.fork(kept, n_tokens, reference.max_tokens()).unwrap();
            let next = [reference.greedy[0]];
            let ours = prefill(&mut after, goes_on, &next, 1);
            assert_eq!(ours, prefill(&mut before, sequence, &next, 1), "{}", reference.name);
            for n in [0, image.n_bytes() - 1, image.n_bytes() + 1] {
                assert!(after.import(None, n_tokens, n, &mut &bytes[..]).is_err());
            }
            assert!(after.import(None, n_tokens, image.n_bytes(), &mut &bytes[1..]).is_err());
        }
    }
}
