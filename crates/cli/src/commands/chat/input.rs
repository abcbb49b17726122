//! The question from the command line and standard input.

use crate::console::Console;
use crate::ended::Ended;
use crate::interrupts::Interrupts;
use std::io::{self, Read};
use std::time::Duration;

/// The most text taken from standard input. The daemon's own bound is lower and is told by itself; this one keeps a
/// mistaken `< /dev/zero` from filling the memory.
const MAX_INPUT_BYTES: u64 = 16 << 20;
/// After this time without the end of standard input, a person is told what is waited for.
const TELL_AFTER: Duration = Duration::from_secs(3);

/// The words of the command line, then the text of standard input when that is no terminal.
///
/// # Errors
/// When standard input cannot be read, is too large or no text, and when there is nothing to ask.
pub(super) async fn message(
    words: &[String],
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<String, Ended> {
    let words = words.join(" ");
    let piped = match console.input.take() {
        Some(input) if !console.in_is_terminal => read_all(input, console, interrupts).await?,
        _ => String::new(),
    };
    let message = joined(&words, &piped);
    if message.trim().is_empty() {
        return Err(Ended::usage("there is nothing to ask: the message and standard input are blank"));
    }
    Ok(message)
}

fn joined(words: &str, piped: &str) -> String {
    let piped = piped.strip_suffix('\n').map_or(piped, |text| text.strip_suffix('\r').unwrap_or(text));
    match (words.trim().is_empty(), piped.trim().is_empty()) {
        (_, true) => words.to_owned(),
        (true, false) => piped.to_owned(),
        (false, false) => format!("{words}\n\n{piped}"),
    }
}

async fn read_all(
    input: Box<dyn Read + Send>,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<String, Ended> {
    let mut reading = tokio::task::spawn_blocking(move || read_bounded(input));
    let told = tokio::time::sleep(TELL_AFTER);
    tokio::pin!(told);
    let mut waiting = true;
    let read = loop {
        tokio::select! {
            biased;
            () = interrupts.next() => return Err(Ended::Interrupted),
            read = &mut reading => break read,
            () = &mut told, if waiting => {
                waiting = false;
                console.note("reading standard input until it ends (`< /dev/null` gives none)");
            }
        }
    };
    let unreadable = |what: String| Ended::failed(format!("standard input cannot be read: {what}"), None);
    let bytes = read.map_err(|e| unreadable(e.to_string()))?.map_err(|e| unreadable(e.to_string()))?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        return Err(Ended::usage(format!("standard input must be at most {MAX_INPUT_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Ended::usage(format!("standard input must be UTF-8 text, byte {at} is not"))
    })
}

fn read_bounded(input: Box<dyn Read + Send>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_before_piped_text() {
        assert_eq!(joined("explain", "fn main() {}\n"), "explain\n\nfn main() {}");
        assert_eq!(joined("explain", "\n"), "explain");
        assert_eq!(joined("", "a\r\n"), "a");
        assert_eq!(joined(" ", "  indented\n\n"), "  indented\n");
        assert_eq!(joined("", ""), "");
    }

    async fn piped(bytes: impl Into<Vec<u8>>) -> Result<String, String> {
        let input = io::Cursor::new(bytes.into());
        let mut console = Console::scripted(io::sink(), io::sink(), input);
        let (_keep, presses) = tokio::sync::mpsc::unbounded_channel();
        let read = message(&[], &mut console, &mut Interrupts::Scripted(presses)).await;
        read.map_err(|ended| match ended {
            Ended::Told { message, .. } => message,
            other => format!("{other:?}"),
        })
    }

    #[tokio::test]
    async fn standard_input_is_checked() {
        assert_eq!(piped("hé\n").await, Ok("hé".into()));
        assert!(piped(" \n").await.unwrap_err().contains("nothing to ask"));
        assert!(piped(b"ab\xff".to_vec()).await.unwrap_err().contains("byte 2 is not"));
        let large = vec![b'a'; MAX_INPUT_BYTES as usize + 1];
        assert!(piped(large).await.unwrap_err().contains("at most 16777216 bytes"));
    }

    #[tokio::test]
    async fn a_pipe_that_never_ends_can_be_left() {
        let (reader, writer) = io::pipe().unwrap();
        let mut console = Console::scripted(io::sink(), io::sink(), reader);
        let (press, presses) = tokio::sync::mpsc::unbounded_channel();
        press.send(()).unwrap();
        let ended = message(&["x".into()], &mut console, &mut Interrupts::Scripted(presses)).await;
        assert!(matches!(ended, Err(Ended::Interrupted)));
        // The reading thread ends with the pipe.
        drop(writer);
    }
}
