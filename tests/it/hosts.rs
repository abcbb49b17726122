//! `boca serve --hosts` and `boca follow`: one model on several hosts, which are processes of this machine here.

use crate::harness::{Daemon, EventStream, Home, endless, greedy, stderr, until, with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::net::TcpListener;
use std::process::{Child, Stdio};

/// Whether this build has MLX.
const HAS_MLX: bool = cfg!(any(target_os = "macos", feature = "mlx"));
const MLX: &str = "[engine]\nbackend = \"mlx\"\ndevice = \"cpu\"\n";

/// Two addresses that nobody has now, as the command line has them.
fn free_hosts() -> String {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string()).join(",")
}

/// A running `boca follow`, which is killed when the test ends.
struct Follower(Child);

impl Follower {
    fn start(home: &Home, hosts: &str) -> Self {
        let mut command = home.command(&["follow", "--hosts", hosts, "--rank", "1"]);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn kill(&mut self) {
        kill_process(Pid::from_child(&self.0), Signal::KILL).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn two_hosts_answer_and_one_that_is_lost_takes_nothing_else_down() {
    if !HAS_MLX {
        return;
    }
    let (lead, other) = (Home::of_endless_answers(), Home::new());
    lead.write_config(&format!("{MLX}[supervision]\nintensity = 1000\nbackoff_first = \"1ms\"\n"));
    other.write_config(MLX);
    let hosts = free_hosts();
    let mut follower = Follower::start(&other, &hosts);
    let daemon = Daemon::start_with(&lead, &["--hosts", &hosts]);
    let info = daemon.get("/api/status").expect(200).json()["model"]["info"].clone();
    assert_eq!(info["backend"], "mlx (cpu, 2 hosts)");
    let local = json!({ "mode": "local" });
    let question = with(greedy("What can you do?"), local.clone());
    let answer = daemon.chat(&question)["response"].clone();
    assert!(!answer.as_str().unwrap().is_empty());
    // Steps that are launched ahead, and a sequence that is cut back and gone on from.
    assert_eq!(daemon.chat(&question)["response"], answer);

    let mut stream = EventStream::open(&daemon, &with(endless("Count."), local.clone()));
    stream.read_until("token");
    follower.kill();
    let error = stream.read_until("error");
    assert!(error.to_string().contains("(rank 1) is gone"), "{error}");
    assert!(error.to_string().contains("engine_failed"), "{error}");
    daemon.get("/health").expect(200);
    until("the model to wait for its hosts", || {
        (daemon.get("/api/status").expect(200).json()["model"]["state"] != "ready").then_some(())
    });

    // Another one takes its place, and follows the engines that come after the first as well.
    let _follower = Follower::start(&other, &hosts);
    daemon.wait_until_ready();
    assert_eq!(daemon.chat(&question)["response"], answer);
    daemon.post("/api/model/unload", &json!({})).expect(200);
    daemon.request("POST", "/api/model/load", None).expect(200);
    daemon.wait_until_ready();
    assert_eq!(daemon.chat(&question)["response"], answer, "the model is loaded again, on both hosts");
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[test]
fn hosts_with_different_models_do_not_compute_together() {
    if !HAS_MLX {
        return;
    }
    let (lead, other) = (Home::new(), Home::new());
    lead.write_config(MLX);
    let model = other.path("another");
    std::fs::create_dir(&model).unwrap();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/demo-model")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), model.join(file.file_name())).unwrap();
    }
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    std::fs::write(model.join("config.json"), config + "\n").unwrap();
    let hosts = free_hosts();
    let mut command = other.command(&["follow", "--hosts", &hosts, "--rank", "1", "--model"]);
    let follower = command.arg(&model).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let daemon = Daemon::start_listening(&lead, &["--hosts", &hosts]);
    let ended = follower.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("sent this one away: it has another checkpoint"), "{}", stderr(&ended));
    let status = until("the model to be refused", || {
        let status = daemon.get("/api/status").expect(200).json();
        (status["model"]["state"] == "down").then_some(status)
    });
    let told = status["model"]["error"]["message"].as_str().unwrap();
    assert!(told.contains("(rank 1) cannot take part"), "{told}");
}

#[test]
fn what_has_no_hosts_says_so() {
    let home = Home::new();
    let hosts = "127.0.0.1:1,127.0.0.1:2";
    // The processor's own engine.
    home.write_config("[engine]\nbackend = \"cpu\"\nhosts = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n");
    let daemon = Daemon::start_listening(&home, &[]);
    let told = until("the model to be refused", || {
        let status = daemon.get("/api/status").expect(200).json();
        (status["model"]["state"] == "down").then(|| status["model"]["error"]["message"].to_string())
    });
    assert!(told.contains("`engine.hosts` is set, and only MLX"), "{told}");
    drop(daemon);
    // An engine without a process of its own.
    home.write_config("[model]\nengine = \"thread\"\n");
    let ended = home.run(&["serve", "--hosts", hosts]);
    assert_eq!(ended.status.code(), Some(78), "{}", stderr(&ended));
    assert!(
        stderr(&ended).contains("`engine.hosts` needs `model.engine = \"process\"`"),
        "{}",
        stderr(&ended)
    );
    home.write_config("");
    for (args, code, told) in [
        (&["follow", "--rank", "1"][..], 2, "`--hosts` must name the hosts"),
        (&["follow", "--rank", "2", "--hosts", hosts], 2, "`--rank` must be 1 to 1"),
        (&["follow", "--rank", "1", "--hosts", "127.0.0.1:1"], 78, "must name 2 to 64 hosts, got 1"),
    ] {
        let ended = home.run(args);
        assert_eq!(ended.status.code(), Some(code), "{args:?}: {}", stderr(&ended));
        assert!(stderr(&ended).contains(told), "{args:?}: {}", stderr(&ended));
    }
    if !HAS_MLX {
        let ended = home.run(&["follow", "--rank", "1", "--hosts", hosts]);
        assert_eq!(ended.status.code(), Some(1));
        assert!(stderr(&ended).contains("this build has no MLX"), "{}", stderr(&ended));
    }
}
