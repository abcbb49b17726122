//! What MLX draws, held against the rule in f64 over the logits that it gives for the same tokens.

use crate::draw_rule::draw_of;
use crate::reference::{Reference, data, prefill, references};
use boca_engine::backend::{Backend, BackendError, SequenceId};
use boca_engine::drawing::{Draw, DrawChunk, Drawing, Feed};
use boca_engine::generate::DeviceChoice;
use boca_engine::mlx::{MlxBackend, MlxOptions};

const GREEDY: Draw = Draw { unit: 0.5, ..Draw::MOST_LIKELY };

fn backend(reference: &Reference) -> MlxBackend {
    let options = MlxOptions { device: DeviceChoice::Auto, widen: true, ..MlxOptions::default() };
    let checkpoint = &reference.checkpoint;
    MlxBackend::new(&checkpoint.config, &checkpoint.weights, options, &mut || {}).unwrap()
}

fn dense() -> Reference {
    Reference::open(&data("data").join("plain-f32"))
}

fn open(backend: &mut MlxBackend) -> SequenceId {
    backend.open(400).unwrap()
}

/// Draws of every kind, the number in each of them `unit`.
fn draws(unit: f64) -> Vec<Draw> {
    let rest = Draw { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, unit };
    vec![
        GREEDY,
        rest,
        Draw { temperature: 1.7, top_k: 12, ..rest },
        Draw { temperature: 1e-40, ..rest },
        Draw { top_p: 0.6, ..rest },
        Draw { top_p: 0.0, ..rest },
        Draw { top_k: 1, ..rest },
        Draw { top_k: 30, top_p: 0.8, min_p: 0.1, ..rest },
        Draw { temperature: 0.3, min_p: 0.3, ..rest },
        Draw { top_k: 1_000_000, ..rest },
    ]
}

#[test]
fn rows_of_every_kind_are_drawn_by_the_rule() {
    let reference = dense();
    let mut backend = backend(&reference);
    let prompt = &reference.prompt[..];
    let twin = open(&mut backend);
    let logits = prefill(&mut backend, twin, prompt, prompt.len());
    let logits = &logits[logits.len() - reference.checkpoint.config.vocab_size..];
    // Those that would have won are forbidden the second time.
    let mut ranked: Vec<u32> = (0..logits.len() as u32).collect();
    ranked.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    let (mut n, mut n_differing) = (0, 0);
    for forbidden in [&[][..], &ranked[..5]] {
        backend.forbid(forbidden).unwrap();
        for step in 0..40 {
            let draws = draws((f64::from(step) + 0.5) / 40.0);
            let sequences: Vec<SequenceId> = draws.iter().map(|_| open(&mut backend)).collect();
            let chunk = |(sequence, draw): (&SequenceId, &Draw)| DrawChunk {
                sequence: *sequence,
                feed: Feed::Tokens(prompt),
                draw: Some(*draw),
            };
            let chunks: Vec<_> = sequences.iter().zip(&draws).map(chunk).collect();
            let ticket = backend.launch_drawing(&chunks).unwrap();
            let drawn = backend.collect_drawn(ticket).unwrap();
            assert_eq!(drawn.len(), draws.len());
            for (draw, drawn) in draws.iter().zip(drawn) {
                let drawn = drawn.expect("all logits are finite");
                assert!(!forbidden.contains(&drawn), "{draw:?} gave {drawn}, which is forbidden");
                n += 1;
                // A number on the border between two tokens may fall to either.
                n_differing += usize::from(drawn != draw_of(logits, forbidden, *draw));
            }
            sequences.iter().for_each(|sequence| backend.close(*sequence));
        }
    }
    println!("{n_differing} of {n} draws fall to a neighbour");
    assert!(n_differing * 100 <= n, "{n_differing} of {n}");
}

