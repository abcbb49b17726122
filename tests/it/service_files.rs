//! The files for systemd and launchd: valid, and really starting this binary.

use crate::harness::{Daemon, Home, until};
use plist::Value;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Key and value of every line of a unit file, with the section.
fn unit_entries(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut entries = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else {
            let (key, value) = line.split_once('=').unwrap();
            entries.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    entries
}

fn unit_value(key: &str) -> String {
    let text = std::fs::read_to_string(repository_file("systemd/boca.service")).unwrap();
    let entries = unit_entries(&text);
    let entry = entries.into_iter().find(|(_, k, _)| k == key);
    entry.unwrap_or_else(|| panic!("boca.service has no {key}")).2
}

/// Puts the binary where the service files expect it.
fn install(home: &Home) {
    let bin = home.path(".local/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_boca"), bin.join("boca")).unwrap();
}

#[test]
fn systemd_finds_nothing_to_complain_about() {
    // Not on macOS, and not in every container.
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else { return };
    assert!(version.status.success());
    let home = Home::new();
    // The check wants an executable that exists; %h would be this user's own home.
    let service = std::fs::read_to_string(repository_file("systemd/boca.service")).unwrap();
    home.write(
        &home.path("boca.service"),
        &service.replace("%h/.local/bin/boca", env!("CARGO_BIN_EXE_boca")),
    );
    std::fs::copy(repository_file("systemd/boca.socket"), home.path("boca.socket")).unwrap();
    let args = ["verify", "--user", "--man=no", "./boca.service", "./boca.socket"];
    let output = home.command_of("systemd-analyze", &args).output().unwrap();
    // It ends with 0 even for unknown keys; what it writes is what counts.
    let said = String::from_utf8_lossy(&output.stderr);
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("boca")).collect();
    assert!(about_us.is_empty() && output.status.success(), "{said}");
}

#[test]
fn systemd_is_told_when_the_daemon_is_ready_and_when_it_stops() {
    let home = Home::new();
    install(&home);
    let notified = UnixDatagram::bind(home.path("notify")).unwrap();
    notified.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    let home_dir = home.path("");
    let start = unit_value("ExecStart").replace("%h/", home_dir.to_str().unwrap());
    let words: Vec<&str> = start.split(' ').collect();
    let mut command = home.command_of(words[0], &words[1..]);
    command.env("NOTIFY_SOCKET", home.path("notify")).env("WATCHDOG_USEC", "200000");
    let daemon = Daemon::spawn_command(command, home.socket());
    let mut heard = String::new();
    let mut hear_until = |word: &str| {
        while !heard.contains(word) {
            let mut buffer = [0; 4096];
            let n = notified.recv(&mut buffer).unwrap_or_else(|e| panic!("no {word}: {e}; heard {heard}"));
            heard += &String::from_utf8_lossy(&buffer[..n]);
            heard.push('\n');
        }
    };
    hear_until("READY=1");
    daemon.wait_until_ready();
    hear_until("WATCHDOG=1");
    daemon.signal(rustix::process::Signal::HUP);
    hear_until("RELOADING=1");
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    hear_until("STOPPING=1");
}

#[test]
fn a_socket_held_by_systemd_starts_the_daemon() {
    // Part of systemd, but not of every installation.
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        return;
    }
    let home = Home::new();
    let socket = home.path("run/boca/boca.sock");
    let unit = std::fs::read_to_string(repository_file("systemd/boca.socket")).unwrap();
    let listens = unit.lines().find_map(|line| line.strip_prefix("ListenStream=")).unwrap();
    assert_eq!(listens.replace("%t", home.path("run").to_str().unwrap()), socket.to_str().unwrap());
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let args = ["-E", "XDG_RUNTIME_DIR", "-l", socket.to_str().unwrap(), env!("CARGO_BIN_EXE_boca"), "serve"];
    let daemon = Daemon::spawn_command(home.command_of("systemd-socket-activate", &args), socket.clone());
    daemon.wait_until_ready();
    assert_eq!(daemon.get("/api/status").expect(200).json()["socket"].as_str(), socket.to_str());
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(socket.exists(), "a socket that systemd made is systemd's to remove");
}

