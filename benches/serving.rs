//! What many requests at once cost each of them: the engine alone, without daemon and socket.
//!
//! `cargo bench --bench serving`, over the demo model; `BOCA_BENCH_MODEL=DIR` takes another checkpoint. Every claim is a
//! ratio of two figures of the same run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark speaks, and fails by panicking")]

#[path = "fusion/tables.rs"]
mod tables;

use boca_core::{ChatMessage, GenerateRequest, SamplingOverrides, Usage};
use boca_engine::generate::{EngineOptions, PrefixCacheDisk, load};
use boca_engine::{CancelToken, Generator, ModelSource, PromptMaker, Report};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tables::{median, ms, print_table};

const QUESTIONS: [&str; 8] = [
    "What can you do?",
    "How do I stop the daemon?",
    "Where are conversations kept?",
    "Which model do you run?",
    "How do I add Gemini?",
    "What is a webhook?",
    "How do I see the state of everything?",
    "Can several people ask at once?",
];
/// Generated tokens that one measurement of throughput takes.
const MEASURED_TOKENS: u32 = 1500;
const ROUNDS: usize = 15;
/// With a large model a measurement ends after this time, with as much as it has.
const LONGEST: Duration = Duration::from_secs(60);

fn main() {
    let source = std::env::var_os("BOCA_BENCH_MODEL")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model"), PathBuf::from);
    let model = |prefix_cache_bytes, prefix_cache_disk| {
        let options = EngineOptions {
            prefix_cache_disk,
            max_running: 16,
            prefix_cache_bytes,
            loop_guard: false,
            ..EngineOptions::default()
        };
        load(&ModelSource::Directory(source.clone()), &options, &mut |_| {}).unwrap()
    };
    let mut engine = model(0, None);
    println!("{}, {}", engine.info().name, engine.info().backend);
    throughput(engine.as_mut());
    let prompts = PromptMaker::open(&ModelSource::Directory(source.clone()), None).unwrap();
    gaps(engine.as_mut(), &prompts, &ends(&source));
    cancellation(engine.as_mut());
    drop(engine);
    first_token(&model);
}

/// The numbers of the rounds, as many as there is time for.
fn rounds(begun: Instant) -> impl Iterator<Item = usize> {
    (0..ROUNDS).take_while(move |round| *round == 0 || begun.elapsed() < LONGEST)
}

fn asking(id: usize, question: String, max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        sampling: SamplingOverrides {
            temperature: Some(0.0),
            thinking: Some(false),
            ..SamplingOverrides::default()
        },
        max_tokens: Some(max_tokens),
        ..GenerateRequest::new(
            format!("r{id}").parse().unwrap(),
            vec![ChatMessage::user(question)],
            max_tokens,
            Duration::from_secs(3600),
        )
    }
}

