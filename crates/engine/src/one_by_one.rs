//! Models that answer one request at a time, as generators.

use crate::EngineError;
use crate::generator::{CancelToken, Generator, Report, ReportSink};
use boca_core::{GenerateRequest, GenerationEvent, GenerationSummary, ModelInfo};
use std::collections::VecDeque;
use std::time::Instant;

/// A model that answers one request from its beginning to its end.
pub trait SoloModel {
    /// What is loaded.
    fn info(&self) -> &ModelInfo;

    /// Answers `request`, reporting through `emit` as it goes, until it is done or `cancel` says so.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn answer(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError>;
}

/// Such a model as a generator: a step is a whole answer.
#[derive(Debug)]
pub struct OneByOne<M> {
    model: M,
    waiting: VecDeque<(GenerateRequest, Instant, CancelToken)>,
}

impl<M> OneByOne<M> {
    /// Makes a generator of `model`.
    pub fn new(model: M) -> Self {
        Self { model, waiting: VecDeque::new() }
    }
}

impl<M: SoloModel> Generator for OneByOne<M> {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn capacity(&self) -> usize {
        1
    }

    fn n_running(&self) -> usize {
        self.waiting.len()
    }

    fn begin(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        _report: ReportSink<'_>,
    ) {
        self.waiting.push_back((request.clone(), accepted_at, cancel.clone()));
    }

    fn step(&mut self, report: ReportSink<'_>) {
        let Some((request, accepted_at, cancel)) = self.waiting.pop_front() else { return };
        let end = self.model.answer(&request, accepted_at, &cancel, &mut |event| {
            report(&request.id, Report::Event(event));
        });
        report(&request.id, Report::Ended(end));
    }
}
