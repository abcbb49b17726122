//! Makes the prompts of requests before they are queued, off the engine's thread.
//!
//! What is out of bounds, or does not fit the context, is refused here, before it waits for anything. Requests that come
//! while others are being tokenised are tokenised together next. Where the text files cannot be read the engine is left
//! to say so, and to make its prompts itself.

use boca_core::{Failure, GenerateRequest, PreparedPrompt};
use boca_engine::{EngineError, PromptMaker, PromptMakerFactory, TEXT_STACK_BYTES};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{oneshot, watch};

/// The one desk of a model. Clones share it.
#[derive(Clone)]
pub(crate) struct PromptDesk(Arc<Shared>);

struct Shared {
    factory: Option<PromptMakerFactory>,
    maker: watch::Sender<Maker>,
    /// How often the text files were read, or begun to be.
    n_opened: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// The text files.
#[derive(Debug, Clone)]
enum Maker {
    /// They are to be read when the model begins to load, or are being read.
    Awaited,
    Ready(Arc<PromptMaker>),
    /// There are none, or they cannot be read.
    Absent,
}

#[derive(Default)]
struct Waiting {
    next_batch: Vec<(GenerateRequest, Reply)>,
    /// A thread is at work and will take what waits.
    is_served: bool,
}

type Reply = oneshot::Sender<Result<PreparedPrompt, EngineError>>;

impl std::fmt::Debug for PromptDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromptDesk").field("maker", &*self.0.maker.borrow()).finish_non_exhaustive()
    }
}

impl PromptDesk {
    /// A desk whose text files are read by [`Self::open`].
    pub(crate) fn new(factory: Option<PromptMakerFactory>) -> Self {
        let maker = if factory.is_some() { Maker::Awaited } else { Maker::Absent };
        Self(Arc::new(Shared {
            factory,
            maker: watch::Sender::new(maker),
            n_opened: 0.into(),
            waiting: Mutex::default(),
        }))
    }

    /// Begins to read the text files, which may have changed since they were read last; the old ones serve until then, and
    /// longer when the new ones cannot be read.
    pub(crate) fn open(&self) {
        let Some(factory) = self.0.factory.clone() else { return };
        let shared = Arc::clone(&self.0);
        let number = shared.n_opened.fetch_add(1, Ordering::AcqRel) + 1;
        let started = thread("boca-text-files").spawn(move || {
            let read = factory();
            if let Err(error) = &read {
                tracing::warn!(%error, "prompts cannot be made before they reach the engine");
            }
            shared.maker.send_modify(|maker| {
                let is_newest = shared.n_opened.load(Ordering::Acquire) == number;
                match read {
                    Ok(read) if is_newest => *maker = Maker::Ready(Arc::new(read)),
                    Err(_) if is_newest && matches!(maker, Maker::Awaited) => *maker = Maker::Absent,
                    _ => {}
                }
            });
        });
        if let Err(error) = started {
            tracing::warn!(%error, "no thread to read the text files");
            self.0.maker.send_if_modified(|maker| {
                let is_awaited = matches!(maker, Maker::Awaited);
                if is_awaited {
                    *maker = Maker::Absent;
                }
                is_awaited
            });
        }
    }

    /// The text files, once they have been read; `None` when there are none, or not in time.
    pub(crate) async fn maker(&self, deadline: Instant) -> Option<Arc<PromptMaker>> {
        let mut maker = self.0.maker.subscribe();
        let read = maker.wait_for(|maker| !matches!(maker, Maker::Awaited));
        match tokio::time::timeout_at(deadline.into(), read).await {
            Ok(Ok(maker)) => match &*maker {
                Maker::Ready(maker) => Some(Arc::clone(maker)),
                Maker::Awaited | Maker::Absent => None,
            },
            _ => None,
        }
    }

