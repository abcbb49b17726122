//! Waits until the daemon can answer, and shows how far it is.

use crate::console::Console;
use crate::ended::Ended;
use crate::human;
use crate::interrupts::Interrupts;
use boca_api::{Client, LoadProgress, ReadyResponse};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A wait shorter than this is not worth a line in a log.
const WORTH_A_LINE: Duration = Duration::from_secs(1);
/// The pause between two lines about the same stage.
const LINE_EVERY: Duration = Duration::from_secs(10);

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
    let began = Instant::now();
    let bar = console.waiting();
    let mut lines = Lines { next: began + WORTH_A_LINE, stage: String::new() };
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
        sleep(LOOK_EVERY).await;
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
        self.next = now + LINE_EVERY;
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
}
