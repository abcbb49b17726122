//! Starting, stopping, reloading, and everything about the socket that others could see or break.

use crate::harness::{Connection, Daemon, EventStream, Home, endless, greedy, until, with};
use rustix::process::Signal;
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

#[test]
fn an_unknown_model_path_leaves_the_daemon_up_and_is_said() {
    let home = Home::new();
    let daemon = Daemon::start_listening(&home, &["--model", "/no/such/model"]);
    daemon.get("/health").expect(200);
    until("the model to be given up", || {
        (daemon.get("/ready").json()["error"]["code"] == "model_unavailable").then_some(())
    });
    let ready = daemon.get("/ready").expect(503);
    let said = ready.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(said.contains("/no/such/model"), "{said}");
    let refused = daemon.post("/api/chat", &greedy("Hello?")).expect_error(503, "model_unavailable", None);
    assert!(refused.contains("/no/such/model"), "{refused}");
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!(status["model"]["state"], "down", "{status}");
    let tried = &status["model"]["tried"];
    assert_eq!(tried.as_array().unwrap().len(), 1, "nothing else is loaded in its place: {tried}");
    assert_eq!((&tried[0]["path"], &tried[0]["from"]), (&json!("/no/such/model"), &json!("--model")));
    assert_eq!(tried[0]["outcome"], "cannot be loaded");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn flag_variable_and_config_name_the_model_in_this_order() {
    let home = Home::new();
    home.write_config("[model]\npath = \"/from/config\"\n");
    let from = |daemon: Daemon| {
        daemon.wait_until_listening();
        let tried = daemon.get("/api/status").expect(200).json()["model"]["tried"][0].clone();
        // In peace, so that nobody takes its socket for that of the next one.
        daemon.stop();
        (tried["path"].as_str().unwrap().to_owned(), tried["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(from(Daemon::spawn(&home, &[])), ("/from/config".into(), "config".into()));
    let with_variable = |args: &[&str]| {
        let mut command = home.command(&["serve"]);
        command.args(args).env("GLM_MODEL_PATH", "/from/variable");
        Daemon::spawn_command(command, home.socket())
    };
    assert_eq!(from(with_variable(&[])), ("/from/variable".into(), "GLM_MODEL_PATH".into()));
    assert_eq!(from(with_variable(&["--model", "/from/flag"])), ("/from/flag".into(), "--model".into()));
}

#[test]
fn the_places_that_were_tried_are_listed() {
    let home = Home::new();
    let other = home.path(".local/share/boca/models/other/config.json");
    home.write(&other, r#"{"model_type":"llama"}"#);
    let daemon = Daemon::start(&home);
    let status = daemon.get("/api/status").expect(200).json();
    let tried = status["model"]["tried"].as_array().unwrap();
    let outcome = |n: usize| tried[n]["outcome"].as_str().unwrap();
    assert!(tried[0]["path"].as_str().unwrap().ends_with("models/glm4.5-air-mlx-4bit"), "{tried:?}");
    assert_eq!(outcome(0), "not found");
    assert!(outcome(1).contains("llama"), "{tried:?}");
    assert_eq!((&tried[2]["path"], outcome(2)), (&json!("embedded"), "taken"));
    assert_eq!(status["model"]["info"]["is_demo"], true);
}

#[test]
fn socket_and_directories_are_their_owners_alone() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(daemon.socket()), 0o600);
    assert_eq!(mode(daemon.socket().parent().unwrap()), 0o700);
    assert_eq!(mode(&home.state_dir()), 0o700);
    daemon.chat(&greedy("Hello!"));
    for entry in std::fs::read_dir(home.state_dir().join("store")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let first = Daemon::start(&home);
    let inode = std::fs::metadata(first.socket()).unwrap().ino();
    let second = Daemon::spawn(&home, &[]).wait();
    assert_eq!(second.status.code(), Some(69), "{}", second.log);
    assert!(second.log.contains("another daemon"), "{}", second.log);
    // Another socket, but the same conversations.
    let third = Daemon::spawn(&home, &["--socket", home.path("other.sock").to_str().unwrap()]).wait();
    assert_eq!(third.status.code(), Some(69), "{}", third.log);
    assert_eq!(std::fs::metadata(first.socket()).unwrap().ino(), inode);
    first.chat(&greedy("Still there?"));
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else_is() {
    let home = Home::new();
    let killed = Daemon::start(&home);
    killed.signal(Signal::KILL);
    killed.wait();
    assert!(home.socket().exists(), "a killed daemon leaves its socket");
    let daemon = Daemon::start(&home);
    assert_eq!(daemon.stop().status.code(), Some(0));
    assert!(!home.socket().exists(), "a stopped daemon takes its socket away");

    std::fs::write(home.socket(), "precious").unwrap();
    let refused = Daemon::spawn(&home, &[]).wait();
    assert_eq!(refused.status.code(), Some(69), "{}", refused.log);
    assert_eq!(std::fs::read_to_string(home.socket()).unwrap(), "precious");

    std::fs::remove_file(home.socket()).unwrap();
    let _foreign = UnixListener::bind(home.socket()).unwrap();
    let refused = Daemon::spawn(&home, &[]).wait();
    assert_eq!(refused.status.code(), Some(69), "somebody else listens there: {}", refused.log);
    assert!(home.socket().exists());
}

#[test]
fn a_stop_lets_the_running_answer_end() {
    let home = Home::of_endless_answers();
    home.write_config("[daemon]\ndrain_grace = \"10m\"\n");
    let daemon = Daemon::start(&home);
    let mut stream =
        EventStream::open(&daemon, &with(endless("Tell me something."), json!({ "max_tokens": 1500 })));
    let session = stream.read_until("started")["session_id"].as_str().unwrap().to_owned();
    stream.read_until("token");
    daemon.signal(Signal::TERM);
    until("new questions to be refused", || match Connection::open(daemon.socket()) {
        Ok(mut connection) => {
            connection.send("POST", "/api/chat", Some(&greedy("And me?").to_string()));
            // A refusal, or the daemon was fast enough to hang up already.
            matches!(connection.try_read_status(), Some(503) | None).then_some(())
        }
        // Fast enough to be gone already.
        Err(_) => Some(()),
    });
    let done = stream.read_until("done");
    assert_eq!(done["usage"]["completion_tokens"], 1500, "{done}");
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(!home.socket().exists());
    let daemon = Daemon::start(&home);
    let stored = daemon.get(&format!("/api/sessions/{session}")).expect(200).json();
    assert_eq!(stored["messages"][1]["content"], done["response"]);
}

#[test]
fn the_grace_of_a_stop_is_bounded() {
    let home = Home::of_endless_answers();
    home.write_config("[daemon]\ndrain_grace = \"0s\"\n");
    let daemon = Daemon::start(&home);
    let mut stream = EventStream::open(&daemon, &endless("Tell me everything."));
    stream.read_until("token");
    daemon.signal(Signal::TERM);
    let rest = stream.rest();
    let (name, last) = rest.last().unwrap();
    match name.as_str() {
        "done" => assert_eq!(last["finish_reason"], "cancelled", "what there is was kept: {last}"),
        _ => assert!(last["error"]["code"].is_string(), "{name}: {last}"),
    }
    assert_eq!(daemon.wait().status.code(), Some(0));
}

#[test]
fn ctrl_c_stops_like_sigterm() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    daemon.signal(Signal::INT);
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(!home.socket().exists());
}

#[test]
fn a_second_signal_ends_at_once() {
    let home = Home::of_endless_answers();
    home.write_config("[daemon]\ndrain_grace = \"1h\"\n");
    let daemon = Daemon::start(&home);
    // More work than the grace of a patient person.
    let mut streams: Vec<_> =
        (0..6).map(|_| EventStream::open(&daemon, &endless("Tell me everything."))).collect();
    streams[0].read_until("token");
    daemon.signal(Signal::TERM);
    until("the daemon to drain", || daemon.log().contains("draining").then_some(()));
    daemon.signal(Signal::INT);
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    let next = Daemon::start(&home);
    next.chat(&greedy("Still there?"));
}

#[test]
fn sighup_reads_the_configuration_again() {
    let home = Home::new();
    home.write_config("[chat]\nsystem = \"Short.\"\n");
    let daemon = Daemon::start(&home);
    let prompt_tokens = || daemon.chat(&greedy("Hello!"))["usage"]["prompt_tokens"].as_u64().unwrap();
    let before = prompt_tokens();
    home.write_config(
        "[chat]\nsystem = \"This is a much longer system prompt than the one before, as anyone can see.\"\n\
         [daemon]\nmax_connections = 3\n[log]\nlevel = \"debug\"\n",
    );
    daemon.signal(Signal::HUP);
    until("the reload", || daemon.log().contains("the configuration was read again").then_some(()));
    assert!(prompt_tokens() > before + 5);
    until("the keys that must wait", || daemon.log().contains("daemon.max_connections").then_some(()));
    assert!(daemon.log().contains("chat.system"), "{}", daemon.log());

    home.write_config("[chat]\nsistem = \"oops\"\n");
    daemon.signal(Signal::HUP);
    until("the refusal", || daemon.log().contains("unknown field `sistem`").then_some(()));
    assert!(prompt_tokens() > before + 5, "the last good configuration stays in force");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn status_names_the_process_and_its_files() {
    let home = Home::new();
    home.write_config("");
    let daemon = Daemon::start(&home);
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["socket"].as_str(), daemon.socket().to_str());
    assert_eq!(status["state_dir"].as_str(), home.state_dir().to_str());
    assert_eq!(status["config_files"], json!([home.config_file()]));
    assert_eq!(status["model"]["state"], "ready");
    let agents = status["agents"].as_array().unwrap();
    for name in ["model", "synthesizer", "metrics"] {
        let agent = agents.iter().find(|agent| agent["name"] == name);
        let agent = agent.unwrap_or_else(|| panic!("{name}: {agents:?}"));
        assert_eq!((&agent["state"], &agent["restarts"]), (&json!("ready"), &json!(0)), "{agent}");
        assert!(agent["mailbox_capacity"].as_u64().is_some_and(|n| n > 0), "{agent}");
    }
}

#[test]
fn prompts_are_not_logged_unless_the_configuration_says_so() {
    let home = Home::new();
    home.write_config("[log]\nlevel = \"trace\"\n");
    let secret = "my cat is called Bartholomew";
    let daemon = Daemon::start(&home);
    daemon.chat(&greedy(secret));
    let ended = daemon.stop();
    assert!(ended.log.len() > 200 && !ended.log.contains("Bartholomew"), "{}", ended.log);
    home.write_config("[log]\nlog_prompts = true\n");
    let daemon = Daemon::start(&home);
    daemon.chat(&greedy(secret));
    assert!(daemon.stop().log.contains("Bartholomew"));
}

#[test]
fn a_damaged_store_is_set_aside_and_the_daemon_serves() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    daemon.chat(&greedy("Hello!"));
    daemon.stop();
    let store = home.state_dir().join("store");
    for entry in walk(&store) {
        std::fs::write(&entry, vec![0xAB; 4096]).unwrap();
    }
    let daemon = Daemon::start(&home);
    daemon.chat(&greedy("Still there?"));
    assert!(daemon.log().contains("the store could not be opened"), "{}", daemon.log());
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
