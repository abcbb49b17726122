//! One model on several hosts: as many processes of this test on this machine, over MLX's ring.
//!
//! A test starts this binary again, once for each host, with [`as_a_host`] as the only test; what the hosts are to do
//! is in the environment.

use crate::reference::{Reference, compare, generate, prefill, references};
use crate::wide::wide_checkpoint;
use boca_core::KvPrecision;
use boca_engine::ModelSource;
use boca_engine::backend::{Backend, BackendError, Chunk, Logits, LogitsOf};
use boca_engine::checkpoint::{CheckpointWeights, Cut, Share};
use boca_engine::drawing::{Draw, DrawChunk, Feed};
use boca_engine::generate::{DeviceChoice, MlxLimits};
use boca_engine::mlx::{MlxBackend, MlxOptions};
use boca_engine::shared::{FollowOptions, Hosts, Stage, follow, lead};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const HOSTS: &str = "BOCA_TEST_HOSTS";
const TASK: &str = "BOCA_TEST_TASK";
const CHECKPOINT: &str = "BOCA_TEST_CHECKPOINT";
/// How many shapes and adapters two hosts must be able to share at least.
const LEAST_SHARED: usize = 6;
/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(300);

const OPTIONS: MlxOptions = MlxOptions {
    device: DeviceChoice::Cpu,
    widen: true,
    kv_precision: KvPrecision::F32,
    limits: MlxLimits { cache_bytes: None, memory_bytes: None, wired_bytes: None },
};

/// The processes of a test; none outlives it.
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Ports that nobody has now.
fn free_hosts(n: usize) -> Vec<String> {
    let listeners: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

/// Starts the hosts.
fn start(n: usize, task: &str, checkpoint: &Path, directory: &Path) -> Processes {
    let hosts = Hosts::new(&free_hosts(n)).unwrap();
    let hostfile = directory.join("hosts.json");
    std::fs::write(&hostfile, hosts.hostfile()).unwrap();
    let start = |rank: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["hosts::as_a_host", "--exact", "--nocapture"])
            .env(HOSTS, Vec::<String>::from(hosts.clone()).join(","))
            .env(TASK, task)
            .env(CHECKPOINT, checkpoint)
            .envs(Hosts::environment(rank, &hostfile))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    Processes((0..n).map(start).collect())
}

/// Waits until all hosts have done their task.
fn run(n: usize, task: &str, checkpoint: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let mut processes = start(n, task, checkpoint, directory.path());
    // What they say is read while they say it, or they would wait for a reader.
    let readers: Vec<_> = processes
        .0
        .iter_mut()
        .map(|child| {
            let (mut out, mut error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
            let error = std::thread::spawn(move || {
                let mut text = String::new();
                error.read_to_string(&mut text).unwrap();
                text
            });
            std::thread::spawn(move || {
                let mut text = String::new();
                out.read_to_string(&mut text).unwrap();
                text + &error.join().unwrap()
            })
        })
        .collect();
    let began = Instant::now();
    while processes.0.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        let has_failed =
            |child: &mut Child| child.try_wait().unwrap().is_some_and(|status| !status.success());
        if processes.0.iter_mut().any(has_failed) || began.elapsed() > PATIENCE {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let ends: Vec<_> = processes.0.iter_mut().map(|child| child.try_wait().unwrap()).collect();
    drop(processes);
    let told: Vec<String> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    for text in &told {
        println!("{text}");
    }
    assert!(ends.iter().all(|end| end.is_some_and(|status| status.success())), "{ends:?}");
    assert!(told.iter().all(|text| text.contains("done as a host")), "{told:?}");
}

#[test]
fn two_hosts_compute_what_mlx_lm_does() {
    run(2, "references", Path::new("none"));
}

#[test]
fn three_and_four_hosts_compute_what_one_does() {
    let directory = tempfile::tempdir().unwrap();
    wide_checkpoint(directory.path());
    for n in [3, 4] {
        run(n, "wide", directory.path());
    }
}

#[test]
fn a_host_that_dies_or_stands_still_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    wide_checkpoint(directory.path());
    for (signal, told, most) in [
        ("-KILL", "is gone", Duration::from_secs(5)),
        ("-STOP", "has not been heard of for 15s", Duration::from_secs(25)),
    ] {
        let files = tempfile::tempdir().unwrap();
        let mut processes = start(2, "steps without end", directory.path(), files.path());
        let (tell, lines) = mpsc::channel();
        let out = processes.0[0].stdout.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).all(|line| tell.send(line).is_ok())
        });
        // Doubt and failure are told by two threads, in any order.
        let mut heard: Vec<String> = Vec::new();
        let mut hear = |word: &str, patience: Duration| {
            let began = Instant::now();
            loop {
                if let Some(line) = heard.iter().find(|line| line.contains(word)) {
                    return line.clone();
                }
                let line = lines.recv_timeout(patience.saturating_sub(began.elapsed()));
                let line = line.unwrap_or_else(|_| panic!("no {word:?} within {patience:?}"));
                println!("{line}");
                heard.push(line);
            }
        };
        hear("stepping", Duration::from_secs(60));
        let follower = processes.0[1].id().to_string();
        assert!(Command::new("kill").args([signal, &follower]).status().unwrap().success());
        let line = hear("doubt:", most);
        assert!(line.contains("(rank 1)") && line.contains(told), "{line}");
        if signal == "-KILL" {
            let line = hear("failed:", most);
            assert!(line.contains("(rank 1)") && line.contains(told), "{line}");
        }
    }
}

