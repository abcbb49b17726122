//! A file of results that can be gone on with, and the note beside it.

use crate::ended::Ended;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What the name of the note ends with.
const NOTE_SUFFIX: &str = ".batch";

/// The results that are written, one a line.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    n_results: usize,
    /// Tells the input from every other.
    fingerprint: String,
    note: Option<Note>,
}

/// Which batch the results are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) batch: String,
    /// Results of earlier batches, which stand before those of this one.
    pub(super) n_before: usize,
}

impl Journal {
    /// Opens the file, creating it when it is not there. A line that was not written to its end is taken away.
    ///
    /// # Errors
    /// When the file belongs to another input, or is no file of results.
    pub(super) fn open(path: &Path, input: &[u8]) -> Result<Self, Ended> {
        let fail = |error: io::Error| Ended::usage(format!("cannot write {}: {error}", path.display()));
        let fingerprint = fingerprint(input);
        let note = read_note(&note_path(path), &fingerprint)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(path).map_err(fail)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<&[u8]> =
            bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        if let Some(n) = lines.iter().position(|line| !is_result(line)) {
            let message =
                format!("{}: line {} is no result of a batch; name another file", path.display(), n + 1);
            return Err(Ended::usage(message));
        }
        if !bytes.is_empty() && note.is_none() && lines.len() < super::lines_of(input).count() {
            let message = format!(
                "{} holds results, but no note says of which batch; remove it, or name another file",
                path.display()
            );
            return Err(Ended::usage(message));
        }
        let n_results = lines.len();
        if let Some(Note { n_before, .. }) = note.as_ref().filter(|note| note.n_before > n_results) {
            let message =
                format!("{} must hold at least {n_before} results, got {n_results}", path.display());
            return Err(Ended::usage(message));
        }
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(fail)?;
        Ok(Self { path: path.to_owned(), file, n_results, fingerprint, note })
    }

    /// How many results it holds.
    pub(super) fn n_results(&self) -> usize {
        self.n_results
    }

    /// Its name for people.
    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// Which batch is under way.
    pub(super) fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    /// Notes which batch the results from now on are of. The note survives whatever comes next.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_note(&mut self, note: &Note) -> Result<(), Ended> {
        let text = json!({ "batch": note.batch, "n_before": note.n_before, "input": self.fingerprint });
        let path = note_path(&self.path);
        let fresh = path.with_extension("new");
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(text.to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)
        });
        self.note = Some(note.clone());
        written.map_err(|error| Ended::failed(format!("cannot write {}: {error}", path.display()), None))
    }

    /// Adds a result.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, line: &str) -> Result<(), Ended> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        self.n_results += 1;
        written.map_err(|error| Ended::failed(format!("cannot write {}: {error}", self.shown()), None))
    }

    /// All results are there: the note is not needed any more.
    ///
    /// # Errors
    /// When the results cannot be made durable.
    pub(super) fn finish(&mut self) -> Result<(), Ended> {
        let synced = self.file.sync_all();
        synced.map_err(|error| Ended::failed(format!("cannot write {}: {error}", self.shown()), None))?;
        // A note that stays behind says nothing wrong.
        drop(std::fs::remove_file(note_path(&self.path)));
        Ok(())
    }
}

fn note_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(NOTE_SUFFIX);
    name.into()
}

fn read_note(path: &Path, fingerprint: &str) -> Result<Option<Note>, Ended> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Ended::usage(format!("cannot read {}: {error}", path.display()))),
    };
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let (Some(batch), Some(n_before)) = (value["batch"].as_str(), value["n_before"].as_u64()) else {
        return Err(Ended::usage(format!("{} is damaged; remove it to begin anew", path.display())));
    };
    if value["input"].as_str() != Some(fingerprint) {
        let message = format!(
            "the questions are not those that {} was begun with; name another file for their results",
            path.with_extension("").display()
        );
        return Err(Ended::usage(message));
    }
    Ok(Some(Note { batch: batch.to_owned(), n_before: usize::try_from(n_before).unwrap_or(usize::MAX) }))
}

fn is_result(line: &[u8]) -> bool {
    serde_json::from_slice::<Value>(line).is_ok_and(|value| value["line"].is_u64())
}

/// FNV-1a, and the length: tells files apart that nobody made to be alike.
fn fingerprint(input: &[u8]) -> String {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}-{}", input.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(result: Result<Journal, Ended>) -> String {
        match result {
            Err(Ended::Told { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_gone_on_with_and_half_a_line_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        let input = b"1\n2\n3\n";
        let mut journal = Journal::open(&path, input).unwrap();
        assert_eq!((journal.n_results(), journal.note()), (0, None));
        let note = Note { batch: "b".into(), n_before: 0 };
        journal.write_note(&note).unwrap();
        journal.write("{\"line\":1}").unwrap();
        journal.file.write_all(b"{\"line\":2").unwrap();
        drop(journal);
        let mut journal = Journal::open(&path, input).unwrap();
        assert_eq!((journal.n_results(), journal.note()), (1, Some(&note)));
        journal.write("{\"line\":2}").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"line\":1}\n{\"line\":2}\n");
        assert!(refusal(Journal::open(&path, b"other")).contains("not those that"));
        journal.finish().unwrap();
        assert!(refusal(Journal::open(&path, input)).contains("no note says of which batch"));
        assert_eq!(Journal::open(&path, b"1\n2\n").unwrap().n_results(), 2);
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("letter.txt");
        std::fs::write(&path, "dear friend\n").unwrap();
        assert!(refusal(Journal::open(&path, b"1\n")).contains("line 1 is no result"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear friend\n");
    }
}
