//! Logs: where they go, how they look, what is let through.

use crate::config::{LogFormat, LogSettings};
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The running log; a reload of the configuration changes its level.
#[derive(Debug)]
pub(crate) struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Starts logging to standard error. Called once, before anything that logs.
pub(crate) fn start(log: &LogSettings) -> Telemetry {
    let on_terminal = std::io::stderr().is_terminal();
    let (filter, handle) = reload::Layer::new(filter_of(&log.level));
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !on_terminal,
    };
    let colours = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A closed standard error must not turn every log line into another failure.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    } else {
        lines.with_ansi(colours).with_target(false).boxed()
    };
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_err() {
        tracing::warn!("a log was set up before; the settings of [log] are ignored");
    }
    Telemetry { filter: handle }
}

impl Telemetry {
    /// Lets other lines through from now on. `level` was checked with the rest of the configuration.
    pub(crate) fn set_level(&self, level: &str) {
        if let Err(error) = self.filter.reload(filter_of(level)) {
            tracing::warn!(%error, level, "the log level could not be changed");
        }
    }
}

fn filter_of(level: &str) -> EnvFilter {
    // The server tells at `info` how it is built, which nobody asked for.
    let directives =
        if level.contains("actix") { level.to_owned() } else { format!("actix_server=warn,{level}") };
    EnvFilter::builder().parse_lossy(directives)
}
