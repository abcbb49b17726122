//! Programs that are no engine, and how they end.

use super::*;
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// A shell script in an engine's place; `$1` is a directory of its own.
struct Scripted {
    process: Arc<EngineProcess>,
    events: Receiver<EngineEvent>,
    directory: TempDir,
}

impl Scripted {
    fn start(script: &str, patience: ProcessPatience) -> Self {
        Self::start_with(script, patience, "of the job")
    }

    fn start_with(script: &str, patience: ProcessPatience, job: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, message: &FromWorker| {
            std::fs::write(directory.path().join(name), encode(message).unwrap()).unwrap();
        };
        write("hello", &FromWorker::Hello(Greeting::own()));
        write("foreign", &FromWorker::Hello(Greeting { protocol: 0, version: "old".into() }));
        write("beat", &FromWorker::Beat(Pulse { n_steps: 7, ..Pulse::default() }));
        write("stopped", &FromWorker::Event(EngineEvent::Ended(EngineEnd::Stopped)));
        let (events_in, events) = mpsc::channel();
        let process = Arc::new(EngineProcess::new(patience, listening()));
        let script = script.into();
        let place = directory.path().as_os_str().to_owned();
        let worker = WorkerCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script, "sh".into(), place],
            environment: vec![],
            job: serde_json::json!({ "text": job }),
        };
        let sink = Arc::new(move |event| drop(events_in.send(event)));
        process.start(worker, EngineTurn::default(), sink).unwrap();
        Self { process, events, directory }
    }

    /// How it ended.
    fn end(&self) -> EngineEnd {
        loop {
            if let EngineEvent::Ended(end) = self.events.recv_timeout(LONG).expect("it ends") {
                return end;
            }
        }
    }

    /// Why it failed.
    fn reason(&self) -> String {
        match self.end() {
            EngineEnd::Crashed(failure) => {
                assert_eq!(
                    (failure.code, failure.retry_after),
                    (ErrorCode::EngineFailed, Some(Duration::from_secs(1)))
                );
                failure.message
            }
            other => panic!("{other:?}"),
        }
    }

    /// The process, once its number is known.
    fn id(&self) -> u32 {
        until(|| self.process.process_id())
    }

    fn file(&self, name: &str) -> Option<String> {
        let bytes = std::fs::read(self.directory.path().join(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.process.end_by_force("the test is over");
    }
}

/// Where the hosts listen.
fn listening() -> Handle {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    });
    RUNTIME.handle().clone()
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::yield_now();
    }
}

fn patient() -> ProcessPatience {
    ProcessPatience { beat: LONG, step: LONG, stop: LONG }
}

#[test]
fn every_way_to_end_is_told() {
    for (script, reason) in [
        ("exit 3", "ended by itself with exit code 3"),
        ("exit 0", "ended by itself with exit code 0"),
        ("kill -9 $$", "was killed (signal 9), as the kernel does when memory is short"),
        ("kill -11 $$", "was ended by signal 11"),
        ("cat $1/hello; kill -6 $$", "was ended by signal 6"),
        ("echo nonsense; exec sleep 100", "bytes that are no message"),
        ("cat $1/beat; exec sleep 100", "it did not say who it is"),
    ] {
        let scripted = Scripted::start(script, patient());
        let told = scripted.reason();
        assert!(told.contains(reason), "{script}: {told}");
    }
}

#[test]
fn a_process_that_does_not_speak_is_ended() {
    for script in ["exec sleep 100", "cat $1/hello; exec sleep 100"] {
        let scripted = Scripted::start(script, ProcessPatience { beat: SHORT, ..patient() });
        let id = scripted.id();
        assert!(scripted.reason().contains("it has not reported for"), "{script}");
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "it is gone");
        assert_eq!(scripted.process.process_id(), None);
    }
}

#[test]
fn a_load_that_does_not_come_further_is_ended_though_it_beats() {
    let script = "cat $1/hello; while cat $1/beat; do sleep 0.02; done";
    let scripted = Scripted::start(script, ProcessPatience { step: SHORT, ..patient() });
    assert!(scripted.reason().contains("loading the weights has not come further"));
    assert_eq!(scripted.process.pulse().n_steps, 7);
}

