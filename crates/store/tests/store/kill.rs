//! What a crash leaves: nothing that was acknowledged is lost, nothing is half there.

use crate::{NOW, contents, copy_directory, id, new, open, user};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

const CHILD_DIRECTORY: &str = "BOCA_STORE_TEST_CHILD_DIRECTORY";
const ROUNDS: usize = 4;

#[tokio::test]
async fn the_files_of_a_running_store_hold_everything_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut expected = Vec::new();
    for round in 0..8 {
        let text = format!("{round} {}", "x".repeat(round * 9000));
        store.append_messages(&id("s"), Some(new("s")), vec![user(&text)], NOW).await.unwrap();
        expected.push(text);
        let copy = copies.path().join(round.to_string());
        copy_directory(directory.path(), &copy);
        assert_eq!(contents(&open(&copy).await, "s").await, expected);
    }
}

/// Not a test by itself: the process that the next test kills.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else { return };
    let store = open(directory.as_ref()).await;
    let mut next = match store.session(&id("s")).await {
        Ok(session) => session.n_messages,
        Err(_) => 0,
    };
    loop {
        let pair = vec![user(&format!("q{next}")), user(&format!("a{}", next + 1))];
        store.append_messages(&id("s"), Some(new("s")), pair, NOW).await.unwrap();
        next += 2;
        writeln!(std::io::stderr(), "acknowledged {next}").unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut acknowledged = 0;
        let mut read = |acknowledged: &mut usize| match lines.next() {
            Some(line) => {
                let line = line.unwrap();
                if let Some(count) = line.strip_prefix("acknowledged ") {
                    *acknowledged = count.parse().unwrap();
                }
                true
            }
            None => false,
        };
        for _ in 0..20 * round {
            assert!(read(&mut acknowledged), "the child ended by itself");
        }
        child.kill().unwrap();
        while read(&mut acknowledged) {}
        child.wait().unwrap();

        let store = open(directory.path()).await;
        let messages = contents(&store, "s").await;
        assert!(messages.len() >= acknowledged, "{acknowledged} acknowledged, {} found", messages.len());
        assert_eq!(messages.len() % 2, 0, "half an exchange was stored");
        for (index, text) in messages.iter().enumerate() {
            assert_eq!(text, &format!("{}{index}", if index % 2 == 0 { "q" } else { "a" }));
        }
        store.close().await.unwrap();
    }
}
