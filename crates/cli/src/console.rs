//! The three standard streams: answers go to standard output, everything else to standard error.

use crate::clean;
use crate::ended::Ended;
use crate::style::{Style, may_colour};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};

/// The streams of a command.
pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Taken by the one who reads it.
    pub(crate) input: Option<Box<dyn Read + Send>>,
    /// Whether a person can type.
    pub(crate) in_is_terminal: bool,
    /// Whether answers are shown on a terminal.
    pub(crate) out_is_terminal: bool,
    /// Whether notes are shown on a terminal.
    pub(crate) err_is_terminal: bool,
    /// How to paint answers.
    pub(crate) out_style: Style,
    /// How to paint notes.
    pub(crate) err_style: Style,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("out_is_terminal", &self.out_is_terminal).finish_non_exhaustive()
    }
}

impl Console {
    /// The streams of this process.
    pub(crate) fn of_the_process() -> Self {
        let no_color = std::env::var("NO_COLOR").ok();
        let term = std::env::var("TERM").ok();
        let colours =
            |is_terminal| Style { colours: may_colour(is_terminal, no_color.as_deref(), term.as_deref()) };
        let (out, err) = (io::stdout(), io::stderr());
        let (out_is_terminal, err_is_terminal) = (out.is_terminal(), err.is_terminal());
        Self {
            out: Box::new(out),
            err: Box::new(err),
            input: Some(Box::new(io::stdin())),
            in_is_terminal: io::stdin().is_terminal(),
            out_is_terminal,
            err_is_terminal,
            out_style: colours(out_is_terminal),
            err_style: colours(err_is_terminal),
        }
    }

    /// Streams for tests, none of them a terminal.
    #[cfg(test)]
    pub(crate) fn scripted(
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
        input: impl Read + Send + 'static,
    ) -> Self {
        Self {
            out: Box::new(out),
            err: Box::new(err),
            input: Some(Box::new(input)),
            in_is_terminal: false,
            out_is_terminal: false,
            err_is_terminal: false,
            out_style: Style::PLAIN,
            err_style: Style::PLAIN,
        }
    }

    /// Writes text that came from outside to standard output, at once. On a terminal control characters are made
    /// visible; a pipe gets the text as it is.
    ///
    /// # Errors
    /// [`Ended::OutputClosed`] when nobody reads it any more, [`Ended::OutputFailed`] when it cannot be written.
    pub(crate) fn answer(&mut self, text: &str) -> Result<(), Ended> {
        if self.out_is_terminal {
            let clean = clean::for_terminal(text).into_owned();
            self.print(&clean)
        } else {
            self.print(text)
        }
    }

    /// Writes text of our own to standard output, at once. Parts from outside must have been cleaned.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Ended> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Ended::OutputClosed,
            _ => Ended::OutputFailed(error),
        })
    }

    /// Writes a body of the API to standard output, with a line feed.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub(crate) fn json(&mut self, body: &[u8]) -> Result<(), Ended> {
        // JSON escapes the control characters below 0x20; a terminal must not see the others either.
        self.answer(&String::from_utf8_lossy(body))?;
        self.print("\n")
    }

    /// Writes text to standard error as it is. That it cannot be written is no reason to stop.
    pub(crate) fn err_text(&mut self, text: &str) {
        let text =
            if self.err_is_terminal { clean::for_terminal(text).into_owned() } else { text.to_owned() };
        self.err_raw(&text);
    }

    /// Writes already painted text to standard error.
    pub(crate) fn err_raw(&mut self, text: &str) {
        let written = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
        drop(written);
    }

    /// A line about what is going on.
    pub(crate) fn note(&mut self, text: &str) {
        let line = self.err_style.dim(&clean::for_terminal(text));
        self.err_raw(&format!("{line}\n"));
    }

    /// A line about what went wrong, and one about what to do.
    pub(crate) fn error(&mut self, text: &str, hint: Option<&str>) {
        let label = self.err_style.red("error:");
        self.err_raw(&format!("{label} {}\n", clean::for_terminal(text)));
        if let Some(hint) = hint {
            let label = self.err_style.cyan("help:");
            self.err_raw(&format!("{label} {}\n", clean::for_terminal(hint)));
        }
    }

    /// A line that shows waiting on standard error; invisible when that is no terminal.
    pub(crate) fn waiting(&self) -> ProgressBar {
        let target = match self.err_is_terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        ProgressBar::with_draw_target(None, target).with_style(ProgressStyle::default_spinner())
    }
}
