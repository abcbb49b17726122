//! Standard output and error of the commands in this crate.

#![expect(clippy::print_stderr, reason = "the commands speak to a person here")]

use crate::exit::Exit;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Prints a result. A reader that has gone away (`boca config show | head`) ends the command without noise.
pub(crate) fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(failure) => {
            error(format!("cannot write to standard output: {failure}"));
            Exit::Failed
        }
    }
}

/// Prints a result as JSON.
pub(crate) fn print_json(value: &serde_json::Value) -> Exit {
    print(&format!("{value:#}\n"))
}

/// Tells that a command cannot be done, and why.
pub(crate) fn failure(why: &dyn std::error::Error, as_json: bool) -> Exit {
    if as_json {
        let told = print_json(&serde_json::json!({ "ok": false, "error": why.to_string() }));
        return if told == Exit::Done { Exit::Failed } else { told };
    }
    error(why);
    Exit::Failed
}

/// Tells what went wrong.
pub(crate) fn error(message: impl Display) {
    eprintln!("error: {message}");
}

/// Tells what looks wrong and is no error.
pub(crate) fn warning(message: impl Display) {
    eprintln!("warning: {message}");
}

/// A size for people.
pub(crate) fn gigabytes(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Shows how many of all bytes are done, from any thread and on a terminal only.
pub(crate) fn progress_line(doing: &'static str) -> impl Fn(u64, u64) + Sync {
    let on_terminal = io::stderr().is_terminal();
    let shown = AtomicU64::new(u64::MAX);
    move |done, total| {
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        if on_terminal && shown.swap(percent, Ordering::Relaxed) != percent {
            let end = if done == total { "\r\x1b[K" } else { "" };
            let line = format!("\r{doing} {percent:>3} % of {}{end}", gigabytes(total));
            // A terminal that cannot be written to shows no progress, and that is all.
            io::stderr().write_all(line.as_bytes()).unwrap_or_default();
        }
    }
}