#[test]
fn steps_launched_ahead_give_the_recorded_tokens_also_in_changing_company() {
    for reference in references() {
        let mut backend = backend(&reference);
        let (one, other, third) = (open(&mut backend), open(&mut backend), open(&mut backend));
        let known = [reference.greedy[1]];
        let chunk = |sequence, feed| DrawChunk { sequence, feed, draw: Some(GREEDY) };
        let prompt = Feed::Tokens(&reference.prompt);
        let n = reference.greedy.len();
        let mut told = Vec::new();
        let mut before = backend.launch_drawing(&[chunk(one, prompt)]).unwrap();
        for step in 1..n {
            // Another one joins, is fed a known token for once, leaves; a third one's prompt is read in parts.
            let inside = Feed::Tokens(&reference.prompt[step..step + 2]);
            let more = match step {
                2 => vec![chunk(other, prompt), chunk(one, Feed::Drawn)],
                3 => vec![chunk(one, Feed::Drawn), chunk(other, Feed::Drawn)],
                4 => vec![chunk(one, Feed::Drawn), chunk(other, Feed::Tokens(&known))],
                5 | 6 => {
                    vec![DrawChunk { sequence: third, feed: inside, draw: None }, chunk(one, Feed::Drawn)]
                }
                _ => vec![chunk(one, Feed::Drawn)],
            };
            let ticket = backend.launch_drawing(&more).unwrap();
            told.push(backend.collect_drawn(std::mem::replace(&mut before, ticket)).unwrap());
        }
        told.push(backend.collect_drawn(before).unwrap());
        let of_one: Vec<u32> =
            told.iter().enumerate().map(|(step, drawn)| drawn[usize::from(step == 2)].unwrap()).collect();
        assert_eq!(of_one, reference.greedy, "{}", reference.name);
        assert_eq!(told[2][0], Some(reference.greedy[0]), "{}", reference.name);
        assert_eq!(told[3][1], Some(reference.greedy[1]), "{}", reference.name);
        // Nothing is being drawn for one that was not in the last step.
        let refused = backend.launch_drawing(&[chunk(third, Feed::Drawn)]).unwrap_err();
        assert!(matches!(refused, BackendError::BadSequence { sequence, .. } if sequence == third.0));
    }
}

#[test]
fn a_sequence_that_was_cut_goes_on_as_if_it_had_never_been_longer() {
    let reference = dense();
    let mut backend = backend(&reference);
    let vocab = reference.checkpoint.config.vocab_size;
    let sequence = open(&mut backend);
    let chunk = |feed| [DrawChunk { sequence, feed, draw: Some(GREEDY) }];
    let first = backend.launch_drawing(&chunk(Feed::Tokens(&reference.prompt))).unwrap();
    let too_many = backend.launch_drawing(&chunk(Feed::Drawn)).unwrap();
    backend.collect_drawn(first).unwrap();
    let n_tokens = reference.prompt.len();
    assert_eq!(backend.len(sequence), Some(n_tokens + 1));
    backend.cut(sequence, n_tokens);
    backend.forget(too_many);
    assert_eq!(backend.len(sequence), Some(n_tokens));
    let image = backend.export(sequence).unwrap();
    assert_eq!(image.n_bytes(), backend.kv_bytes_per_token() * n_tokens as u64);
    let fork = backend.fork(sequence, n_tokens, 400).unwrap();
    let fresh = open(&mut backend);
    prefill(&mut backend, fresh, &reference.prompt, n_tokens);
    let more: Vec<u32> = reference.prompt.iter().rev().copied().collect();
    let expected = prefill(&mut backend, fresh, &more, more.len());
    for goes_on in [sequence, fork] {
        assert_eq!(prefill(&mut backend, goes_on, &more, more.len()), expected);
    }
    assert_eq!(expected.len(), more.len() * vocab);
}

/// In the environment of a process that is to end while a step runs.
const ENDS_IN_A_STEP: &str = "BOCA_TEST_ENDS_IN_A_STEP";

/// Does nothing but in a process that [`a_process_ends_in_peace_while_a_step_runs`] starts.
#[test]
fn ends_while_a_step_runs() {
    if std::env::var_os(ENDS_IN_A_STEP).is_none() {
        return;
    }
    let mut backend = backend(&dense());
    let sequence = open(&mut backend);
    let chunk = DrawChunk { sequence, feed: Feed::Tokens(&[1; 8]), draw: Some(GREEDY) };
    let ticket = backend.launch_drawing(&[chunk]).unwrap();
    backend.forget(ticket);
}

#[test]
fn a_process_ends_in_peace_while_a_step_runs() {
    // MLX that is torn down under a step falls over in one of ten.
    for _ in 0..40 {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        let process = process.args(["mlx_drawing::ends_while_a_step_runs", "--exact"]);
        let output = process.env(ENDS_IN_A_STEP, "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
