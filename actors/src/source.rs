//! Who can be asked: what the model of this machine and every provider have in common.

use boca_core::fusion::SourceFacts;
use boca_core::{
    Availability, EngineLoad, Failure, GenerateRequest, GenerationUpdate, MicroUsd, RequestId, Usage,
};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use std::fmt;
use std::pin::Pin;
use std::time::Instant;

/// The updates of one generation: events, then `Finished` or a failure, then the end. Dropping it cancels the
/// generation where it runs: a provider's connection is closed, the engine's place is free.
pub(crate) type SourceStream = Pin<Box<dyn Stream<Item = Result<GenerationUpdate, Failure>> + Send>>;

/// Someone who can be asked. Everything but [`Source::ask`] answers at once, waits for nobody and wakes nobody.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// What it is.
    fn facts(&self) -> SourceFacts;

    /// Whether it can be asked now.
    fn availability(&self) -> Availability;

    /// How busy it is, where this daemon knows that.
    fn load(&self) -> Option<EngineLoad> {
        None
    }

    /// What these tokens cost, where prices are known.
    fn cost(&self, usage: &Usage) -> Option<MicroUsd>;

    /// Asks. Times count from `arrived`; nothing comes after `deadline`. The future resolves as soon as the request is
    /// accepted (queued here, or answered with a good response head), and dropping it withdraws the request.
    ///
    /// Both instants are read from tokio's clock, which tests can hold.
    fn ask(
        &self,
        request: GenerateRequest,
        arrived: Instant,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<SourceStream, Failure>>;

    /// Tells a running generation to end with the text that it has. False where that is not possible; dropping its
    /// stream ends it all the same, without a summary.
    fn cancel(&self, _id: &RequestId) -> bool {
        false
    }
}
