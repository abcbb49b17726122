//! `boca batch`: sends a file of questions, and writes their results as they come, in the order of the lines.
//!
//! With `-o` the results go to a file, and a note beside it says which batch they are of. The same command goes on
//! where it stopped, whatever stopped it: results that are in the file are not fetched again, and no line is asked again
//! that has a result.

mod journal;

use crate::clean::for_one_line;
use crate::commands::chat;
use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::human;
use crate::interrupts::Interrupts;
use boca_api::{BatchResult, BatchResultsQuery, BatchStatus, Client, ClientError};
use indicatif::{ProgressBar, ProgressStyle};
use journal::{Journal, Note};
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The most bytes of a batch; the daemon has the same bound.
const MAX_BYTES: u64 = 32 << 20;
/// The daemon gives a sign of life at least every 10 s.
const SILENCE: Duration = Duration::from_secs(40);

/// Options of `boca batch`.
#[derive(Debug, Clone, clap::Args)]
pub struct BatchArgs {
    /// One JSON object a line: {"id": "…", "message": "…"}; `-` reads standard input
    #[arg(value_name = "FILE.jsonl")]
    pub file: PathBuf,

    /// Write the results to this file, and go on with it when it is there; `-` is standard output
    #[arg(short, long, value_name = "OUT")]
    pub output: Option<PathBuf>,
}

/// Where results go.
enum Sink {
    Stdout,
    File(Journal),
}