#[test]
fn systemd_waits_longer_than_the_daemon_drains() {
    let stop: u64 = unit_value("TimeoutStopSec").parse().unwrap();
    let home = Home::new();
    let shown: serde_json::Value =
        serde_json::from_slice(&home.run(&["config", "show", "--json"]).stdout).unwrap();
    let grace = shown["daemon.drain_grace"]["value"].as_str().unwrap().to_owned();
    let grace: u64 = grace.strip_suffix('s').unwrap().parse().unwrap();
    assert!(stop > grace + 5, "TimeoutStopSec={stop}, `daemon.drain_grace` {grace} s");
    let exit_time_out = launchd().get("ExitTimeOut").and_then(Value::as_unsigned_integer).unwrap();
    assert!(exit_time_out > grace + 5, "ExitTimeOut {exit_time_out}, `daemon.drain_grace` {grace} s");
}

#[test]
fn systemd_does_not_retry_what_cannot_succeed() {
    assert_eq!(unit_value("RestartPreventExitStatus"), "2 78");
    assert_eq!(unit_value("Restart"), "on-failure");
    assert_eq!(unit_value("Type"), "notify");
}

fn launchd() -> plist::Dictionary {
    let file = repository_file("launchd/ai.boca.daemon.plist");
    Value::from_file(file).unwrap().into_dictionary().unwrap()
}

#[test]
fn launchd_knows_every_key_and_its_kind() {
    type IsKind = fn(&Value) -> bool;
    let known: [(&str, IsKind); 8] = [
        ("Label", |v| v.as_string().is_some_and(|s| s == "ai.boca.daemon")),
        ("ProgramArguments", |v| {
            v.as_array().is_some_and(|words| {
                words.iter().all(|word| word.as_string().is_some())
                    && words[0].as_string().is_some_and(|program| program.starts_with('/'))
            })
        }),
        ("RunAtLoad", |v| v.as_boolean().is_some()),
        ("KeepAlive", |v| {
            let keys = |d: &plist::Dictionary| d.keys().all(|k| k == "SuccessfulExit" || k == "Crashed");
            v.as_boolean().is_some() || v.as_dictionary().is_some_and(keys)
        }),
        ("ThrottleInterval", |v| v.as_unsigned_integer().is_some()),
        ("ExitTimeOut", |v| v.as_unsigned_integer().is_some()),
        ("ProcessType", |v| v.as_string().is_some_and(|s| s == "Interactive")),
        // A decimal number: 077 written in octal would be 77.
        ("Umask", |v| v.as_unsigned_integer() == Some(0o077)),
    ];
    let plist = launchd();
    for (key, value) in &plist {
        let kind = known.iter().find(|(name, _)| name == key);
        let (_, is_kind) = kind.unwrap_or_else(|| panic!("{key} is not in the table of keys"));
        assert!(is_kind(value), "{key}: {value:?}");
    }
    assert!(plist.contains_key("Label") && plist.contains_key("ProgramArguments"));
    let text = std::fs::read_to_string(repository_file("launchd/ai.boca.daemon.plist")).unwrap();
    assert_eq!(text.matches("<key>").count() - 1, plist.len(), "a key stands there twice");
}

#[test]
fn what_launchd_runs_becomes_a_daemon() {
    let home = Home::new();
    install(&home);
    let plist = launchd();
    let words = plist.get("ProgramArguments").and_then(Value::as_array).unwrap();
    let words: Vec<&str> = words.iter().filter_map(Value::as_string).collect();
    let daemon = Daemon::spawn_command(home.command_of(words[0], &words[1..]), home.socket());
    daemon.wait_until_ready();
    let log = home.path("Library/Logs/boca/boca.log");
    until("the log to be written", || std::fs::read_to_string(&log).ok().filter(|log| !log.is_empty()));
    // The shell was replaced, so launchd's signals reach the daemon itself.
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!(status["pid"].as_i64(), Some(i64::from(daemon.pid().as_raw_nonzero().get())));
    assert_eq!(daemon.stop().status.code(), Some(0));
}
