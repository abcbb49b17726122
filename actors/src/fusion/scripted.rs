//! Sources that follow a script in virtual time, and what tests ask of them afterwards.

use crate::source::{Source, SourceStream};
use crate::synthesizer::SynthesizerShared;
use boca_core::fusion::{FusionSettings, SourceFacts};
use boca_core::{
    Answer, AnswerEvent, Ask, Availability, ChatMessage, EngineLoad, ErrorCode, Failure, FinishReason,
    GenerateRequest, GenerationEvent, GenerationSummary, GenerationUpdate, MicroUsd, Mode, ProviderKind,
    RequestId, SourceTrace, Timings, Usage,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One step of a source.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Wait(u64),
    Say(&'static str),
    Think(&'static str),
    Call(&'static str),
    Finish(FinishReason),
    Fail(ErrorCode),
    /// Not even the request is taken on.
    Refuse(ErrorCode),
    Hang,
}

pub(super) const STOP: Act = Act::Finish(FinishReason::Stop);

/// Waits, says one text, and finishes.
pub(super) fn says(after_ms: u64, text: &'static str) -> Vec<Act> {
    vec![Act::Wait(after_ms), Act::Say(text), STOP]
}

#[derive(Debug)]
pub(super) struct Scripted {
    facts: SourceFacts,
    pub(super) availability: Availability,
    pub(super) load: Option<EngineLoad>,
    /// What it does when it is asked the question itself.
    script: Vec<Act>,
    /// What it does when it is asked for help: by the ending of the request's id.
    helps: Vec<(&'static str, Vec<Act>)>,
    /// Every request that it saw.
    seen: Mutex<Vec<GenerateRequest>>,
    /// Streams that are open.
    open: Arc<AtomicUsize>,
}

impl Scripted {
    pub(super) fn new(name: &str, script: Vec<Act>) -> Self {
        let is_local = name == "local";
        Self {
            facts: SourceFacts {
                name: name.into(),
                kind: if is_local { ProviderKind::Engine } else { ProviderKind::Openai },
                model: Some(format!("{name}-model")),
                is_local,
                is_demo: false,
                supports_continuing: is_local,
            },
            availability: Availability::Available,
            load: None,
            script,
            helps: Vec::new(),
            seen: Mutex::default(),
            open: Arc::default(),
        }
    }

    pub(super) fn helping(mut self, ending: &'static str, script: Vec<Act>) -> Self {
        self.helps.push((ending, script));
        self
    }

    pub(super) fn demo(mut self) -> Self {
        self.facts.is_demo = true;
        self
    }

    pub(super) fn continuing(mut self) -> Self {
        self.facts.supports_continuing = true;
        self
    }

    /// Another name, all else as it is.
    pub(super) fn rename(&mut self, name: &str) {
        self.facts.name = name.into();
        self.facts.model = Some(format!("{name}-model"));
        self.facts.kind = ProviderKind::Ollama;
    }

    /// The requests that it saw.
    pub(super) fn seen(&self) -> Vec<GenerateRequest> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn n_open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Counts an open stream.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn failure(code: ErrorCode) -> Failure {
    Failure::new(code, format!("the script says {code}"))
}

fn summary(finish_reason: FinishReason) -> GenerationSummary {
    let usage = Usage { prompt_tokens: 3, cached_tokens: 0, completion_tokens: 2, reasoning_tokens: 0 };
    GenerationSummary { finish_reason, stop_sequence: None, usage, timings: Timings::default() }
}

impl Source for Scripted {
    fn facts(&self) -> SourceFacts {
        self.facts.clone()
    }

    fn availability(&self) -> Availability {
        self.availability.clone()
    }

    fn load(&self) -> Option<EngineLoad> {
        self.load
    }

    fn cost(&self, usage: &Usage) -> Option<MicroUsd> {
        Some(MicroUsd(u64::from(usage.completion_tokens) * 10))
    }

    fn ask(
        &self,
        request: GenerateRequest,
        _: Instant,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<SourceStream, Failure>> {
        let id = request.id.as_str().to_owned();
        let script =
            self.helps.iter().find(|(ending, _)| id.ends_with(ending)).map_or(&self.script, |(_, acts)| acts);
        let mut acts: VecDeque<Act> = script.clone().into();
        self.seen.lock().unwrap().push(request);
        if let Some(Act::Refuse(code)) = acts.front() {
            return std::future::ready(Err(failure(*code))).boxed();
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&self.open));
        let started = GenerationUpdate::Event(GenerationEvent::Started { prompt_tokens: 3, max_tokens: 100 });
        acts.push_back(Act::Hang);
        let updates = futures_util::stream::unfold((acts, open), |(mut acts, open)| async move {
            loop {
                let event = match acts.pop_front()? {
                    Act::Wait(ms) => {
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        continue;
                    }
                    Act::Say(text) => Ok(GenerationUpdate::Event(GenerationEvent::Text(text.into()))),
                    Act::Think(text) => Ok(GenerationUpdate::Event(GenerationEvent::Reasoning(text.into()))),
                    Act::Call(name) => {
                        let call = boca_core::ToolCall { name: name.into(), arguments_json: "{}".into() };
                        Ok(GenerationUpdate::Event(GenerationEvent::ToolCall(call)))
                    }
                    Act::Finish(reason) => Ok(GenerationUpdate::Finished(summary(reason))),
                    Act::Fail(code) | Act::Refuse(code) => Err(failure(code)),
                    Act::Hang => std::future::pending().await,
                };
                return Some((event, (acts, open)));
            }
        });
        let started = futures_util::stream::iter([Ok(started)]);
        let over = async move {
            tokio::time::sleep_until(deadline.into()).await;
            Err(failure(ErrorCode::DeadlineExceeded))
        };
        let updates = futures_util::stream::select(started.chain(updates), over.into_stream());
        std::future::ready(Ok(Box::pin(updates) as SourceStream)).boxed()
    }
}

/// What a question gave.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) events: Vec<AnswerEvent>,
    pub(super) end: Result<Answer, Failure>,
    pub(super) took: Duration,
    /// When the first text was shown.
    pub(super) first_text: Option<Duration>,
}

impl Told {
    pub(super) fn answer(&self) -> &Answer {
        let answer = self.end.as_ref().unwrap_or_else(|failure| panic!("no answer: {failure}"));
        // The text of an answer is what was shown of it since its last beginning, whatever happened on the way.
        let mut shown = String::new();
        for event in &self.events {
            match event {
                AnswerEvent::Text(more) => shown.push_str(more),
                AnswerEvent::Restart(_) => shown.clear(),
                _ => {}
            }
        }
        assert_eq!(shown, answer.text);
        answer
    }

    pub(super) fn failure(&self) -> &Failure {
        self.end.as_ref().expect_err("there should be no answer")
    }

    pub(super) fn source(&self, provider: &str) -> SourceTrace {
        let trace = |event: &AnswerEvent| match event {
            AnswerEvent::Source(trace) if trace.provider == provider => Some(trace.clone()),
            _ => None,
        };
        self.events.iter().rev().find_map(trace).expect("the source was asked")
    }

    pub(super) fn says_why(&self, part: &str) -> bool {
        self.answer().trace.reasons.iter().any(|reason| reason.contains(part))
    }
}

pub(super) fn question(id: &str, mode: Mode) -> Ask {
    Ask {
        session_id: "session".parse().unwrap(),
        mode,
        effort: None,
        strategy: None,
        private: false,
        generate: GenerateRequest::new(
            id.parse().unwrap(),
            vec![ChatMessage::user("What is the capital of Australia?")],
            100,
            Duration::from_secs(60),
        ),
    }
}

/// A handful of sources and settings.
pub(super) struct Stage {
    pub(super) sources: Vec<Arc<Scripted>>,
    pub(super) shared: SynthesizerShared,
}

impl Stage {
    pub(super) fn new(sources: Vec<Scripted>) -> Self {
        Self::with(sources, |_| {})
    }

    pub(super) fn with(sources: Vec<Scripted>, change: impl FnOnce(&mut FusionSettings)) -> Self {
        let sources: Vec<Arc<Scripted>> = sources.into_iter().map(Arc::new).collect();
        let mut settings = FusionSettings::default();
        change(&mut settings);
        let as_sources = sources.iter().map(|source| Arc::clone(source) as Arc<dyn Source>).collect();
        Self { sources, shared: SynthesizerShared::new(as_sources, settings) }
    }

    pub(super) fn source(&self, name: &str) -> &Scripted {
        self.sources.iter().find(|source| source.facts.name == name).expect("it is on the stage")
    }

    pub(super) async fn ask(&self, ask: Ask) -> Told {
        let arrived = super::now();
        let deadline = arrived + ask.generate.time_left;
        let begun = match self.shared.prepare(ask, arrived, deadline) {
            Ok(question) => self.shared.begin(question).await,
            Err(failure) => Err(failure),
        };
        let (mut events, mut first_text) = (Vec::new(), None);
        let end = match begun {
            Err(failure) => Err(failure),
            Ok(mut stream) => loop {
                match stream.next().await.expect("a stream ends with an answer or a failure") {
                    Ok(AnswerEvent::Done(answer)) => {
                        assert!(stream.next().await.is_none());
                        break Ok(*answer);
                    }
                    Ok(event) => {
                        if matches!(event, AnswerEvent::Text(_)) {
                            first_text.get_or_insert_with(|| super::now() - arrived);
                        }
                        events.push(event);
                    }
                    Err(failure) => {
                        assert!(stream.next().await.is_none());
                        break Err(failure);
                    }
                }
            },
        };
        let told = Told { events, end, took: super::now() - arrived, first_text };
        // Whatever happened, nothing goes on after the end.
        for source in &self.sources {
            assert_eq!(source.n_open(), 0, "`{}` still works: {told:?}", source.facts.name);
        }
        assert_eq!(self.shared.running.n_running(), 0);
        told
    }

    pub(super) async fn ask_in(&self, mode: Mode) -> Told {
        self.ask(question("q", mode)).await
    }

    pub(super) fn cancel(&self, id: &str) -> bool {
        let id: RequestId = id.parse().unwrap();
        self.shared.running.cancel(&id)
    }
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
