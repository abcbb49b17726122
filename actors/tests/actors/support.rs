//! An engine that does what a test tells it, when the test tells it, and reports what it was asked.

use boca_actors::{Actors, ActorsOptions, AnswerStream, Backoff, EngineHosting, ModelStatus};
use boca_core::{
    ActorState, Answer, AnswerEvent, Ask, ChatMessage, Failure, FinishReason, GenerateRequest,
    GenerationEvent, GenerationSummary, LoadPhase, LoadProgress, Mode, ModelInfo, RequestId, Timings, Usage,
};
use boca_engine::checkpoint::CheckpointError;
use boca_engine::memory::MemoryFacts;
use boca_engine::{CancelToken, EngineError, GeneratorFactory, OneByOne, SoloModel};
use futures_util::StreamExt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(crate) const MODEL_NAME: &str = "scripted";

/// One step of a load.
pub(crate) enum Load {
    Progress(u64, u64),
    Succeed,
    BadCheckpoint,
    DeviceFault,
    Panic,
}

/// One step of a generation.
pub(crate) enum Step {
    Emit(GenerationEvent),
    Finish,
    Refuse,
    Panic,
    /// Ignore everything, a cancellation included, until the sender of this is dropped.
    Hold(Receiver<()>),
}

/// What the engine reports to the test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    LoadBegan,
    Began(String),
    Holds,
    Ended(String, FinishReason),
    Freed,
}

/// The test's end of the engine.
pub(crate) struct Script {
    pub(crate) load: Sender<Load>,
    pub(crate) step: Sender<Step>,
    seen: UnboundedReceiver<Seen>,
}

impl Script {
    /// What the engine did next.
    pub(crate) async fn seen(&mut self) -> Seen {
        let seen = tokio::time::timeout(PATIENCE, self.seen.recv()).await;
        seen.expect("the engine does something").expect("the engine's factory lives")
    }

    /// Lets the next load succeed.
    pub(crate) fn loads(&self) {
        self.load.send(Load::Succeed).unwrap();
    }

    /// Lets the running generation say something.
    pub(crate) fn says(&self, text: &str) {
        self.step.send(Step::Emit(GenerationEvent::Text(text.into()))).unwrap();
    }

    /// Lets the running generation end well.
    pub(crate) fn finishes(&self) {
        self.step.send(Step::Finish).unwrap();
    }

    /// Checks that the engine has done nothing that was not looked at.
    pub(crate) fn has_seen_nothing(&mut self) {
        assert!(self.seen.try_recv().is_err());
    }
}

/// Longer than anything here takes on the busiest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

struct Scripted {
    info: ModelInfo,
    steps: Arc<Mutex<Receiver<Step>>>,
    seen: UnboundedSender<Seen>,
}

impl SoloModel for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn answer(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError> {
        let began = Instant::now();
        self.seen.send(Seen::Began(request.id.to_string())).ok();
        let steps = self.steps.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let finish_reason = loop {
            if cancel.is_cancelled() {
                break FinishReason::Cancelled;
            }
            match steps.recv_timeout(Duration::from_millis(1)) {
                Ok(Step::Emit(event)) => emit(event),
                Ok(Step::Finish) => break FinishReason::Stop,
                Ok(Step::Panic) => panic!("the script says panic"),
                Ok(Step::Refuse) => {
                    let message = "`logit_bias` names no token".into();
                    return Err(EngineError::InvalidRequest { param: "logit_bias".into(), message });
                }
                Ok(Step::Hold(until)) => {
                    self.seen.send(Seen::Holds).ok();
                    until.recv().ok();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break FinishReason::Cancelled,
            }
        };
        self.seen.send(Seen::Ended(request.id.to_string(), finish_reason)).ok();
        let usage = Usage { prompt_tokens: 5, completion_tokens: 3, ..Usage::default() };
        let timings = Timings {
            queue: began - accepted_at,
            prefill: Duration::from_millis(10),
            decode: Duration::from_millis(20),
            time_to_first_token: Duration::from_millis(11),
            total: accepted_at.elapsed(),
        };
        Ok(GenerationSummary { finish_reason, stop_sequence: None, usage, timings })
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.seen.send(Seen::Freed).ok();
    }
}

/// A factory of scripted engines, and the script.
pub(crate) fn scripted() -> (GeneratorFactory, Script) {
    let (load, loads) = mpsc::channel();
    let (step, steps) = mpsc::channel();
    let (seen_by_engine, seen) = unbounded_channel();
    let loads = Mutex::new(loads);
    let steps = Arc::new(Mutex::new(steps));
    let factory: GeneratorFactory = Arc::new(move |progress| {
        seen_by_engine.send(Seen::LoadBegan).ok();
        let loads = loads.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let began = Instant::now();
        let mut latest = LoadProgress {
            phase: LoadPhase::Reading,
            done_bytes: 0,
            total_bytes: 0,
            elapsed: Duration::ZERO,
        };
        loop {
            match loads.recv_timeout(Duration::from_millis(1)) {
                Ok(Load::Progress(done_bytes, total_bytes)) => {
                    latest = LoadProgress { done_bytes, total_bytes, ..latest };
                }
                Ok(Load::Succeed) => {
                    let (steps, seen) = (Arc::clone(&steps), seen_by_engine.clone());
                    return Ok(Box::new(OneByOne::new(Scripted { info: info(), steps, seen })));
                }
                Ok(Load::BadCheckpoint) => {
                    let path = "/models/none".into();
                    return Err(CheckpointError::NotADirectory { path, found: "nothing" }.into());
                }
                Ok(Load::DeviceFault) => {
                    let (after, reason) = (Duration::ZERO, "no such device".into());
                    return Err(boca_engine::backend::BackendError::Device { after, reason }.into());
                }
                Ok(Load::Panic) => panic!("the script says panic at load"),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the test is over"),
            }
            progress(LoadProgress { elapsed: began.elapsed(), ..latest });
        }
    });
    (factory, Script { load, step, seen })
}

fn info() -> ModelInfo {
    ModelInfo::unknown(MODEL_NAME)
}

/// Options with short pauses.
pub(crate) fn options(factory: GeneratorFactory) -> ActorsOptions {
    let mut options = ActorsOptions::new(EngineHosting::Thread(factory));
    let at_once = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(5), jitter: 0.0 };
    options.supervision.engine.backoff = at_once;
    options.supervision.actors.backoff = at_once;
    // Whatever else this machine is busy with.
    options.memory.read = Arc::new(MemoryFacts::default);
    options
}