/// No test of its own: what a host of the tests above does.
#[test]
fn as_a_host() {
    let Ok(hosts) = std::env::var(HOSTS) else { return };
    let hosts: Hosts = hosts.parse().unwrap();
    let rank: usize = std::env::var("MLX_RANK").unwrap().parse().unwrap();
    let path = PathBuf::from(std::env::var_os(CHECKPOINT).unwrap());
    match std::env::var(TASK).unwrap().as_str() {
        "references" => {
            let mut n_shared = 0;
            for reference in references() {
                let Ok(cut) = cut(&reference.checkpoint, &hosts) else { continue };
                n_shared += 1;
                if rank == 0 {
                    check_reference(&reference, led(&hosts, &cut, &reference.checkpoint).as_mut());
                } else {
                    let Reference { base, directory, .. } = reference;
                    let adapter = base.as_ref().map(|_| directory.clone());
                    followed(&hosts, rank, base.unwrap_or(directory), adapter);
                }
            }
            assert!(n_shared >= LEAST_SHARED, "only {n_shared} shapes can be shared");
        }
        task => {
            let checkpoint = CheckpointWeights::open(&ModelSource::Directory(path.clone())).unwrap();
            match (rank, task) {
                (0, "wide") => {
                    let cut = cut(&checkpoint, &hosts).unwrap();
                    check_wide(&checkpoint, led(&hosts, &cut, &checkpoint).as_mut());
                }
                (0, _) => {
                    let cut = cut(&checkpoint, &hosts).unwrap();
                    step_for_ever(led(&hosts, &cut, &checkpoint));
                }
                _ => followed(&hosts, rank, path, None),
            }
        }
    }
    println!("done as a host");
}

fn cut(checkpoint: &CheckpointWeights, hosts: &Hosts) -> Result<Cut, boca_engine::checkpoint::CutError> {
    Cut::new(&checkpoint.config, &checkpoint.weights, Share { rank: 0, size: hosts.n() })
}

fn led(hosts: &Hosts, cut: &Cut, checkpoint: &CheckpointWeights) -> Box<dyn Backend> {
    lead(hosts, cut, checkpoint, OPTIONS, &mut |_| {}).unwrap().0
}