/// Sends the batch, or finds it again, and writes its results.
pub(crate) async fn run(
    args: &BatchArgs,
    context: &ClientContext,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Exit, Ended> {
    let input = read_input(args, console)?;
    let n_lines = lines_of(&input).count();
    if n_lines == 0 {
        return Err(Ended::usage(format!("{} holds no question", args.file.display())));
    }
    let output = args.output.as_deref().filter(|path| *path != std::path::Path::new("-"));
    let mut sink = match output {
        Some(path) => Sink::File(Journal::open(path, &input)?),
        None => Sink::Stdout,
    };
    if let Sink::File(journal) = &mut sink
        && journal.n_results() >= n_lines
    {
        journal.finish()?;
        console.note(&format!("{} holds the results of all lines already", journal.shown()));
        return Ok(Exit::Done);
    }
    let (client, _) = chat::daemon(context, None, console, interrupts).await?;
    let (batch, written) = begin(&client, &input, &mut sink).await?;
    let bar = progress_bar(console, &batch, written);
    let fetched = tokio::select! {
        biased;
        () = interrupts.next() => Err(Ended::Interrupted),
        fetched = fetch(&client, &batch, written, &mut sink, &bar, console) => fetched,
    };
    bar.finish_and_clear();
    match (fetched, &mut sink) {
        (Ok(()), Sink::File(journal)) => {
            journal.finish()?;
            tell(&client.batch(&batch.id).await?.body, console);
        }
        (Ok(()), Sink::Stdout) => tell(&client.batch(&batch.id).await?.body, console),
        (Err(ended), Sink::File(journal)) => {
            let n = journal.n_results();
            let out = journal.shown();
            console
                .note(&format!("{n} of {n_lines} results are in {out}; the same command goes on from there"));
            return Err(ended);
        }
        (Err(Ended::Interrupted), Sink::Stdout) => {
            // Nobody could fetch the rest.
            drop(client.cancel_batch(&batch.id).await);
            return Err(Ended::Interrupted);
        }
        (Err(ended), Sink::Stdout) => return Err(ended),
    }
    Ok(Exit::Done)
}

fn read_input(args: &BatchArgs, console: &mut Console) -> Result<Vec<u8>, Ended> {
    let shown = args.file.display();
    let cannot = |error: std::io::Error| Ended::usage(format!("cannot read {shown}: {error}"));
    let mut bytes = Vec::new();
    let n = if args.file == std::path::Path::new("-") {
        let input = console.input.take().ok_or_else(|| Ended::usage("standard input is in use"))?;
        input.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?
    } else {
        let file = std::fs::File::open(&args.file).map_err(cannot)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?
    };
    if n as u64 > MAX_BYTES {
        return Err(Ended::usage(format!("{shown} must have at most {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// The lines that ask something, as the daemon counts them.
fn lines_of(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
    input.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

/// The input with its first lines emptied, so that those that follow keep their numbers.
fn without_first(input: &[u8], n_lines: usize) -> Vec<u8> {
    let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
    let mut n_left = n_lines;
    let lines = input.split(|byte| *byte == b'\n').map(|line| {
        if n_left == 0 || line.trim_ascii().is_empty() {
            return line;
        }
        n_left -= 1;
        &[]
    });
    lines.collect::<Vec<_>>().join(&b'\n')
}

/// The batch of this input, and how many of its results are written: the one that was begun before, else a new one
/// of the lines that have no result.
async fn begin(client: &Client, input: &[u8], sink: &mut Sink) -> Result<(BatchStatus, u32), Ended> {
    let journal = match sink {
        Sink::Stdout => {
            let reply = client.create_batch(&fresh_id(), input.to_vec().into()).await?;
            return Ok((reply.body, 0));
        }
        Sink::File(journal) => journal,
    };
    if let Some(note) = journal.note() {
        match client.batch(&note.batch).await {
            Ok(reply) => return Ok((reply.body, number(journal.n_results() - note.n_before))),
            // It was never taken on, or it is too old to be kept.
            Err(error) if error.code() == Some("not_found") => {}
            Err(error) => return Err(error.into()),
        }
    }
    let n_before = journal.n_results();
    let note = Note { batch: fresh_id(), n_before };
    // First, so that the batch is found again whatever happens next.
    journal.write_note(&note)?;
    let reply = client.create_batch(&note.batch, without_first(input, n_before).into()).await?;
    Ok((reply.body, 0))
}

/// Writes the results from `written` on, as they come.
async fn fetch(
    client: &Client,
    batch: &BatchStatus,
    mut written: u32,
    sink: &mut Sink,
    bar: &ProgressBar,
    console: &mut Console,
) -> Result<(), Ended> {
    let query = BatchResultsQuery { offset: written, follow: true };
    let mut lines = client.batch_results(&batch.id, query, SILENCE).await?;
    while let Some(line) = lines.next().await? {
        match sink {
            Sink::Stdout => console.print(&format!("{line}\n"))?,
            Sink::File(journal) => journal.write(&line)?,
        }
        written += 1;
        bar.set_position(written.into());
        if let Ok(BatchResult { error: Some(error), line, .. }) = serde_json::from_str(&line) {
            bar.suspend(|| console.note(&format!("line {line}: {}", for_one_line(&error.message, 200))));
        }
    }
    if written < batch.n_lines {
        return Err(ClientError::Closed { source: None }.into());
    }
    Ok(())
}

fn tell(batch: &BatchStatus, console: &mut Console) {
    let failed = match batch.n_failed {
        0 => String::new(),
        n => format!(", {n} of them errors"),
    };
    let state = if batch.state == "cancelled" { "; the rest was cancelled" } else { "" };
    console.note(&format!("{}{failed}{state}", human::plural(batch.n_done.into(), "result")));
}

fn progress_bar(console: &Console, batch: &BatchStatus, written: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} · {elapsed}, {eta} left");
    let bar = console.waiting().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_length(batch.n_lines.into());
    bar.set_position(written.into());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// An id that no other batch has.
fn fresh_id() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("cli-{:x}-{:x}", since.as_nanos(), std::process::id())
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_when_the_first_are_left_out() {
        let input = b"\xef\xbb\xbfa\n\n b\nc\n";
        assert_eq!(lines_of(input).count(), 3);
        for (n, expected) in [(0, "a\n\n b\nc\n"), (1, "\n\n b\nc\n"), (2, "\n\n\nc\n"), (9, "\n\n\n\n")] {
            assert_eq!(String::from_utf8(without_first(input, n)).unwrap(), expected);
        }
    }
}