#[test]
fn another_build_is_refused_for_good() {
    let scripted = Scripted::start("cat $1/foreign; exec sleep 100", patient());
    match scripted.end() {
        EngineEnd::LoadFailed(failure) => {
            assert_eq!(failure.code, ErrorCode::ModelUnavailable);
            assert!(failure.message.contains("the other end is boca old (protocol 0)"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let (events_in, events) = mpsc::channel();
    let process = Arc::new(EngineProcess::new(patient(), listening()));
    let worker = WorkerCommand {
        program: "/nowhere/boca".into(),
        arguments: vec![],
        environment: vec![],
        job: serde_json::Value::Null,
    };
    process.start(worker, EngineTurn::default(), Arc::new(move |event| drop(events_in.send(event)))).unwrap();
    match events.recv_timeout(LONG).unwrap() {
        EngineEvent::Ended(EngineEnd::Crashed(failure)) => {
            assert!(failure.message.contains("/nowhere/boca cannot be started"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(process.send(EngineCommand::Stop), Err(EngineGone));
}

#[test]
fn a_stop_is_obeyed_or_enforced() {
    // The end of its standard input is what a well-behaved one ends with.
    let obedient =
        Scripted::start("cat $1/hello; head -c 1 > $1/told; cat $1/stopped; cat > /dev/null", patient());
    until(|| obedient.file("told").filter(|told| !told.is_empty()));
    obedient.process.send(EngineCommand::Stop).unwrap();
    assert_eq!(obedient.end(), EngineEnd::Stopped);
    let stubborn = Scripted::start(
        "trap '' TERM; cat $1/hello; exec sleep 100",
        ProcessPatience { stop: SHORT, ..patient() },
    );
    let id = stubborn.id();
    stubborn.process.send(EngineCommand::Stop).unwrap();
    assert_eq!(stubborn.process.send(EngineCommand::Stop), Err(EngineGone), "it takes nothing more");
    assert_eq!(stubborn.end(), EngineEnd::Stopped);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn force_ends_what_does_not_obey() {
    let scripted = Scripted::start("cat $1/hello; exec sleep 100", patient());
    assert!(scripted.process.end_by_force("it was stuck"));
    assert!(scripted.reason().contains("it was stuck"));
}

#[test]
fn it_is_told_its_job_and_sees_little_else() {
    let script = "cat $1/hello; env > $1/env; ls -l /proc/self/fd > $1/files; pwd > $1/pwd; head -c 60 > $1/job; \
                  touch $1/done; exec sleep 100";
    let of_daemon = tempfile::NamedTempFile::new().unwrap();
    let scripted = Scripted::start(script, patient());
    until(|| scripted.file("done"));
    let environment = scripted.file("env").unwrap();
    let names: Vec<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    // The shell adds its own.
    let known =
        |name: &&str| ENVIRONMENT.contains(name) || ["PWD", "OLDPWD", "SHLVL", "_", "PATH"].contains(name);
    assert!(names.iter().all(known), "{names:?}");
    assert_eq!(scripted.file("pwd").unwrap().trim(), "/");
    let path = of_daemon.path().display().to_string();
    assert!(!scripted.file("files").unwrap().contains(&path), "a file that the daemon has open");
    assert!(scripted.file("job").unwrap().contains("Hello"));
    scripted.process.end_by_force("enough");
    scripted.reason();
}

#[test]
fn more_than_the_pipe_holds_arrives_whole() {
    let n_bytes = 3_000_000;
    let script = "cat $1/hello; sleep 0.2; head -c 3000000 | wc -c > $1/told; touch $1/done; cat > /dev/null";
    let scripted = Scripted::start_with(script, patient(), &"x".repeat(n_bytes));
    until(|| scripted.file("done"));
    assert_eq!(scripted.file("told").unwrap().trim(), n_bytes.to_string());
}
