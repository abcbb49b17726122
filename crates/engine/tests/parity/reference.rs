//! What was recorded, and how a backend is held against it.

use boca_engine::ModelSource;
use boca_engine::backend::{Backend, Chunk, Logits, LogitsOf, SequenceId};
use boca_engine::checkpoint::CheckpointWeights;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

/// Of the logits' standard deviation.
pub(crate) const TOLERANCE: f32 = 5e-5;
/// How many shapes and adapters the data must have at least, so that an empty directory does not pass.
pub(crate) const LEAST_SHAPES: usize = 8;
const LEAST_ADAPTERS: usize = 6;

pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) checkpoint: CheckpointWeights,
    /// Where it was recorded: the checkpoint's directory, or the adapter's.
    #[cfg_attr(
        not(any(target_os = "macos", feature = "mlx")),
        expect(dead_code, reason = "only processes of other hosts open it again")
    )]
    pub(crate) directory: PathBuf,
    /// The checkpoint alone, if this is one with an adapter.
    pub(crate) base: Option<PathBuf>,
    pub(crate) prompt: Vec<u32>,
    pub(crate) greedy: Vec<u32>,
    /// `[prompt, vocab_size]`
    pub(crate) prompt_logits: Vec<f32>,
    /// `[greedy, vocab_size]`: the first row belongs to the prompt's last token.
    pub(crate) greedy_logits: Vec<f32>,
    /// The same, recorded in bf16, and how far it is from those.
    pub(crate) bf16: Option<(Vec<f32>, Vec<f32>, f32)>,
}

impl Reference {
    pub(crate) fn open(directory: &Path) -> Self {
        let json = std::fs::read_to_string(directory.join("reference.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let tokens = |name: &str| -> Vec<u32> { serde_json::from_value(json[name].clone()).unwrap() };
        let (prompt_logits, greedy_logits) = read_logits(&directory.join("reference.safetensors"));
        let bf16 = json.get("bf16_largest_difference").map(|away| {
            let (prompt, greedy) = read_logits(&directory.join("reference-bf16.safetensors"));
            (prompt, greedy, away.as_f64().unwrap() as f32)
        });
        let mut name = json["shape"].as_str().unwrap().to_owned();
        let base = json.get("base").map(|base| data("data").join(base.as_str().unwrap()));
        let checkpoint = match &base {
            None => CheckpointWeights::open(&ModelSource::Directory(directory.into())).unwrap(),
            Some(base) => {
                name.insert(0, '+');
                CheckpointWeights::open_adapted(&ModelSource::Directory(base.clone()), Some(directory))
                    .unwrap()
            }
        };
        Self {
            name,
            checkpoint,
            directory: directory.to_owned(),
            base,
            prompt: tokens("prompt"),
            greedy: tokens("greedy"),
            prompt_logits,
            greedy_logits,
            bf16,
        }
    }

    pub(crate) fn max_tokens(&self) -> usize {
        self.prompt.len() + self.greedy.len()
    }

    pub(crate) fn tolerance(&self) -> f32 {
        let n = self.prompt_logits.len() as f32;
        let mean = self.prompt_logits.iter().sum::<f32>() / n;
        let variance = self.prompt_logits.iter().map(|logit| (logit - mean).powi(2)).sum::<f32>() / n;
        TOLERANCE * variance.sqrt()
    }
}

pub(crate) fn references() -> Vec<Reference> {
    let (shapes, adapters) = (directories("data"), directories("data-adapters"));
    assert!(shapes.len() >= LEAST_SHAPES, "only {} reference shapes", shapes.len());
    assert!(adapters.len() >= LEAST_ADAPTERS, "only {} reference adapters", adapters.len());
    shapes.iter().chain(&adapters).map(|directory| Reference::open(directory)).collect()
}

impl Reference {
    /// Prompts of different lengths and contents; its own comes second.
    pub(crate) fn company(&self) -> Vec<Vec<u32>> {
        let vocab = self.checkpoint.config.vocab_size as u32;
        let prompt = |i: u32| match i {
            1 => self.prompt.clone(),
            _ => self.prompt.iter().skip(i as usize).map(|token| (token + 31 * i) % vocab).collect(),
        };
        (0..5).map(prompt).collect()
    }
}

/// A fork goes on like a sequence that was made anew, and nobody notices what the other one appends; `same` says what
/// logits have to be the same as which.
pub(crate) fn check_forks(
    backend: &mut impl Backend,
    reference: &Reference,
    same: impl Fn(&str, &[f32], &[f32]),
) {
    let max_tokens = 2 * reference.max_tokens();
    let parent = backend.open(max_tokens).unwrap();
    // Long enough that the fork shares a whole block and copies another.
    let tokens = [&reference.prompt[..], &reference.greedy[..]].concat();
    prefill(backend, parent, &tokens, tokens.len());
    for at in [0, 1, tokens.len() - 12, tokens.len()] {
        let mut other: Vec<u32> = reference.prompt.iter().rev().copied().collect();
        let fork = backend.fork(parent, at, max_tokens).unwrap();
        assert_eq!(backend.len(fork), Some(at));
        let forked = prefill(backend, fork, &other, other.len());
        let fresh = backend.open(max_tokens).unwrap();
        other.splice(0..0, tokens[..at].iter().copied());
        let whole = prefill(backend, fresh, &other, other.len());
        let what = format!("{} forked at {at}", reference.name);
        same(&what, &forked, &whole[whole.len() - forked.len()..]);
        backend.close(fork);
        backend.close(fresh);
    }
    let again = backend.fork(parent, tokens.len(), max_tokens).unwrap();
    let rest = prefill(backend, parent, &reference.prompt, 5);
    same(&reference.name, &rest, &prefill(backend, again, &reference.prompt, 9));
    backend.close(parent);
    backend.close(again);
    assert_eq!(backend.kv_bytes(), 0);
}

/// A directory of recordings.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn directories(name: &str) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = std::fs::read_dir(data(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("reference.json").exists())
        .collect();
    directories.sort();
    directories
}

pub(crate) fn read_logits(path: &Path) -> (Vec<f32>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: &str| {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
        tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    (read("prompt_logits"), read("greedy_logits"))
}

/// Appends tokens in chunks; returns the logits of every position.
pub(crate) fn prefill(
    backend: &mut (impl Backend + ?Sized),
    sequence: SequenceId,
    tokens: &[u32],
    chunk: usize,
) -> Vec<f32> {
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
pub(crate) fn generate(
    backend: &mut (impl Backend + ?Sized),
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

pub(crate) fn arg_max(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

pub(crate) fn largest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let difference = |(a, b): (&f32, &f32)| if a.is_finite() { (a - b).abs() } else { f32::INFINITY };
    ours.iter().zip(theirs).map(difference).fold(0.0, f32::max)
}

/// Compares row by row; returns the largest difference.
pub(crate) fn compare(what: &str, ours: &[f32], theirs: &[f32], vocab_size: usize, tolerance: f32) -> f32 {
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
