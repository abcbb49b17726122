//! A fake provider as a program: it prints its address in one line and serves until it is ended.

use boca_fake_providers::{Behaviour, FAULT_FORMS, FakeProvider, Fault, words};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "fake-provider [--port N | --unix PATH] [--text TEXT] [--reasoning TEXT] [--head-delay-ms N]
    [--first-token-delay-ms N] [--token-delay-ms N] [--fault FAULT [--times N]] [--key KEY] [--model NAME]...";

#[derive(Default)]
struct Options {
    port: u16,
    unix: Option<PathBuf>,
    behaviour: Behaviour,
    fault: Option<Fault>,
    times: Option<usize>,
    key: Option<String>,
    models: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match options(std::env::args().skip(1)) {
        Ok(options) => serve(options).await,
        Err(problem) => Err(format!("{problem}\n\nusage: {USAGE}\nfaults: {FAULT_FORMS}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            tell_problem(&problem);
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), String> {
    let started = match &options.unix {
        Some(path) => FakeProvider::start_unix(path),
        None => FakeProvider::start_on(SocketAddr::from(([127, 0, 0, 1], options.port))).await,
    };
    let fake = started.map_err(|error| format!("cannot listen: {error}"))?;
    match (options.fault, options.times) {
        (Some(fault), Some(times)) => {
            let bad = options.behaviour.clone().with_fault(fault);
            fake.enqueue(std::iter::repeat_n(bad, times));
            fake.set(options.behaviour);
        }
        (Some(fault), None) => fake.set(options.behaviour.with_fault(fault)),
        (None, _) => fake.set(options.behaviour),
    }
    if let Some(key) = &options.key {
        fake.require_key(key);
    }
    if !options.models.is_empty() {
        fake.set_models(options.models);
    }
    match fake.unix_socket() {
        Some(path) => tell(&path.display().to_string()),
        None => tell(&fake.base_url()),
    }
    std::future::pending().await
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a number, got {value:?}"));
        match name.as_str() {
            "--port" => {
                options.port = value.parse().map_err(|_| format!("--port needs a port, got {value:?}"))?;
            }
            "--unix" => options.unix = Some(value.into()),
            "--text" => options.behaviour.answer.tokens = words(&value),
            "--reasoning" => options.behaviour.answer.reasoning = words(&value),
            "--head-delay-ms" => options.behaviour.head_delay = Duration::from_millis(number()?),
            "--first-token-delay-ms" => {
                options.behaviour.first_token_delay = Duration::from_millis(number()?)
            }
            "--token-delay-ms" => options.behaviour.token_delay = Duration::from_millis(number()?),
            "--fault" => options.fault = Some(value.parse()?),
            "--times" => options.times = usize::try_from(number()?).ok(),
            "--key" => options.key = Some(value),
            "--model" => options.models.push(value),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

#[expect(clippy::print_stdout, reason = "the address is this program's output")]
fn tell(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a program tells its user what is wrong")]
fn tell_problem(problem: &str) {
    eprintln!("fake-provider: {problem}");
}
