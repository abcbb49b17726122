//! How long a step of the MLX backend takes, as JSON on standard output, for `tools/mlx-bench`, which holds it against
//! mlx-lm in the same run.
//!
//! `BOCA_BENCH_MODEL=DIR cargo bench -p boca-engine --features mlx --config … --bench mlx_step`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails and speaks as tests do")]

use boca_engine::ModelSource;
use boca_engine::backend::{Backend, Chunk, Logits, LogitsOf, SequenceId};
use boca_engine::checkpoint::CheckpointWeights;
use boca_engine::drawing::{Draw, DrawChunk, Drawing, Feed};
use boca_engine::generate::DeviceChoice;
use boca_engine::mlx::{MlxBackend, MlxOptions};
use std::time::Instant;

const PROMPTS: [usize; 2] = [128, 512];
const BATCHES: [usize; 2] = [1, 4];
/// Tokens that a decoding sequence begins with.
const DEPTH: usize = 64;
const N_PREFILLS: usize = 7;
const N_STEPS: usize = 60;
const N_WARM_UP: usize = 5;

fn main() {
    let directory = std::env::var("BOCA_BENCH_MODEL").expect("BOCA_BENCH_MODEL names a checkpoint directory");
    let checkpoint = CheckpointWeights::open(&ModelSource::Directory(directory.into())).unwrap();
    let device = if std::env::var("BOCA_BENCH_DEVICE").is_ok_and(|device| device == "gpu") {
        DeviceChoice::Gpu
    } else {
        DeviceChoice::Cpu
    };
    let options = MlxOptions { device, ..MlxOptions::default() };
    let mut backend = MlxBackend::new(&checkpoint.config, &checkpoint.weights, options, &mut || {}).unwrap();
    let vocab = checkpoint.config.vocab_size as u32;
    let tokens = |n: usize| -> Vec<u32> { (0..n as u32).map(|i| i.wrapping_mul(7919) % vocab).collect() };
    let prefill = PROMPTS.map(|n| (n, prefill_seconds(&mut backend, &tokens(n))));
    let decode = BATCHES.map(|n| (n, decode_seconds(&mut backend, &tokens(DEPTH), n)));
    let in_turn = BATCHES.map(|n| (n, decode_in_turn_seconds(&mut backend, &tokens(DEPTH), n)));
    let shown = |rows: &[(usize, f64)]| {
        let rows: Vec<String> = rows.iter().map(|(n, seconds)| format!("\"{n}\": {seconds:e}")).collect();
        rows.join(", ")
    };
    let (prefill, decode, in_turn) = (shown(&prefill), shown(&decode), shown(&in_turn));
    println!("{{\"prefill\": {{{prefill}}}, \"decode\": {{{decode}}}, \"decode in turn\": {{{in_turn}}}}}");
}

fn prefill_seconds(backend: &mut MlxBackend, tokens: &[u32]) -> f64 {
    let seconds = (0..N_PREFILLS).map(|_| {
        let sequence = backend.open(tokens.len()).unwrap();
        let began = Instant::now();
        step(backend, &[(sequence, tokens)]);
        let seconds = began.elapsed().as_secs_f64();
        backend.close(sequence);
        seconds
    });
    median(seconds.skip(1).collect())
}

/// Tokens are drawn by MLX, and the next step is launched before they are read.
fn decode_seconds(backend: &mut MlxBackend, prompt: &[u32], n: usize) -> f64 {
    let sequences = open(backend, prompt, n);
    let chunks = |feed| {
        let chunk =
            |sequence: &SequenceId| DrawChunk { sequence: *sequence, feed, draw: Some(Draw::MOST_LIKELY) };
        sequences.iter().map(chunk).collect::<Vec<_>>()
    };
    let mut launched = backend.launch_drawing(&chunks(Feed::Tokens(prompt))).unwrap();
    let next = chunks(Feed::Drawn);
    let seconds = (0..N_WARM_UP + N_STEPS).map(|_| {
        let began = Instant::now();
        let ahead = backend.launch_drawing(&next).unwrap();
        let drawn = backend.collect_drawn(std::mem::replace(&mut launched, ahead)).unwrap();
        assert!(drawn.iter().all(Option::is_some), "every logit is finite");
        began.elapsed().as_secs_f64()
    });
    let seconds = median(seconds.skip(N_WARM_UP).collect());
    backend.forget(launched);
    close(backend, &sequences);
    seconds
}

/// Each step is launched when the tokens of the one before are known here.
fn decode_in_turn_seconds(backend: &mut MlxBackend, prompt: &[u32], n: usize) -> f64 {
    let sequences = open(backend, prompt, n);
    let mut last: Vec<u32> =
        sequences.iter().map(|sequence| step(backend, &[(*sequence, prompt)])[0]).collect();
    let seconds = (0..N_WARM_UP + N_STEPS).map(|_| {
        let began = Instant::now();
        let chunks: Vec<(SequenceId, &[u32])> = sequences
            .iter()
            .zip(&last)
            .map(|(sequence, token)| (*sequence, std::slice::from_ref(token)))
            .collect();
        let next = step(backend, &chunks);
        last = next;
        began.elapsed().as_secs_f64()
    });
    let seconds = median(seconds.skip(N_WARM_UP).collect());
    close(backend, &sequences);
    seconds
}

fn open(backend: &mut MlxBackend, prompt: &[u32], n: usize) -> Vec<SequenceId> {
    (0..n).map(|_| backend.open(prompt.len() + N_WARM_UP + N_STEPS + 1).unwrap()).collect()
}

fn close(backend: &mut MlxBackend, sequences: &[SequenceId]) {
    for sequence in sequences {
        backend.close(*sequence);
    }
}

/// The best token of each sequence after these.
fn step(backend: &mut MlxBackend, chunks: &[(SequenceId, &[u32])]) -> Vec<u32> {
    let chunks: Vec<Chunk<'_>> = chunks
        .iter()
        .map(|(sequence, tokens)| Chunk { sequence: *sequence, tokens, logits: LogitsOf::Last })
        .collect();
    let ticket = backend.launch(&chunks).unwrap();
    let mut logits = Logits::default();
    backend.collect(ticket, &mut logits).unwrap();
    let best = |row: usize| {
        let row = logits.row(row);
        (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as u32
    };
    (0..chunks.len()).map(best).collect()
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