fn followed(hosts: &Hosts, rank: usize, checkpoint: PathBuf, adapter: Option<PathBuf>) {
    let options = FollowOptions {
        hosts: hosts.clone(),
        rank,
        adapter,
        device: DeviceChoice::Cpu,
        limits: MlxLimits::default(),
    };
    let mut stages = Vec::new();
    let source = ModelSource::Directory(checkpoint);
    follow(&source, &options, &mut |stage| stages.push(stage), |_| {}).unwrap();
    assert_eq!(stages.last(), Some(&Stage::Following));
}

/// Logits and tokens, in batches, from forks, drawn ahead and cut back.
fn check_reference(reference: &Reference, backend: &mut dyn Backend) {
    let (vocab, tolerance) = (reference.checkpoint.config.vocab_size, reference.tolerance());
    let (name, n, n_prompt) = (&reference.name, reference.greedy.len(), reference.prompt.len());
    let mut reached = Vec::new();
    for chunk in [n_prompt, 7] {
        let sequence = backend.open(reference.max_tokens()).unwrap();
        let ours = prefill(backend, sequence, &reference.prompt, chunk);
        let what = format!("{name} in chunks of {chunk}");
        reached.push(compare(&what, &ours, &reference.prompt_logits, vocab, tolerance));
        backend.close(sequence);
    }
    // The reference's prompt between two others.
    let prompts: Vec<Vec<u32>> = (0..3)
        .map(|i: u32| {
            reference.prompt.iter().skip(i as usize % 2).map(|t| (t + 31 * (i % 2)) % vocab as u32).collect()
        })
        .collect();
    let together: Vec<_> =
        prompts.iter().map(|prompt| (backend.open(prompt.len() + n).unwrap(), &prompt[..])).collect();
    for (place, (tokens, logits)) in generate(backend, &together, n).into_iter().enumerate() {
        if place != 1 {
            assert_eq!(tokens, reference.greedy, "{name} in company");
            let what = format!("{name} in company");
            reached.push(compare(&what, &logits, &reference.greedy_logits, vocab, tolerance));
        }
        backend.close(together[place].0);
    }
    // A fork of the prompt goes on as the prompt does, and draws its own tokens ahead of their being read.
    let parent = backend.open(2 * reference.max_tokens()).unwrap();
    prefill(backend, parent, &reference.prompt, n_prompt);
    let fork = backend.fork(parent, n_prompt - 1, 2 * reference.max_tokens()).unwrap();
    let (first, _) = draw_ahead(backend, fork, &reference.prompt[n_prompt - 1..], n, Draw::MOST_LIKELY);
    assert_eq!(first, reference.greedy, "{name} drawn");
    backend.drawing().unwrap().cut(fork, n_prompt);
    assert_eq!(backend.len(fork), Some(n_prompt));
    let ours = prefill(backend, fork, &reference.greedy[..n - 1], 3);
    reached.push(compare(name, &ours, &reference.greedy_logits[vocab..], vocab, tolerance));
    // A token that may not be drawn, and draws that are not greedy, as one host has them.
    let options = MlxOptions { ..OPTIONS };
    let model = &reference.checkpoint;
    let mut alone = MlxBackend::new(&model.config, &model.weights, options, &mut || {}).unwrap();
    let sampled = Draw { temperature: 0.8, top_k: 40, top_p: 0.9, min_p: 0.01, unit: 0.37 };
    let mut drawn = Vec::new();
    for backend in [backend, &mut alone as &mut dyn Backend] {
        backend.drawing().unwrap().forbid(&[reference.greedy[0]]).unwrap();
        let sequence = backend.open(2 * reference.max_tokens()).unwrap();
        let (tokens, n_held) = draw_ahead(backend, sequence, &reference.prompt, n, sampled);
        assert!(!tokens.contains(&reference.greedy[0]), "{name}: {tokens:?}");
        assert_eq!(n_held, n_prompt + n);
        backend.drawing().unwrap().forbid(&[]).unwrap();
        backend.close(sequence);
        drawn.push(tokens);
    }
    assert_eq!(drawn[0], drawn[1], "{name} sampled");
    let largest = reached.into_iter().fold(0.0, f32::max);
    println!("{name}: logits differ by {largest:.1e}, allowed is {tolerance:.1e}");
}

