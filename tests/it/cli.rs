//! The command line as a person uses it.

use crate::harness::{Daemon, Home, stderr, stdout};
use serde_json::Value;
use std::io::Write;
use std::process::{Output, Stdio};

/// A home in which a command may start a daemon in the background; it is stopped at the end.
struct Background(Home);

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.0.command(&["stop", "--now"]).output());
    }
}

#[test]
fn the_first_command_of_the_readme_works_in_an_empty_home() {
    let Background(home) = &Background(Home::new());
    let output = home.run(&["chat", "What can you do?"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stdout(&output).trim().is_empty());
    let told = stderr(&output);
    assert!(told.contains("starting one in the background"), "{told}");
    assert!(told.contains("boca stop"), "it says how to stop it: {told}");
    assert!(told.contains("demo model"), "{told}");

    let again = home.run(&["chat", "What can you do?"]);
    assert_eq!(again.status.code(), Some(0));
    assert!(!stderr(&again).contains("starting one"), "it is still there: {}", stderr(&again));

    let status = home.run(&["status"]);
    assert!(stdout(&status).contains("boca-demo"), "{}", stdout(&status));
    let stopped = home.run(&["stop"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", stderr(&stopped));
    assert!(!home.socket().exists());
    assert_eq!(home.run(&["status"]).status.code(), Some(69));
}

#[test]
fn without_a_daemon_a_command_says_what_to_do() {
    let home = Home::new();
    home.write_config("[client]\nauto_start = false\n");
    for args in [&["status"][..], &["chat", "hello"], &["sessions", "list"]] {
        let output = home.run(args);
        assert_eq!(output.status.code(), Some(69), "{args:?}");
        assert!(stderr(&output).contains("boca serve"), "{args:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty());
    }
    assert!(!home.state_dir().exists(), "nothing was left behind");
}

fn piped(home: &Home, args: &[&str], input: &[u8]) -> Output {
    let mut command = home.command(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn chat_reads_a_pipe_and_prints_json() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let output = piped(&home, &["chat", "--json"], b"What can you do?\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let session = answer["session_id"].as_str().unwrap();
    assert!(answer["response"].is_string());
    assert!(!stdout(&output).contains('\x1b'), "no colours into a pipe");

    let listed: Value = serde_json::from_str(&stdout(&home.run(&["sessions", "list", "--json"]))).unwrap();
    assert_eq!(listed["sessions"][0]["id"], session);
    let shown = stdout(&home.run(&["sessions", "show", session]));
    assert!(shown.contains("What can you do?"), "{shown}");
    assert_eq!(home.run(&["sessions", "delete", session]).status.code(), Some(0));
    assert_ne!(home.run(&["sessions", "show", session]).status.code(), Some(0));

    for bad in [&b""[..], b" \n", b"\xff\xfe"] {
        let refused = piped(&home, &["chat"], bad);
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{bad:?}: {refused:?}");
        assert!(stderr(&refused).starts_with("error: "), "{}", stderr(&refused));
    }
}

#[test]
fn a_refused_field_is_a_failure_that_names_it() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let output = home.run(&["chat", "--temperature", "7", "hello"]);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    assert!(stderr(&output).contains("temperature"), "{}", stderr(&output));
}

#[test]
fn clients_look_where_a_daemon_may_listen() {
    let home = Home::new();
    // Started without XDG_RUNTIME_DIR, as from cron.
    let mut command = home.command(&["serve"]);
    command.env_remove("XDG_RUNTIME_DIR");
    let daemon = Daemon::spawn_command(command, home.state_dir().join("boca.sock"));
    daemon.wait_until_ready();
    let status = home.run(&["status", "--json"]);
    assert_eq!(status.status.code(), Some(0), "{}", stderr(&status));
    let status: Value = serde_json::from_str(&stdout(&status)).unwrap();
    assert_eq!(status["socket"].as_str(), daemon.socket().to_str());
    let elsewhere = home.run(&["status", "--socket", "/tmp/nobody-listens-here.sock"]);
    assert_eq!(elsewhere.status.code(), Some(69), "a socket that was named is the only one");
}

#[test]
fn help_version_and_mistakes() {
    let home = Home::new();
    let help = home.run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in ["serve", "stop", "chat", "status", "sessions", "model", "config"] {
        assert!(stdout(&help).contains(&format!("  {command} ")), "{command}: {}", stdout(&help));
    }
    assert_eq!(stdout(&home.run(&["--version"])), format!("boca {}\n", env!("CARGO_PKG_VERSION")));
    for mistake in [&["bogus"][..], &["serve", "--modle", "x"], &[], &["model"], &["chat", "--preset"]] {
        let output = home.run(mistake);
        assert_eq!(output.status.code(), Some(2), "{mistake:?}");
        assert!(!stderr(&output).is_empty() && stdout(&output).is_empty(), "{mistake:?}");
    }
}

#[test]
fn a_model_is_looked_at_without_a_daemon() {
    let home = Home::new();
    let info = home.run(&["model", "info"]);
    assert_eq!(info.status.code(), Some(0), "{}", stderr(&info));
    assert!(
        stdout(&info).contains("the demo model") && stdout(&info).contains("glm4_moe"),
        "{}",
        stdout(&info)
    );
    let json: Value = serde_json::from_str(&stdout(&home.run(&["model", "info", "--json"]))).unwrap();
    assert_eq!((&json["ok"], &json["model"]["is_demo"]), (&true.into(), &true.into()));
    assert_eq!(json["tried"].as_array().unwrap().last().unwrap()["path"], "embedded");
    let verified = home.run(&["model", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
    assert!(stdout(&verified).contains("ok: every byte of boca-demo"), "{}", stdout(&verified));
    assert!(!home.path(".local").exists(), "nothing was left behind");
}

#[test]
fn a_closed_reader_is_no_failure() {
    let home = Home::new();
    let mut child =
        home.command(&["config", "show"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_checkpoint_of_random_weights_is_made_once_and_answers() {
    let home = Home::new();
    let directory = home.path("tiny");
    let path = directory.to_str().unwrap();
    let made = home.run(&["bench", "--make-checkpoint", path, "--tiny"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(stdout(&made).contains("of weights in"), "{}", stdout(&made));
    let verified = home.run(&["model", "verify", path]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));

    let again = home.run(&["bench", "--make-checkpoint", path, "--tiny"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("never overwritten"), "{}", stderr(&again));
    for (args, told) in [
        (&["bench"][..], "--make-checkpoint"),
        (&["bench", "--make-checkpoint", "x"], "--layers"),
        (&["bench", "--make-checkpoint", "x", "--layers", "0"], "`layers` must be between 1 and 128, got 0"),
        (&["bench", "--layers", "4"], "--make-checkpoint"),
        (&["bench", "fusion"], "FILE.jsonl"),
    ] {
        let output = home.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{args:?}: {}", stderr(&output));
    }
    let daemon = Daemon::start_with(&home, &["--model", path]);
    let answer = daemon.chat(&serde_json::json!({ "message": "hello", "max_tokens": 4 }));
    assert_eq!(answer["model_used"], "tiny", "{answer}");
}