/// Runs a test inside an actix system, with started actors.
pub(crate) fn with_actors<F: Future<Output = ()>>(test: impl FnOnce(Actors, Script) -> F) {
    with_options(|_| {}, test);
}

/// The same with other options.
pub(crate) fn with_options<F: Future<Output = ()>>(
    change: impl FnOnce(&mut ActorsOptions),
    test: impl FnOnce(Actors, Script) -> F,
) {
    let (factory, script) = scripted();
    let mut options = options(factory);
    change(&mut options);
    actix_rt::System::new().block_on(async {
        let actors = boca_actors::start(options);
        test(actors.clone(), script).await;
        actors.drain(Duration::ZERO).await;
    });
}

/// A question whose request has this id.
pub(crate) fn question(id: &str) -> Ask {
    Ask {
        session_id: "session".parse().unwrap(),
        mode: Mode::Auto,
        effort: None,
        strategy: None,
        private: false,
        generate: GenerateRequest::new(request_id(id), vec![ChatMessage::user("hi")], 8, PATIENCE),
    }
}

pub(crate) fn request_id(id: &str) -> RequestId {
    id.parse().unwrap()
}

pub(crate) fn in_time() -> Instant {
    Instant::now() + PATIENCE
}

/// Asks with patience.
pub(crate) async fn ask(actors: &Actors, id: &str) -> Result<AnswerStream, Failure> {
    actors.synthesizer.ask(question(id), in_time()).await
}

/// Reads a stream to its end.
pub(crate) async fn read(mut stream: AnswerStream) -> (Vec<AnswerEvent>, Result<Answer, Failure>) {
    let mut events = Vec::new();
    loop {
        let event = tokio::time::timeout(PATIENCE, stream.next()).await.expect("the stream goes on");
        match event.expect("a stream ends with `Done` or a failure") {
            Ok(AnswerEvent::Done(answer)) => {
                assert!(stream.next().await.is_none());
                return (events, Ok(*answer));
            }
            Ok(event) => events.push(event),
            Err(failure) => {
                assert!(stream.next().await.is_none());
                return (events, Err(failure));
            }
        }
    }
}

/// Asks and reads to the end.
pub(crate) async fn answer(actors: &Actors, id: &str) -> Result<Answer, Failure> {
    read(ask(actors, id).await?).await.1
}

/// Waits until the model's status is as wanted.
pub(crate) async fn until(actors: &Actors, what: &str, is_so: impl Fn(&ModelStatus) -> bool) -> ModelStatus {
    let begun = Instant::now();
    loop {
        let status = actors.model.status();
        if is_so(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}: {status:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn until_state(actors: &Actors, state: ActorState) -> ModelStatus {
    until(actors, state.as_str(), |status| status.state == state).await
}