/// Draws `n` tokens, each step launched before the tokens of the one before are read; the last step is forgotten. Gives
/// them and the tokens that the sequence then holds.
fn draw_ahead(
    backend: &mut dyn Backend,
    sequence: boca_engine::backend::SequenceId,
    tokens: &[u32],
    n: usize,
    draw: Draw,
) -> (Vec<u32>, usize) {
    let drawing = backend.drawing().unwrap();
    let chunk = |feed| [DrawChunk { sequence, feed, draw: Some(draw) }];
    let mut before = drawing.launch_drawing(&chunk(Feed::Tokens(tokens))).unwrap();
    let mut drawn = Vec::new();
    for _ in 0..n {
        let next = drawing.launch_drawing(&chunk(Feed::Drawn)).unwrap();
        drawn.push(drawing.collect_drawn(before).unwrap()[0].unwrap());
        before = next;
    }
    drawing.forget(before);
    (drawn, backend.len(sequence).unwrap())
}

/// What one host computes, and what only the first one knows.
fn check_wide(checkpoint: &CheckpointWeights, backend: &mut dyn Backend) {
    let mut alone = MlxBackend::new(&checkpoint.config, &checkpoint.weights, OPTIONS, &mut || {}).unwrap();
    let vocab = checkpoint.config.vocab_size;
    let prompt: Vec<u32> = (0..40_u32).map(|i| (i * 37 + 11) % vocab as u32).collect();
    let sequence = backend.open(100).unwrap();
    let ours = prefill(backend, sequence, &prompt, 16);
    let of_one = {
        let sequence = alone.open(100).unwrap();
        prefill(&mut alone, sequence, &prompt, 16)
    };
    let spread = (of_one.iter().map(|logit| logit * logit).sum::<f32>() / of_one.len() as f32).sqrt();
    let tolerance = crate::reference::TOLERANCE * spread;
    let largest = compare(&backend.describe(), &ours, &of_one, vocab, tolerance);
    println!("{}: logits differ by {largest:.1e}, allowed is {tolerance:.1e}", backend.describe());
    assert!(backend.kv_bytes_per_token() < alone.kv_bytes_per_token());
    assert_eq!(backend.kv_format(), None);
    assert!(backend.export(sequence).is_none());
    // What is refused before it is computed leaves the hosts together.
    let over = Chunk { sequence, tokens: &[1; 90], logits: LogitsOf::Last };
    assert!(matches!(backend.launch(&[over]), Err(BackendError::BadSequence { .. })));
    assert!(backend.fork(sequence, 99, 100).is_err());
    let again = prefill(backend, sequence, &prompt[..3], 3);
    assert_eq!(again.len(), 3 * vocab);
    backend.close(sequence);
    assert_eq!(backend.kv_bytes(), 0);
}

/// Steps until it cannot; says so when it is in doubt, whether or not the step under way ever ends.
fn step_for_ever(mut backend: Box<dyn Backend>) {
    let doubt = backend.doubt().unwrap();
    assert!(doubt().is_none());
    let doubter = std::thread::spawn(move || {
        while doubt().is_none() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        println!("doubt: {}", doubt().unwrap().0);
    });
    let mut logits = Logits::default();
    println!("stepping");
    loop {
        let sequence = backend.open(8).unwrap();
        let ticket = backend.launch(&[Chunk { sequence, tokens: &[1, 2, 3], logits: LogitsOf::Last }]);
        let step = ticket.and_then(|ticket| backend.collect(ticket, &mut logits));
        backend.close(sequence);
        if let Err(error) = step {
            println!("failed: {error}");
            assert!(backend.open(8).is_err(), "there is no going on");
            // This process ends with this thread.
            return doubter.join().unwrap();
        }
    }
}
