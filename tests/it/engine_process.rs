//! The engine in a process of its own: what is lost with it, and what is not.

use crate::harness::{Connection, Daemon, EventStream, Home, PATIENCE, endless, greedy, until, with};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Restarts without an end or a pause that is worth mentioning.
const RESTLESS: &str = "[supervision]\nintensity = 1000\nbackoff_first = \"1ms\"\nbackoff_max = \"10ms\"\n";

/// The engine's process, once there is one that is not `old`.
fn engine(daemon: &Daemon, old: Option<i32>) -> Pid {
    until("an engine process", || {
        let status = daemon.get("/api/status").expect(200).json();
        let pid = i32::try_from(status["model"]["engine_pid"].as_i64()?).unwrap();
        (status["model"]["state"] != "restarting" && Some(pid) != old).then(|| Pid::from_raw(pid).unwrap())
    })
}

fn kill_engine(daemon: &Daemon) -> i32 {
    let engine = engine(daemon, None);
    kill_process(engine, Signal::KILL).unwrap();
    engine.as_raw_nonzero().get()
}

fn local(body: Value) -> Value {
    with(body, json!({ "mode": "local" }))
}

fn proc_file(pid: Pid, name: &str) -> String {
    let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

fn open_files(pid: Pid) -> Vec<String> {
    let files = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    let target = |file: std::io::Result<fs::DirEntry>| fs::read_link(file.ok()?.path()).ok();
    files.filter_map(target).map(|path| path.display().to_string()).collect()
}

fn resident_kib(pid: Pid) -> u64 {
    let status = proc_file(pid, "status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn it_has_the_weights_and_nothing_that_is_not_its_own() {
    let home = Home::new();
    let model = home.path("models/a model");
    fs::create_dir_all(&model).unwrap();
    for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/demo-model")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), model.join(file.file_name())).unwrap();
    }
    let mut command = home.command(&["serve", "--model"]);
    command.arg(&model).env("GEMINI_API_KEY", "a-secret-key");
    let daemon = Daemon::spawn_command(command, home.socket());
    daemon.wait_until_ready();
    let engine = engine(&daemon, None);
    assert!(proc_file(engine, "cmdline").contains("engine-worker"));
    assert!(proc_file(engine, "maps").contains("model.safetensors"));
    assert!(
        !proc_file(daemon.pid(), "maps").contains("model.safetensors"),
        "the daemon never maps the weights"
    );
    assert!(!proc_file(engine, "environ").contains("secret"), "no key");
    assert!(proc_file(daemon.pid(), "environ").contains("secret"), "the daemon has it");
    let files = open_files(engine);
    assert!(files.iter().all(|file| !file.contains("/store") && !file.contains(".lock")), "{files:?}");
    // One socket, to the daemon; the one that clients connect to is not among its own.
    let sockets: BTreeSet<_> = files.iter().filter(|file| file.starts_with("socket:")).collect();
    assert_eq!(sockets.len(), 1, "{files:?}");
    let score: i32 = proc_file(engine, "oom_score_adj").trim().parse().unwrap();
    let of_daemon: i32 = proc_file(daemon.pid(), "oom_score_adj").trim().parse().unwrap();
    assert!(score > of_daemon, "the kernel takes the engine first");
}

#[test]
fn a_daemon_that_is_killed_leaves_no_engine_behind() {
    let home = Home::of_endless_answers();
    let daemon = Daemon::start(&home);
    let mut stream = EventStream::open(&daemon, &local(endless("Count.")));
    stream.read_until("token");
    let engine = engine(&daemon, None);
    daemon.signal(Signal::KILL);
    until("the engine to end", || test_kill_process(engine).is_err().then_some(()));
}

#[test]
fn a_stop_that_all_processes_are_told_lets_answers_finish() {
    let home = Home::of_endless_answers();
    let daemon = Daemon::start(&home);
    let mut stream =
        EventStream::open(&daemon, &with(local(endless("Count.")), json!({ "max_tokens": 300 })));
    stream.read_until("token");
    // As service managers do it, and Ctrl-C on a terminal.
    kill_process(engine(&daemon, None), Signal::TERM).unwrap();
    let ended = std::thread::scope(|scope| {
        let rest = scope.spawn(|| stream.rest());
        let ended = daemon.stop();
        let (name, done) = rest.join().unwrap().pop().unwrap();
        assert_eq!(name, "done", "{done}");
        ended
    });
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[test]
fn an_engine_that_hangs_is_replaced() {
    let home = Home::new();
    home.write_config(&format!("{RESTLESS}[model]\nstuck_after = \"1s\"\n"));
    let daemon = Daemon::start(&home);
    let frozen = engine(&daemon, None);
    kill_process(frozen, Signal::STOP).unwrap();
    // What it has not begun to answer is answered by the next one.
    daemon.chat(&local(greedy("Hello?")));
    assert!(test_kill_process(frozen).is_err(), "it is gone");
    let status = daemon.get("/api/status").expect(200).json();
    let error = status["model"]["error"].to_string() + &daemon.log();
    assert!(error.contains("has not reported for"), "{error}");
}

#[test]
fn an_engine_that_is_lost_too_often_is_down_until_a_request_finds_it_well() {
    let home = Home::new();
    home.write_config(
        "[supervision]\nintensity = 1\nbackoff_first = \"1ms\"\n[model]\nprobe_every = \"2s\"\n",
    );
    let daemon = Daemon::start(&home);
    let first = kill_engine(&daemon);
    let second = engine(&daemon, Some(first));
    daemon.wait_until_ready();
    kill_process(second, Signal::KILL).unwrap();
    until("the model to be down", || {
        (daemon.get("/api/status").expect(200).json()["model"]["state"] == "down").then_some(())
    });
    let ready = daemon.get("/ready").expect(503).json();
    let reason = ready["error"]["message"].as_str().unwrap();
    assert!(reason.contains("failed again and again") && reason.contains("signal 9"), "{reason}");
    daemon.get("/health").expect(200);
    let refused = daemon.post("/api/chat", &local(greedy("Hello?")));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    until("a request to be let through", || {
        (daemon.post("/api/chat", &local(greedy("Hello?"))).status == 200).then_some(())
    });
    daemon.get("/ready").expect(200);
}

/// What came of the chats of one client that never stops asking.
#[derive(Debug, Default)]
struct Chats {
    answered: Vec<(String, String)>,
    failed: Vec<Value>,
    slowest: Duration,
}

fn keep_asking(daemon: &Daemon, client: usize, n_answered: &AtomicUsize, is_over: &AtomicBool) -> Chats {
    let mut chats = Chats::default();
    let mut n = 0;
    while !is_over.load(Ordering::Acquire) {
        n += 1;
        let question = format!("Question {n} of client {client}?");
        let session = format!("client-{client}-{}", n / 4);
        let begun = Instant::now();
        let body = with(
            local(greedy(&question)),
            json!({ "session_id": session, "max_tokens": 12, "thinking": false }),
        );
        let reply = daemon.post("/api/chat", &body);
        chats.slowest = chats.slowest.max(begun.elapsed());
        if reply.status == 200 {
            chats.answered.push((session, question));
            n_answered.fetch_add(1, Ordering::AcqRel);
        } else {
            chats.failed.push(reply.json());
        }
    }
    chats
}

/// The engine is killed a hundred times in the middle of a stream, while others chat on.
#[test]
fn a_hundred_lost_engines_cost_half_answers_and_nothing_else() {
    const ROUNDS: usize = 100;
    let home = Home::of_endless_answers();
    home.write_config(&format!("{RESTLESS}[model]\nqueue_limit = 64\n"));
    let mut command = home.command(&["serve"]);
    // glibc gives threads pools of memory of their own, which fill one after the other and would look like a leak.
    command.env("MALLOC_ARENA_MAX", "1");
    let daemon = Daemon::spawn_command(command, home.socket());
    daemon.wait_until_ready();
    let (is_over, n_answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut marks = Vec::new();
    let (mut n_broken, mut n_whole, mut n_refused) = (0, 0, 0);
    let chats: Vec<Chats> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|client| {
                scope.spawn({
                    let (daemon, n_answered, is_over) = (&daemon, &n_answered, &is_over);
                    move || keep_asking(daemon, client, n_answered, is_over)
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let n_before = n_answered.load(Ordering::Acquire);
            until("a chat beside it to be answered", || {
                (n_answered.load(Ordering::Acquire) > n_before).then_some(())
            });
            let mut stream = EventStream::open(&daemon, &local(endless("Count.")));
            stream.read_until("token");
            kill_engine(&daemon);
            let begun = Instant::now();
            daemon.get("/health").expect(200);
            daemon.get("/api/status").expect(200);
            assert!(begun.elapsed() < PATIENCE / 4, "the API answers throughout");
            match stream.rest().pop() {
                Some((name, data)) if name == "error" => {
                    assert_eq!(data["error"]["code"], "engine_failed", "{data}");
                    n_broken += 1;
                }
                Some((name, _)) if name == "done" => n_whole += 1,
                other => panic!("round {round}: a stream ended with {other:?}"),
            }
            if round == 9 || round + 1 == ROUNDS {
                daemon.wait_until_ready();
                marks.push((open_files(daemon.pid()).len(), resident_kib(daemon.pid())));
            }
        }
        is_over.store(true, Ordering::Release);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    daemon.wait_until_ready();
    let restarts = daemon.get("/api/status").expect(200).json()["agents"].clone();
    for chats in &chats {
        for failed in &chats.failed {
            let code = failed["error"]["code"].as_str().unwrap();
            assert!(["engine_failed", "restarting", "model_loading"].contains(&code), "{failed}");
            n_refused += 1;
        }
        for (session, question) in &chats.answered {
            let stored = daemon.get(&format!("/api/sessions/{session}")).expect(200).json();
            let messages = stored["messages"].as_array().unwrap();
            assert!(messages.iter().any(|message| message["content"] == *question), "{question} is kept");
        }
    }
    let n_answered = n_answered.into_inner();
    let slowest = chats.iter().map(|chats| chats.slowest).max().unwrap();
    let [(files_early, kib_early), (files_late, kib_late)] = marks[..] else { panic!("{marks:?}") };
    eprintln!(
        "{ROUNDS} engines killed: {n_broken} streams broke with an error, {n_whole} were whole; beside them \
         {n_answered} chats answered, {n_refused} refused, the slowest took {slowest:.1?}; open files \
         {files_early} -> {files_late}, resident {kib_early} -> {kib_late} KiB"
    );
    assert!(n_broken > ROUNDS / 2, "{restarts}");
    assert!(n_answered >= ROUNDS);
    // Of a chat that is read whole nothing was shown: only one that is hit twice fails.
    assert!(n_refused < n_answered / 4, "{n_refused} of {n_answered}");
    // Connections come and go; a leak of one a round would be ninety.
    assert!(files_late <= files_early + 10, "{files_early} -> {files_late}");
    // The chats leave something in the store's cache; a buffer a round would be more.
    assert!(kib_late <= kib_early + (8 << 10), "{kib_early} -> {kib_late} KiB");
    let mut connection: Connection = daemon.connect();
    connection.send("GET", "/health", None);
    assert_eq!(connection.read_reply().status, 200);
    assert_eq!(daemon.stop().status.code(), Some(0));
}
