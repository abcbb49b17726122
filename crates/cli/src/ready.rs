//! Waits until the daemon can answer, and shows how far it is.

use crate::console::Console;
use crate::ended::Ended;
use crate::human;
use crate::interrupts::Interrupts;
use boca_api::{Client, LoadProgress, ReadyResponse};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often things happen while one waits.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The pause between two looks.
    look_every: Duration,
    /// A wait shorter than this is not worth a line in a log.
    worth_a_line: Duration,
    /// The pause between two lines about the same stage.
    line_every: Duration,
}

const PACE: Pace = Pace {
    look_every: Duration::from_millis(50),
    worth_a_line: Duration::from_secs(1),
    line_every: Duration::from_secs(10),
};

/// Waits while the model is on its way, at most `wait`. What comes back may still not be ready: then waiting does not
/// help, and the daemon will say why when it is asked.
///
/// # Errors
/// When the daemon cannot be asked, or Ctrl-C.
pub(crate) async fn wait(
    client: &Client,
    wait: Duration,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<ReadyResponse, Ended> {
    wait_at(PACE, client, wait, console, interrupts).await
}

async fn wait_at(
    pace: Pace,
    client: &Client,
    wait: Duration,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<ReadyResponse, Ended> {
    let began = Instant::now();
    let bar = console.waiting();
    let mut lines = Lines { next: began + pace.worth_a_line, every: pace.line_every, stage: String::new() };
    let result = loop {
        let looked = tokio::select! {
            biased;
            () = interrupts.next() => break Err(Ended::Interrupted),
            looked = client.ready() => looked,
        };
        let ready = match looked {
            Ok(reply) => reply.body,
            Err(error) => break Err(error.into()),
        };
        let on_its_way = matches!(ready.status.as_str(), "starting" | "loading" | "restarting");
        if ready.ready || !on_its_way || began.elapsed() >= wait {
            break Ok(ready);
        }
        show(&bar, ready.progress.as_ref());
        if bar.is_hidden() {
            lines.show(&ready, console);
        }
        sleep(pace.look_every).await;
    };
    bar.finish_and_clear();
    result
}

fn show(bar: &ProgressBar, progress: Option<&LoadProgress>) {
    let Some(progress) = progress.filter(|progress| progress.total_bytes > 0) else {
        bar.set_message(stage(progress));
        bar.tick();
        return;
    };
    if bar.length() != Some(progress.total_bytes) {
        bar.set_length(progress.total_bytes);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {percent} %") {
            bar.set_style(style.progress_chars("=> "));
        }
    }
    bar.set_position(progress.done_bytes.min(progress.total_bytes));
    bar.set_message(described(Some(progress)));
}

/// Lines for a log or a pipe: one a stage, and one now and then.
struct Lines {
    next: Instant,
    every: Duration,
    stage: String,
}

impl Lines {
    fn show(&mut self, ready: &ReadyResponse, console: &mut Console) {
        let now = Instant::now();
        let stage = stage(ready.progress.as_ref());
        let new_stage = !self.stage.is_empty() && stage != self.stage;
        if now < self.next && !new_stage {
            return;
        }
        console.note(&described(ready.progress.as_ref()));
        self.stage = stage;
        self.next = now + self.every;
    }
}

fn stage(progress: Option<&LoadProgress>) -> String {
    match progress.map(|progress| progress.phase.as_str()) {
        None => "waiting for the model".to_owned(),
        Some("checking") => "checking the model".to_owned(),
        Some("reading") => "reading the weights".to_owned(),
        Some("warming_up") => "warming up the model".to_owned(),
        Some(other) => format!("loading the model ({other})"),
    }
}

fn described(progress: Option<&LoadProgress>) -> String {
    let stage = stage(progress);
    match progress {
        Some(p) if p.phase == "reading" && p.total_bytes > 0 => {
            format!("{stage}: {} of {}", human::bytes(p.done_bytes), human::bytes(p.total_bytes))
        }
        _ => stage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_daemon::{self, Answer, Desk, FakeDaemon, PATIENCE};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_stage_has_words() {
        let progress = |phase: &str, done_bytes, total_bytes| {
            described(Some(&LoadProgress { phase: phase.into(), done_bytes, total_bytes, elapsed_ms: 0.0 }))
        };
        assert_eq!(described(None), "waiting for the model");
        assert_eq!(progress("checking", 0, 0), "checking the model");
        assert_eq!(progress("reading", 0, 0), "reading the weights");
        assert_eq!(progress("reading", 1 << 30, 3 << 30), "reading the weights: 1.0 GiB of 3.0 GiB");
        assert_eq!(progress("warming_up", 5, 5), "warming up the model");
        assert_eq!(progress("compiling", 5, 5), "loading the model (compiling)");
    }
    const TOTAL: u64 = 56 << 30;

    /// Reads weights for four looks, warms up for two, and is ready then.
    fn loading() -> FakeDaemon {
        let looks = AtomicU64::new(0);
        FakeDaemon::start(move |_| {
            let (phase, done) = match looks.fetch_add(1, Ordering::Relaxed) {
                look @ 0..4 => ("reading", look * (12 << 30)),
                4..6 => ("warming_up", TOTAL),
                _ => return fake_daemon::ok(r#"{"ready":true,"status":"ready"}"#),
            };
            let json = format!(
                r#"{{"ready":false,"status":"loading","progress":{{"phase":"{phase}","done_bytes":{done},"total_bytes":{TOTAL},"elapsed_ms":1}}}}"#
            );
            Answer::Json("503 Service Unavailable", "retry-after: 1\r\n", json)
        })
    }

    async fn lines(worth_a_line: Duration, line_every: Duration) -> String {
        let daemon = loading();
        let mut desk = Desk::new();
        let pace = Pace { look_every: Duration::ZERO, worth_a_line, line_every };
        let client = Client::new(daemon.socket());
        let ready = wait_at(pace, &client, PATIENCE, &mut desk.console, &mut desk.interrupts).await.unwrap();
        assert!(ready.ready);
        desk.err.text()
    }

    #[tokio::test]
    async fn a_long_wait_has_a_line_for_each_stage_and_now_and_then() {
        let (at_once, never) = (Duration::ZERO, Duration::from_secs(3600));
        assert_eq!(lines(never, never).await, "");
        assert_eq!(
            lines(at_once, never).await,
            "reading the weights: 0 B of 56.0 GiB\nwarming up the model\n"
        );
        let all = lines(at_once, at_once).await;
        assert_eq!(all.lines().count(), 6, "{all}");
        assert!(all.contains("reading the weights: 36.0 GiB of 56.0 GiB\n"), "{all}");
    }

    #[tokio::test]
    async fn waiting_ends_with_its_time_or_with_ctrl_c() {
        let daemon = FakeDaemon::start(|_| {
            let json = r#"{"ready":false,"status":"loading"}"#.to_owned();
            Answer::Json("503 Service Unavailable", "", json)
        });
        let client = Client::new(daemon.socket());
        let mut desk = Desk::new();
        let Desk { console, interrupts, ctrl_c, .. } = &mut desk;
        let ready = wait(&client, Duration::from_millis(1), console, interrupts).await.unwrap();
        assert!(!ready.ready);
        ctrl_c.send(()).unwrap();
        let ended = wait(&client, PATIENCE, console, interrupts).await;
        assert!(matches!(ended, Err(Ended::Interrupted)));
    }
}