    /// Gives a request its prompt; leaves it as it is when that cannot be done here.
    ///
    /// # Errors
    /// `InvalidRequest` and `ContextLengthExceeded`, as the engine would say it.
    pub(crate) async fn prepare(
        &self,
        mut request: GenerateRequest,
        deadline: Instant,
    ) -> Result<GenerateRequest, Failure> {
        if request.prepared.is_some() {
            return Ok(request);
        }
        let Some(maker) = self.maker(deadline).await else { return Ok(request) };
        let (reply, prepared) = oneshot::channel();
        let is_served = {
            let mut waiting = self.lock();
            waiting.next_batch.push((request.clone(), reply));
            std::mem::replace(&mut waiting.is_served, true)
        };
        if !is_served {
            // Made before the thread: where there is none, it is dropped with the closure.
            let service = Service { desk: self.clone(), is_over: false };
            if let Err(error) = thread("boca-prompts").spawn(move || service.serve(&maker)) {
                tracing::warn!(%error, "no thread to make prompts");
            }
        }
        match tokio::time::timeout_at(deadline.into(), prepared).await {
            Ok(Ok(Ok(prepared))) => request.prepared = Some(prepared),
            Ok(Ok(Err(error))) => return Err(error.into()),
            // The queue says what a passed deadline means; a tokenizer that panicked may do better in the engine.
            Ok(Err(_)) | Err(_) => {}
        }
        Ok(request)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.into()).stack_size(TEXT_STACK_BYTES)
}

/// Who makes prompts until nobody waits. Ended before that, by a tokenizer that panics or for want of a thread, it lets
/// those go on who wait, and the next request finds somebody else.
struct Service {
    desk: PromptDesk,
    is_over: bool,
}

impl Service {
    fn serve(mut self, maker: &PromptMaker) {
        loop {
            let batch = {
                let mut waiting = self.desk.lock();
                if waiting.next_batch.is_empty() {
                    waiting.is_served = false;
                    break;
                }
                std::mem::take(&mut waiting.next_batch)
            };
            let (requests, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            for (reply, prepared) in replies.into_iter().zip(maker.prepare_all(&requests)) {
                // Nobody waits for it any more after its deadline.
                reply.send(prepared).ok();
            }
        }
        self.is_over = true;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.is_over {
            *self.desk.lock() = Waiting::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::{ChatMessage, ErrorCode};
    use boca_engine::ModelSource;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    fn demo_model() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo-model")
    }

    fn desk(directory: PathBuf, context_tokens: u32) -> PromptDesk {
        let source = ModelSource::Directory(directory);
        PromptDesk::new(Some(Arc::new(move || PromptMaker::open(&source, Some(context_tokens)))))
    }

    fn request(id: usize, question: &str) -> GenerateRequest {
        let messages = vec![ChatMessage::user(question)];
        GenerateRequest::new(format!("r{id}").parse().unwrap(), messages, 8, Duration::from_secs(60))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn everyone_gets_the_tokens_of_their_own_question() {
        let desk = desk(demo_model(), 512);
        let early = tokio::spawn({
            let desk = desk.clone();
            async move { desk.prepare(request(0, "early"), soon()).await }
        });
        desk.open();
        assert!(early.await.unwrap().unwrap().prepared.is_some(), "it waits for the files");
        let questions: Vec<String> = (0..40).map(|n| "word ".repeat(n)).collect();
        let prepared = questions.iter().enumerate().map(|(n, text)| desk.prepare(request(n, text), soon()));
        let prepared = futures_util::future::join_all(prepared).await;
        let maker = desk.maker(soon()).await.unwrap();
        for (n, prepared) in prepared.into_iter().enumerate() {
            let prepared = prepared.unwrap();
            assert_eq!(prepared.id.as_str(), format!("r{n}"));
            assert_eq!(prepared.prepared, Some(maker.prepare(&request(n, &questions[n])).unwrap()));
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_before_it_is_queued() {
        let desk = desk(demo_model(), 32);
        desk.open();
        let failure = desk.prepare(request(0, &"word ".repeat(100)), soon()).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::ContextLengthExceeded);
        assert!(failure.message.contains("32"), "{failure}");
    }

    #[tokio::test]
    async fn without_text_files_the_engine_is_left_to_it() {
        for desk in [PromptDesk::new(None), desk("/nowhere".into(), 32)] {
            desk.open();
            assert_eq!(desk.prepare(request(0, "hi"), soon()).await.unwrap(), request(0, "hi"));
        }
        // Never opened: the deadline ends the wait, and the queue says so.
        let desk = desk(demo_model(), 32);
        let at_once = Instant::now();
        assert_eq!(desk.prepare(request(0, "hi"), at_once).await.unwrap(), request(0, "hi"));
    }
}
