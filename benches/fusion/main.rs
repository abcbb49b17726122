//! What asking several at once costs: the real daemon between clouds of fixed latency.
//!
//! `cargo bench --bench fusion`. The clouds are fake ones on loopback, one of which counts as local; the model that
//! boca carries is not asked. Every figure is measured by the client, over the socket, storing included.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark speaks, and fails by panicking")]

mod daemon;
mod failures;
mod tables;

use boca_api::{ChatRequest, ChatResponse, Client};
use boca_fake_providers::{Behaviour, FakeProvider};
use daemon::Daemon;
use std::time::{Duration, Instant};
use tables::{median, ms, print_table};

const ROUNDS: usize = 31;
const IN_FLIGHT: usize = 200;
const PATIENCE: Duration = Duration::from_secs(120);

/// Two clouds, one near and one far.
pub(crate) struct Clouds {
    pub(crate) near: FakeProvider,
    pub(crate) far: FakeProvider,
}

impl Clouds {
    async fn start() -> Self {
        Self { near: FakeProvider::start().await.unwrap(), far: FakeProvider::start().await.unwrap() }
    }

    fn set_latencies(&self, near: Duration, far: Duration) {
        self.near.set(after(near));
        self.far.set(after(far));
    }

    fn config(&self) -> String {
        let provider = |name: &str, fake: &FakeProvider, more: &str| {
            format!(
                "[[provider]]\nname = \"{name}\"\nkind = \"openai\"\nmodel = \"fake\"\nbase_url = \"{}/v1\"\n{more}\n\
                 [provider.limits]\nmax_concurrency = 512\nmax_waiting = 512\nmax_retries = 0\ncheck_every = \"1h\"\n",
                fake.base_url()
            )
        };
        format!(
            "[daemon]\nmax_concurrent_requests = 512\nmax_connections = 1024\n\
             [fusion]\npreferred = [\"far\", \"near\"]\n{}{}",
            provider("near", &self.near, "local = true"),
            provider("far", &self.far, "")
        )
    }
}

/// The same answer whoever gives it, after a while.
fn after(latency: Duration) -> Behaviour {
    Behaviour { head_delay: latency, ..Behaviour::text("The capital of France is Paris.") }
}

/// Asks, and says how long the client waited.
pub(crate) async fn ask(client: &Client, mode: &str) -> (Duration, Result<ChatResponse, String>) {
    let request = ChatRequest {
        message: "What is the capital of France?".into(),
        mode: Some(mode.to_owned()),
        ..ChatRequest::default()
    };
    let began = Instant::now();
    let reply = client.chat(&request, PATIENCE).await;
    (began.elapsed(), reply.map(|reply| reply.body).map_err(|error| error.to_string()))
}

async fn timed(client: &Client, mode: &str) -> Duration {
    let (time, answer) = ask(client, mode).await;
    answer.unwrap_or_else(|error| panic!("{mode}: {error}"));
    time
}

#[tokio::main]
async fn main() {
    let clouds = Clouds::start().await;
    let daemon = Daemon::start(&clouds.config()).await;
    let client = daemon.client();
    for mode in ["near", "far", "collaborative"] {
        timed(&client, mode).await;
    }
    ratio(&clouds, &client).await;
    overhead(&clouds, &client).await;
    latencies(&clouds, &client).await;
    in_flight(&clouds, &daemon).await;
    failures::table().await;
}

/// Collaborative against the slower of the two.
async fn ratio(clouds: &Clouds, client: &Client) {
    let mut rows = Vec::new();
    for (near, far) in [(100, 400), (400, 100), (250, 250)] {
        clouds.set_latencies(Duration::from_millis(near), Duration::from_millis(far));
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS / 3 {
            for (times, mode) in times.iter_mut().zip(["near", "far", "collaborative"]) {
                times.push(timed(client, mode).await);
            }
        }
        let [near_time, far_time, together] = times.map(median);
        let ratio = together.as_secs_f64() / near_time.max(far_time).as_secs_f64();
        rows.push(vec![
            format!("{near} ms"),
            format!("{far} ms"),
            ms(near_time),
            ms(far_time),
            ms(together),
            format!("{ratio:.3}"),
        ]);
    }
    print_table(
        "collaborative (select) ÷ max(near, far), medians; wanted: at most 1.05",
        &["near", "far", "asked alone: near", "far", "collaborative", "ratio"],
        &rows,
    );
}

/// Asking two instead of one, when both take the same time.
async fn overhead(clouds: &Clouds, client: &Client) {
    let mut rows = Vec::new();
    for latency in [0, 50] {
        let latency = Duration::from_millis(latency);
        clouds.set_latencies(latency, latency);
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        // In turns, so that whatever slows the machine down slows both.
        for _ in 0..ROUNDS * 3 {
            alone.push(timed(client, "far").await);
            together.push(timed(client, "collaborative").await);
        }
        let (alone, together) = (median(alone), median(together));
        let overhead = together.as_secs_f64() - alone.as_secs_f64();
        rows.push(vec![ms(latency), ms(alone), ms(together), format!("{:.2} ms", overhead * 1000.0)]);
    }
    print_table(
        "overhead of the fan-out, medians; wanted: under 2 ms",
        &["latency", "one asked", "two asked", "overhead"],
        &rows,
    );
}

/// Every mode with every pair of latencies.
async fn latencies(clouds: &Clouds, client: &Client) {
    const MODES: [&str; 7] = ["near", "far", "fallback", "race", "collaborative", "compare", "auto"];
    let mut rows = Vec::new();
    for (near, far) in [(20, 200), (200, 20), (200, 200), (20, 1000)] {
        clouds.set_latencies(Duration::from_millis(near), Duration::from_millis(far));
        let mut row = vec![format!("{near} / {far} ms")];
        for mode in MODES {
            let mut times = Vec::new();
            for _ in 0..7 {
                times.push(timed(client, mode).await);
            }
            row.push(ms(median(times)));
        }
        rows.push(row);
    }
    let columns: Vec<&str> = ["near / far"].into_iter().chain(MODES).collect();
    print_table("time to the whole answer by mode, medians of 7", &columns, &rows);
}

/// Many at once, and what memory that takes.
async fn in_flight(clouds: &Clouds, daemon: &Daemon) {
    let latency = Duration::from_millis(1500);
    clouds.set_latencies(latency, latency);
    let before = daemon.peak_memory_kib();
    let began = Instant::now();
    let asks = (0..IN_FLIGHT).map(|_| {
        let client = daemon.client();
        tokio::spawn(async move { ask(&client, "collaborative").await })
    });
    let asks: Vec<_> = asks.collect();
    let mut times = Vec::new();
    let mut refused = 0;
    for ask in asks {
        match ask.await.unwrap() {
            (time, Ok(_)) => times.push(time),
            (_, Err(_)) => refused += 1,
        }
    }
    let all = began.elapsed();
    let after = daemon.peak_memory_kib();
    let answered = times.len();
    print_table(
        &format!("{IN_FLIGHT} collaborative requests at once, each cloud takes {}", ms(latency)),
        &[
            "answered",
            "refused",
            "median",
            "all done",
            "peak memory before",
            "peak memory after",
            "per request",
        ],
        &[vec![
            answered.to_string(),
            refused.to_string(),
            ms(median(times)),
            ms(all),
            format!("{} MiB", before / 1024),
            format!("{} MiB", after / 1024),
            format!("{} KiB", (after - before) / IN_FLIGHT as u64),
        ]],
    );
}
