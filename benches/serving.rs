//! What many requests at once cost each of them: the engine alone, without daemon and socket.
//!
//! `cargo bench --bench serving`, over the demo model; `BOCA_BENCH_MODEL=DIR` takes another checkpoint. Every claim is a
//! ratio of two figures of the same run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark speaks, and fails by panicking")]

#[path = "fusion/tables.rs"]
mod tables;

use boca_core::{ChatMessage, GenerateRequest, SamplingOverrides, Usage};
use boca_engine::generate::{EngineOptions, load};
use boca_engine::{CancelToken, Generator, ModelSource, Report};
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

fn main() {
    let source = std::env::var_os("BOCA_BENCH_MODEL")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model"), PathBuf::from);
    let model = |prefix_cache_bytes| {
        let options = EngineOptions { max_running: 16, prefix_cache_bytes, ..EngineOptions::default() };
        load(&ModelSource::Directory(source.clone()), &options, &mut |_| {}).unwrap()
    };
    let mut engine = model(0);
    println!("{}, {}", engine.info().name, engine.info().backend);
    throughput(engine.as_mut());
    gaps(engine.as_mut(), &ends(&source));
    cancellation(engine.as_mut());
    drop(engine);
    first_token(&model);
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
        while n_tokens < MEASURED_TOKENS {
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

/// The time between two tokens of a stream, alone and while a long prompt is read.
fn gaps(engine: &mut dyn Generator, ends: &[u32]) {
    let context = engine.info().context_tokens as usize;
    let n_words = (context / 2).min(20_000);
    let mut rows = Vec::new();
    for round in 0..3 {
        let mut endless = asking(2 * round, "Tell me everything.".into(), context as u32 / 2);
        endless.sampling.logit_bias = Some(ends.iter().map(|end| (*end, -100.0)).collect());
        let cancel = begin(engine, &endless);
        for _ in 0..8 {
            step(engine);
        }
        let timed = |engine: &mut dyn Generator, while_running: usize| {
            let mut times = Vec::new();
            while engine.n_running() == while_running && times.len() < 4000 {
                let began = Instant::now();
                step(engine);
                times.push(began.elapsed());
                if while_running == 1 && times.len() == 40 {
                    break;
                }
            }
            times
        };
        let usual = median(timed(engine, 1));
        begin(engine, &asking(2 * round + 1, long_question(round, n_words), 1));
        let mut beside = timed(engine, 2);
        beside.sort_unstable();
        let at = |percent: usize| beside[(beside.len() - 1) * percent / 100];
        let ratio = |time: Duration| format!("{:.2}", time.as_secs_f64() / usual.as_secs_f64());
        rows.push(vec![
            ms(usual),
            beside.len().to_string(),
            ms(at(50)),
            ratio(at(50)),
            ratio(at(95)),
            ratio(at(100)),
        ]);
        cancel.cancel();
        run_out(engine);
    }
    let title =
        format!("the gap between tokens while a prompt of about {n_words} tokens is read (three runs)");
    print_table(
        &title,
        &["usual", "steps beside", "median", "÷ usual", "p95 ÷ usual", "slowest ÷ usual"],
        &rows,
    );
}

/// From the cancellation to the end of the request.
fn cancellation(engine: &mut dyn Generator) {
    let mut rows = Vec::new();
    for (name, n_words) in [("while it writes", 4), ("while its prompt is read", 1500)] {
        let mut times = Vec::new();
        let mut steps = Vec::new();
        for round in 0..ROUNDS {
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

/// Time to the first token of a conversation's second turn, with and without what the first one has computed.
fn first_token(model: &dyn Fn(u64) -> Box<dyn Generator>) {
    let mut rows = Vec::new();
    for (name, cache_bytes) in [("cold", 0), ("warm", 1 << 30)] {
        let mut engine = model(cache_bytes);
        let (mut times, mut cached, mut computed) = (Vec::new(), 0, 0);
        for round in 0..ROUNDS {
            let mut request = asking(round, long_question(round, 1500), 1);
            begin(engine.as_mut(), &request);
            run_out(engine.as_mut());
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
