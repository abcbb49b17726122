//! Where a conversation's lines come from: a person with an editor, or a script in tests.

use super::slash;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::io;
use std::path::{Path, PathBuf};

/// What a person did at the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Typed a line.
    Text(String),
    /// Pressed Ctrl-C.
    Interrupted,
    /// Pressed Ctrl-D, or the terminal is gone.
    End,
}

/// Reads lines. Blocking, and therefore called on a thread of its own.
pub(super) trait LineSource: Send + 'static {
    /// Shows the prompt and waits for a line.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    fn read(&mut self, prompt: &str) -> io::Result<Line>;
}

/// A line editor with history and completion.
pub(super) struct Person {
    editor: Editor<Complete, FileHistory>,
    history_file: Option<PathBuf>,
}

const HISTORY_LINES: usize = 1000;

impl Person {
    /// An editor on the process's terminal.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub(super) fn new(history_file: Option<&Path>) -> io::Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(into_io)?
            .history_ignore_space(true)
            .auto_add_history(true)
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config).map_err(into_io)?;
        editor.set_helper(Some(Complete));
        if let Some(file) = history_file {
            // There is none before the first conversation.
            editor.load_history(file).ok();
        }
        Ok(Self { editor, history_file: history_file.map(Path::to_owned) })
    }
}

impl LineSource for Person {
    fn read(&mut self, prompt: &str) -> io::Result<Line> {
        match self.editor.readline(prompt) {
            Ok(line) => {
                if let Some(file) = &self.history_file {
                    // A history that cannot be kept is no reason to end a conversation.
                    self.editor.append_history(file).ok();
                }
                Ok(Line::Text(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(into_io(error)),
        }
    }
}

fn into_io(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Completes the names of slash commands.
struct Complete;

impl Helper for Complete {}

impl Highlighter for Complete {}

impl Validator for Complete {}

impl Hinter for Complete {
    type Hint = String;
}

impl Completer for Complete {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or(line);
        let names = slash::NAMES.iter().filter(|name| typed.starts_with('/') && name.starts_with(typed));
        Ok((0, names.map(|name| (*name).to_owned()).collect()))
    }
}
