//! What it costs to have the engine in a process of its own: the way of a token to its reader, and the time until an engine
//! that was killed answers again.
//!
//! `cargo bench --bench engine_process`; `BOCA_BENCH_MODEL` names a checkpoint directory for the second part, which is the
//! demo model otherwise.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails and speaks as tests do")]

use boca_actors::{Actors, ActorsOptions, EngineHosting, WorkerCommand};
use boca_core::{
    ActorState, AnswerEvent, Ask, ChatMessage, FinishReason, GenerateRequest, GenerationEvent,
    GenerationSummary, Mode, ModelInfo, SamplingOverrides, Timings, Usage,
};
use boca_engine::generate::{EngineOptions, load};
use boca_engine::{CancelToken, EngineError, GeneratorFactory, ModelSource, OneByOne, SoloModel};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const WORKER: &str = "engine-worker";
/// Tokens whose way is measured; the first ones warm up.
const N_TOKENS: usize = 3000;
const N_WARM_UP: usize = 200;
const N_PAIRS: usize = 5;
/// Between two tokens: a fast model's.
const PACE: Duration = Duration::from_millis(2);
const N_RESTARTS: usize = 5;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(WORKER) {
        let connection = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let output = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        boca_actors::serve_engine(connection, output, |job| Ok(factory(&job))).unwrap();
        return;
    }
    let model = std::env::var_os("BOCA_BENCH_MODEL")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model"), PathBuf::from);
    way_of_a_token();
    restarts(&model);
}

/// The engine that a job asks for: a clock, or a model.
fn factory(job: &Value) -> GeneratorFactory {
    match job["model"].as_str() {
        None => Arc::new(|_| Ok(Box::new(OneByOne::new(Clock(ModelInfo::unknown("clock")))))),
        Some(model) => {
            let source = ModelSource::Directory(model.into());
            Arc::new(move |progress| load(&source, &EngineOptions::default(), progress))
        }
    }
}

fn in_a_process(job: Value) -> EngineHosting {
    EngineHosting::Process {
        worker: WorkerCommand {
            program: std::env::current_exe().unwrap(),
            arguments: vec![WORKER.into()],
            environment: vec![],
            job,
        },
        beat_patience: Duration::from_secs(60),
        step_patience: Duration::from_secs(600),
        stop_patience: Duration::from_secs(10),
    }
}

/// Says what time it is, token by token.
struct Clock(ModelInfo);

fn now_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

impl SoloModel for Clock {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn answer(
        &mut self,
        _: &GenerateRequest,
        _: Instant,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError> {
        for _ in 0..N_TOKENS {
            std::thread::park_timeout(PACE);
            if cancel.is_cancelled() {
                break;
            }
            emit(GenerationEvent::Text(format!("{} ", now_ns())));
        }
        let (usage, timings) = (Usage::default(), Timings::default());
        Ok(GenerationSummary { finish_reason: FinishReason::Stop, stop_sequence: None, usage, timings })
    }
}

fn ask(id: &str, max_tokens: u32) -> Ask {
    let messages = vec![ChatMessage::user("Count to ten.")];
    let generate = GenerateRequest::new(id.parse().unwrap(), messages, max_tokens, Duration::from_secs(600));
    let sampling = SamplingOverrides { thinking: Some(false), ..SamplingOverrides::default() };
    Ask {
        session_id: "bench".parse().unwrap(),
        mode: Mode::Local,
        effort: None,
        strategy: None,
        private: true,
        generate: GenerateRequest { sampling, ..generate },
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// Microseconds from the engine's hands to the reader's, sorted.
fn ways(hosting: EngineHosting) -> Vec<f64> {
    actix::System::new().block_on(async move {
        let actors = boca_actors::start(ActorsOptions::new(hosting));
        ready(&actors, None).await;
        let mut stream = actors.synthesizer.ask(ask("clock", 1), soon()).await.unwrap();
        let mut ways = Vec::new();
        while let Some(event) = stream.next().await {
            let AnswerEvent::Text(text) = event.unwrap() else { continue };
            let arrived = now_ns();
            for stamp in text.split_whitespace() {
                ways.push(arrived.saturating_sub(stamp.parse().unwrap()) as f64 / 1e3);
            }
        }
        actors.drain(Duration::from_secs(5)).await;
        ways.drain(..N_WARM_UP);
        ways.sort_by(f64::total_cmp);
        ways
    })
}

fn way_of_a_token() {
    println!("the way of a token, in µs (median, p99), in pairs\n");
    println!("| thread | process | the pipe costs |\n| --- | --- | --- |");
    let at = |ways: &[f64], share: f64| ways[(ways.len() as f64 * share) as usize];
    let mut costs: Vec<f64> = (0..N_PAIRS)
        .map(|_| {
            let thread = ways(EngineHosting::Thread(factory(&Value::Null)));
            let process = ways(in_a_process(json!({})));
            let [thread_median, median] = [&thread, &process].map(|ways| at(ways, 0.5));
            let [thread_p99, p99] = [&thread, &process].map(|ways| at(ways, 0.99));
            let cost = median - thread_median;
            println!("| {thread_median:.1}, {thread_p99:.1} | {median:.1}, {p99:.1} | {cost:.1} |");
            cost
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    println!("\nat the median the pipe costs {:.1} µs a token (asked: under 50)\n", at(&costs, 0.5));
}

async fn ready(actors: &Actors, other_than: Option<u32>) {
    loop {
        let is_other = other_than.is_none() || actors.model.engine_process() != other_than;
        if is_other && actors.model.status().state == ActorState::Ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn restarts(model: &std::path::Path) {
    actix::System::new().block_on(async move {
        let began = Instant::now();
        let mut options = ActorsOptions::new(in_a_process(json!({ "model": model })));
        // What is measured is the start, not the pause before it.
        options.supervision.engine.backoff.first = Duration::from_millis(1);
        options.supervision.engine.backoff.longest = Duration::from_millis(1);
        options.supervision.engine.max_restarts = 100;
        let actors = boca_actors::start(options);
        ready(&actors, None).await;
        println!("{}: first load {:.2?}", model.display(), began.elapsed());
        println!("| killed | ready again | first token |\n| --- | --- | --- |");
        for round in 1..=N_RESTARTS {
            let engine = actors.model.engine_process().unwrap();
            let killed = Instant::now();
            let pid = rustix::process::Pid::from_raw(engine.cast_signed()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            ready(&actors, Some(engine)).await;
            let until_ready = killed.elapsed();
            let mut stream = actors.synthesizer.ask(ask(&format!("r{round}"), 4), soon()).await.unwrap();
            while let Some(event) = stream.next().await {
                if matches!(event.unwrap(), AnswerEvent::Text(_)) {
                    break;
                }
            }
            println!("| {round} | {until_ready:.2?} | {:.2?} |", killed.elapsed());
            drop(stream);
        }
        actors.drain(Duration::from_secs(5)).await;
    });
}