/// The tokens that end an answer.
fn ends(source: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(source.join("generation_config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(json["eos_token_id"].clone()).unwrap()
}

/// A question of about so many tokens that begins like no other.
fn long_question(n: usize, n_words: usize) -> String {
    format!("{n} {}", "word ".repeat(n_words))
}

fn begin(engine: &mut dyn Generator, request: &GenerateRequest) -> CancelToken {
    let cancel = CancelToken::default();
    engine.begin(request, Instant::now(), &cancel, &mut |_, report| {
        if let Report::Ended(end) = report {
            end.unwrap();
        }
    });
    cancel
}

/// One step; the usage of those that ended in it.
fn step(engine: &mut dyn Generator) -> Vec<Usage> {
    let mut ended = Vec::new();
    engine.step(&mut |_, report| {
        if let Report::Ended(end) = report {
            ended.push(end.unwrap().usage);
        }
    });
    ended
}

fn run_out(engine: &mut dyn Generator) {
    while engine.n_running() > 0 {
        step(engine);
    }
}

/// Tokens a second of so many streams, each followed by the next as soon as it ends.
fn throughput(engine: &mut dyn Generator) {
    let mut rows = Vec::new();
    let mut alone = 0.0;
    for n_streams in [1, 2, 4, 8] {
        let mut n_begun = 0;
        let (mut n_tokens, began) = (0, Instant::now());
        while n_tokens < MEASURED_TOKENS && (n_tokens == 0 || began.elapsed() < LONGEST) {
            while engine.n_running() < n_streams {
                let question = QUESTIONS[n_begun % QUESTIONS.len()].to_owned();
                begin(engine, &asking(n_begun, question, 64));
                n_begun += 1;
            }
            n_tokens += step(engine).iter().map(|usage| usage.completion_tokens).sum::<u32>();
        }
        let rate = f64::from(n_tokens) / began.elapsed().as_secs_f64();
        if n_streams == 1 {
            alone = rate;
        }
        rows.push(vec![
            n_streams.to_string(),
            format!("{rate:.0}"),
            format!("{:.0}", rate / n_streams as f64),
            format!("{:.2}", rate / alone),
        ]);
        run_out(engine);
    }
    print_table(
        "tokens a second, prompts read in between",
        &["streams", "together", "each", "together ÷ one stream"],
        &rows,
    );
}

/// How the time between two tokens of a stream is distributed.
struct Gaps {
    median: Duration,
    p99: Duration,
    slowest: Duration,
    n: usize,
}

impl Gaps {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |permille: usize| times[(times.len() - 1) * permille / 1000];
        Self { median: at(500), p99: at(990), slowest: at(1000), n: times.len() }
    }
}

/// The gaps of a stream until a request beside it has ended, or so many of them, or for as long as there is time.
fn gaps_until(engine: &mut dyn Generator, n_running: usize, most: usize, began: Instant) -> Vec<Duration> {
    let (mut gaps, mut before) = (Vec::new(), began);
    let most_time = Instant::now();
    while engine.n_running() >= n_running && gaps.len() < most && most_time.elapsed() < LONGEST {
        step(engine);
        let now = Instant::now();
        gaps.push(now - before);
        before = now;
    }
    gaps
}

/// The time between two tokens of a stream, alone and while a long prompt is read beside it. As many gaps are taken
/// alone, right before and right after, so that what the machine itself does shows in the same figures.
fn gaps(engine: &mut dyn Generator, prompts: &PromptMaker, ends: &[u32]) {
    let context = engine.info().context_tokens as usize;
    let n_words = (context * 2 / 5).min(20_000);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut ratios = Vec::new();
    let begun = Instant::now();
    for round in rounds(begun) {
        let mut endless = asking(2 * round, "Tell me everything.".into(), context as u32 / 3);
        endless.sampling.logit_bias = Some(ends.iter().map(|end| (*end, -100.0)).collect());
        let cancel = begin(engine, &endless);
        for _ in 0..8 {
            step(engine);
        }
        let mut long = asking(2 * round + 1, long_question(round, n_words), 1);
        // As the daemon does: the engine gets tokens.
        long.prepared = Some(prompts.prepare(&long).unwrap());
        let before = gaps_until(engine, 1, 100, Instant::now());
        let began = Instant::now();
        let never_mind = begin(engine, &long);
        let with = gaps_until(engine, 2, usize::MAX, began);
        never_mind.cancel();
        step(engine);
        let after = gaps_until(engine, 1, with.len(), Instant::now());
        let usual: Vec<Duration> = before.into_iter().chain(after).collect();
        ratios.push((Gaps::of(usual.clone()), Gaps::of(with.clone())));
        alone.extend(usual);
        beside.extend(with);
        cancel.cancel();
        run_out(engine);
    }
    let usual = Gaps::of(alone.clone());
    let ratio = |time: Duration| format!("{:.2}", time.as_secs_f64() / usual.median.as_secs_f64());
    let row = |name: &str, gaps: &Gaps| {
        let times = [gaps.median, gaps.p99, gaps.slowest];
        let cells = times.into_iter().flat_map(|time| [ms(time), ratio(time)]);
        [name.to_owned(), gaps.n.to_string()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let rows = [row("alone", &usual), row("beside a prompt", &Gaps::of(beside))];
    let title = format!(
        "the gap between tokens while a prompt of about {n_words} tokens is read; × is by the usual median ({} rounds)",
        ratios.len()
    );
    print_table(&title, &["stream", "gaps", "median", "×", "p99", "×", "slowest", "×"], &rows);
    let of_rounds = |pick: &dyn Fn(&Gaps, &Gaps) -> f64| {
        let mut all: Vec<f64> = ratios.iter().map(|(usual, with)| pick(usual, with)).collect();
        all.sort_unstable_by(f64::total_cmp);
        format!("{:.2}", all[all.len() / 2])
    };
    let by = |time: Duration, usual: &Gaps| time.as_secs_f64() / usual.median.as_secs_f64();
    let rows = [
        vec![
            "alone".into(),
            "1".into(),
            of_rounds(&|usual, _| by(usual.p99, usual)),
            of_rounds(&|usual, _| by(usual.slowest, usual)),
        ],
        vec![
            "beside a prompt".into(),
            of_rounds(&|usual, with| by(with.median, usual)),
            of_rounds(&|usual, with| by(with.p99, usual)),
            of_rounds(&|usual, with| by(with.slowest, usual)),
        ],
    ];
    print_table(
        "the same, round by round: the median of the rounds' figures, by the round's own usual median",
        &["stream", "median ×", "p99 ×", "slowest ×"],
        &rows,
    );
}

/// From the cancellation to the end of the request.
fn cancellation(engine: &mut dyn Generator) {
    let mut rows = Vec::new();
    for (name, n_words) in [("while it writes", 4), ("while its prompt is read", 1500)] {
        let mut times = Vec::new();
        let mut steps = Vec::new();
        for round in rounds(Instant::now()) {
            let cancel = begin(engine, &asking(round, long_question(round, n_words), 64));
            for _ in 0..2 {
                let began = Instant::now();
                step(engine);
                steps.push(began.elapsed());
            }
            let began = Instant::now();
            cancel.cancel();
            run_out(engine);
            times.push(began.elapsed());
        }
        rows.push(vec![name.to_owned(), ms(median(times)), ms(median(steps))]);
    }
    print_table("cancellation", &["when", "until it has ended", "a step"], &rows);
}

/// Time to the first token of a conversation's second turn: with nothing, with what the first one has computed, and with
/// that after a restart.
fn first_token(model: &dyn Fn(u64, Option<PrefixCacheDisk>) -> Box<dyn Generator>) {
    let directory = tempfile::tempdir().unwrap();
    let mut rows = Vec::new();
    for (name, cache_bytes, restarts) in
        [("cold", 0, false), ("warm", 1 << 30, false), ("after a restart", 1 << 30, true)]
    {
        let disk = || {
            let directory = directory.path().to_owned();
            restarts.then_some(PrefixCacheDisk { directory, max_bytes: 1 << 30 })
        };
        let mut engine = model(cache_bytes, disk());
        let (mut times, mut cached, mut computed) = (Vec::new(), 0, 0);
        for round in rounds(Instant::now()) {
            let mut request = asking(round, long_question(round, 1500), 1);
            begin(engine.as_mut(), &request);
            run_out(engine.as_mut());
            if restarts {
                drop(engine);
                engine = model(cache_bytes, disk());
            }
            request.messages.push(ChatMessage::assistant("I have read it."));
            request.messages.push(ChatMessage::user("And what does it say?"));
            let never = CancelToken::default();
            let summary = engine.generate(&request, Instant::now(), &never, &mut |_| {}).unwrap();
            times.push(summary.timings.time_to_first_token);
            cached = summary.usage.cached_tokens;
            computed = summary.usage.prompt_tokens - cached;
        }
        rows.push(vec![name.to_owned(), ms(median(times)), cached.to_string(), computed.to_string()]);
    }
    print_table(
        "first token of a second turn",
        &["prefix cache", "median", "tokens reused", "tokens computed"],
        &rows,
    );
}
