//! The CPU backend, with every instruction set that this processor has.

use crate::reference::{Reference, check_forks, compare, generate, largest_difference, prefill, references};
use boca_core::KvPrecision;
use boca_engine::backend::Backend;
use boca_engine::cpu::{CpuBackend, CpuOptions, Isa};

fn backend(reference: &Reference, isa: Isa, threads: usize) -> CpuBackend {
    // The reference keeps keys and values as it computes them.
    let kv_precision = KvPrecision::F32;
    let options = CpuOptions { threads: Some(threads), isa: Some(isa), kv_precision };
    CpuBackend::with_options(&reference.checkpoint.config, reference.checkpoint.weights.clone(), options)
}

fn instruction_sets() -> Vec<Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
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
                let mut backend = backend(&reference, isa, 2);
                let sequence = backend.open(reference.max_tokens()).unwrap();
                let ours = prefill(&mut backend, sequence, &reference.prompt, chunk);
                let what = format!("{} on {isa} in chunks of {chunk}", reference.name);
                reached.push(compare(&what, &ours, &reference.prompt_logits, vocab, tolerance));
                assert_eq!(first.get_or_insert_with(|| ours.clone()), &ours, "{what}: chunks change logits");
            }
            let mut backend = backend(&reference, isa, 2);
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
        let mut backend = backend(&reference, Isa::detect(), 2);
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
        let n = reference.greedy.len();
        let prompts = reference.company();
        for isa in instruction_sets() {
            let mut backend = backend(&reference, isa, 3);
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
        let mut backend = backend(&reference, Isa::detect(), 2);
        check_forks(&mut backend, &reference, |what, ours, theirs| assert_eq!(ours, theirs, "{what}"));
    }
}
