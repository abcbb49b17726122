//! Standard output and error of the commands in this crate.

#![expect(clippy::print_stderr, reason = "the commands speak to a person here")]

use crate::exit::Exit;
use std::fmt::Display;
use std::io::{self, Write};

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

/// Tells what went wrong.
pub(crate) fn error(message: impl Display) {
    eprintln!("error: {message}");
}

/// Tells what looks wrong and is no error.
pub(crate) fn warning(message: impl Display) {
    eprintln!("warning: {message}");
}
