//! Makes conversations fit the context before they are queued: nothing is cut that was not allowed to be, and whoever
//! reads the answer is told what it was made without.
//!
//! A summary is written by the model itself, as work that yields to people, from the conversation as it was answered
//! before: its keys and values are mostly still there.

use crate::model_handle::ModelHandle;
use boca_core::{
    ContextCut, ContextPlan, ContextPolicy, ErrorCode, Failure, FinishReason, GenerateRequest,
    GenerationEvent, GenerationUpdate, Priority, SamplingOverrides, TurnSummary,
};
use boca_engine::{Cutting, EngineError, Piece, PromptMaker, TEXT_STACK_BYTES};
use futures_util::TryStreamExt;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// The most tokens of a summary, and the most of the context that it may take.
const SUMMARY_TOKENS: u32 = 1024;
const SUMMARY_PART: u32 = 8;
/// A conversation is summarised ahead of its need when it fills this part of the context.
const FULL: (u32, u32) = (3, 4);

/// A request that fits, as far as it can be made to.
#[derive(Debug)]
pub(crate) struct Fitted {
    /// The request, with its prompt.
    pub(crate) request: GenerateRequest,
    /// What it is answered without.
    pub(crate) cut: Option<ContextCut>,
}

impl Fitted {
    fn whole(request: GenerateRequest) -> Self {
        Self { request, cut: None }
    }
}

/// A conversation, and the room there is for it.
struct Conversation<'a> {
    request: &'a GenerateRequest,
    maker: Arc<PromptMaker>,
    context_tokens: u32,
    /// The most tokens of a prompt for a summary.
    piece_tokens: usize,
    /// The most tokens of a summary.
    summary_tokens: u32,
    deadline: Instant,
}

impl ModelHandle {
    /// Gives a request its prompt, made to fit as its plan allows.
    ///
    /// # Errors
    /// `InvalidRequest`; `ContextLengthExceeded` where it does not fit, or not even what must be kept.
    pub(crate) async fn fit(&self, request: GenerateRequest, deadline: Instant) -> Result<Fitted, Failure> {
        let fitted = self.fit_into(request, u32::MAX, deadline).await?;
        // The engine has no use for it.
        let request = GenerateRequest { context: ContextPlan::default(), ..fitted.request };
        Ok(Fitted { request, ..fitted })
    }

    /// Summarises the oldest turns of a conversation that will soon not fit any more, when its plan wants that. `request`
    /// is the conversation with a question still to come. `None` when there is no need; the summary of its plan where that
    /// will do.
    ///
    /// # Errors
    /// As for a generation.
    pub async fn summarise_ahead(
        &self,
        request: GenerateRequest,
        deadline: Instant,
    ) -> Result<Option<TurnSummary>, Failure> {
        let Some(maker) = self.prompts(deadline).await else { return Ok(None) };
        let soon = self.context_tokens(&maker) / FULL.1 * FULL.0;
        let fitted = self.fit_into(request, soon, deadline).await?;
        match fitted.cut {
            Some(ContextCut { no_summary: Some(reason), .. }) => {
                Err(Failure::new(ErrorCode::EngineFailed, reason))
            }
            cut => Ok(cut.and_then(|cut| cut.summary)),
        }
    }

    async fn fit_into(
        &self,
        request: GenerateRequest,
        most_tokens: u32,
        deadline: Instant,
    ) -> Result<Fitted, Failure> {
        let prompts = &self.shared().prompts;
        let may_be_cut = !request.cuts().is_empty();
        if request.context.policy == ContextPolicy::Refuse || !may_be_cut {
            return prompts.prepare(request, deadline).await.map(Fitted::whole).map_err(|failure| {
                if failure.code != ErrorCode::ContextLengthExceeded || !may_be_cut {
                    return failure;
                }
                let message = format!(
                    "{}; with `context_policy` \"sliding\" or \"summarise\" the oldest turns are left out",
                    failure.message
                );
                Failure { message, ..failure }
            });
        }
        let Some(maker) = self.prompts(deadline).await else { return Ok(Fitted::whole(request)) };
        let all_tokens = self.context_tokens(&maker);
        let context_tokens = all_tokens.min(most_tokens);
        let summary_tokens = SUMMARY_TOKENS.min(context_tokens / SUMMARY_PART).max(1);
        let piece_tokens = all_tokens.saturating_sub(summary_tokens) as usize;
        let this =
            Conversation { request: &request, maker, context_tokens, piece_tokens, summary_tokens, deadline };
        match prompts.prepare(request.clone(), deadline).await {
            Ok(whole) if this.leaves_room(&whole) => return Ok(Fitted::whole(whole)),
            Ok(_) => {}
            Err(failure) if failure.code == ErrorCode::ContextLengthExceeded => {}
            Err(failure) => return Err(failure),
        }
        match request.context.policy {
            ContextPolicy::Summarise => self.summarised(&this).await,
            ContextPolicy::Sliding | ContextPolicy::Refuse => self.slid(&this, None).await,
        }
    }

    /// What the context holds, and the memory for keys and values.
    fn context_tokens(&self, maker: &PromptMaker) -> u32 {
        let by_memory = self.generator_load().and_then(|load| {
            let tokens = load.kv_limit_bytes?.checked_div(load.kv_bytes_per_token)?;
            u32::try_from(tokens).ok()
        });
        by_memory.map_or(maker.context_tokens(), |tokens| tokens.min(maker.context_tokens()))
    }

    /// Without the oldest turns. A summary that is known of some of them is told.
    async fn slid(&self, this: &Conversation<'_>, known: Option<&TurnSummary>) -> Result<Fitted, Failure> {
        let told = known.map_or(0, |_| this.summary_tokens);
        let Cutting { cut, whole_tokens } = this.cutting(told).await?;
        self.cut(this, cut, whole_tokens, known.cloned()).await
    }

    /// With a summary in the place of the oldest turns: the one that is known, as long as it does, else a new one that
    /// takes more of them in. Without one where none can be had.
    async fn summarised(&self, this: &Conversation<'_>) -> Result<Fitted, Failure> {
        let known = this.request.context.summary.as_ref();
        let known = known.and_then(|summary| Some((this.request.cut_of(summary)?, summary.clone())));
        let Cutting { cut: goal, whole_tokens } = this.cutting(this.summary_tokens).await?;
        if let Some((cut, summary)) = &known {
            let told = this.request.cut_at(*cut, Some(summary));
            let fits = match self.shared().prompts.prepare(told, this.deadline).await {
                Ok(told) => this.leaves_room(&told),
                Err(failure) if failure.code == ErrorCode::ContextLengthExceeded => false,
                Err(failure) => return Err(failure),
            };
            if fits || *cut >= goal {
                return self.cut(this, *cut, whole_tokens, Some(summary.clone())).await;
            }
        }
        // The answer needs its time too.
        let now = Instant::now();
        let half = now + this.deadline.saturating_duration_since(now) / 2;
        match self.summary(this, known.clone(), goal, half).await {
            Ok(summary) => self.cut(this, goal, whole_tokens, Some(summary)).await,
            Err(failure) if is_final(&failure) => Err(failure),
            Err(failure) => {
                tracing::warn!(request_id = %this.request.id, %failure, "no summary of the turns that are left out");
                let known = known.map(|(_, summary)| summary);
                let mut fitted = self.slid(this, known.as_ref()).await?;
                if let Some(cut) = &mut fitted.cut {
                    cut.no_summary = Some(failure.message);
                }
                Ok(fitted)
            }
        }
    }

    async fn cut(
        &self,
        this: &Conversation<'_>,
        cut: usize,
        whole_tokens: usize,
        summary: Option<TurnSummary>,
    ) -> Result<Fitted, Failure> {
        let report = this.request.cut_report(cut, u32::try_from(whole_tokens).unwrap_or(u32::MAX));
        let request = this.request.cut_at(cut, summary.as_ref());
        let prepared = self.shared().prompts.prepare(request, this.deadline).await;
        let request = prepared.map_err(|failure| match failure.code {
            ErrorCode::ContextLengthExceeded => {
                let (first, last) = (report.first_turn, report.last_turn);
                let message = format!("{}, also without the turns {first} to {last}", failure.message);
                Failure { message, ..failure }
            }
            _ => failure,
        })?;
        Ok(Fitted { request, cut: Some(ContextCut { summary, ..report }) })
    }

    /// A summary of the turns before `goal`, made from the one of the turns before `known`, if there is one. A
    /// conversation that is larger than the context is taken in piece by piece.
    async fn summary(
        &self,
        this: &Conversation<'_>,
        known: Option<(usize, TurnSummary)>,
        goal: usize,
        deadline: Instant,
    ) -> Result<TurnSummary, Failure> {
        let first = this.request.cut_report(goal, 0).n_turns as usize;
        let (mut from, mut summary) = match known {
            Some((cut, summary)) => (cut, Some(summary)),
            None => (goal - first, None),
        };
        let mut round = 0;
        while from < goal {
            round += 1;
            let Piece { to, messages } = this.next_piece(from, goal, summary.as_ref()).await?;
            let id = this.request.id.derived(&format!("summary{round}"));
            let time_left = deadline.saturating_duration_since(Instant::now());
            let request = GenerateRequest {
                tools_json: this.request.tools_json.clone(),
                sampling: SamplingOverrides {
                    temperature: Some(0.0),
                    ..this.request.sampling.unthinking_on_same_prompt()
                },
                priority: Priority::Background,
                fairness_key: this.request.fairness_key.clone(),
                is_read_whole: true,
                ..GenerateRequest::new(id, messages, this.summary_tokens, time_left)
            };
            let text = self.written(request, deadline).await?;
            let before_turn = this.request.turn_at(to).unwrap_or_default();
            let model = self.status().info.map(|info| info.name).unwrap_or_default();
            summary = Some(TurnSummary { before_turn, text, model });
            from = to;
        }
        summary.ok_or_else(|| Failure::new(ErrorCode::Internal, "there is nothing to be summarised"))
    }

    /// The whole text of a generation.
    async fn written(&self, request: GenerateRequest, deadline: Instant) -> Result<String, Failure> {
        let accepted_at = Instant::now();
        let request = self.shared().prompts.prepare(request, deadline).await?;
        let mut stream = self.queue_up(request, accepted_at, deadline).await?;
        let mut text = String::new();
        while let Some(update) = stream.try_next().await? {
            match update {
                GenerationUpdate::Event(GenerationEvent::Text(more)) => text.push_str(&more),
                GenerationUpdate::Event(_) => {}
                GenerationUpdate::Finished(summary) => match summary.finish_reason {
                    FinishReason::Stop | FinishReason::Length if !text.trim().is_empty() => {
                        return Ok(text.trim().to_owned());
                    }
                    FinishReason::Stop | FinishReason::Length => break,
                    reason => {
                        let message = format!("the summary ended early: {}", reason.as_str());
                        return Err(Failure::new(ErrorCode::EngineFailed, message));
                    }
                },
            }
        }
        Err(Failure::new(ErrorCode::EngineFailed, "the summary was empty"))
    }
}

impl Conversation<'_> {
    /// Whether a request fits with room for its answer. One without a prompt is left to the engine.
    fn leaves_room(&self, request: &GenerateRequest) -> bool {
        let room = self.maker.room_for_answer(request, self.context_tokens) as usize;
        let prompt = request.prepared.as_ref();
        prompt.is_none_or(|prompt| prompt.ids.len().saturating_add(room) <= self.context_tokens as usize)
    }

    async fn cutting(&self, more: u32) -> Result<Cutting, Failure> {
        let (request, context_tokens) = (self.request.clone(), self.context_tokens);
        let cutting = self.off_thread(move |maker| maker.cut_to_fit(&request, context_tokens, more)).await?;
        cutting
            .ok_or_else(|| Failure::new(ErrorCode::Internal, "a conversation of one question cannot be cut"))
    }

    async fn next_piece(
        &self,
        from: usize,
        goal: usize,
        summary: Option<&TurnSummary>,
    ) -> Result<Piece, Failure> {
        let (request, earlier) = (self.request.clone(), self.request.cut_at(from, summary));
        let most_tokens = self.piece_tokens;
        // A word has about one and a half tokens.
        let task = summary_task(self.summary_tokens / 2);
        self.off_thread(move |maker| maker.next_piece(&request, &earlier, (from, goal), &task, most_tokens))
            .await
    }

    /// Works on a thread that has the stack for it, and holds up nobody.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&PromptMaker) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, done) = oneshot::channel();
        let maker = Arc::clone(&self.maker);
        let thread = std::thread::Builder::new().name("boca-context".into()).stack_size(TEXT_STACK_BYTES);
        let thread = thread.spawn(move || drop(reply.send(work(&maker))));
        let lost = |reason: String| Failure::new(ErrorCode::Internal, reason);
        thread.map_err(|error| lost(format!("no thread to cut a conversation: {error}")))?;
        let done = done.await.map_err(|_| lost("the conversation could not be cut".into()))?;
        done.map_err(Failure::from)
    }
}

fn summary_task(most_words: u32) -> String {
    format!(
        "There is no more room for the conversation so far, so it will be replaced by a summary. Write that summary, in \
         the language of the conversation and in at most {most_words} words: what I asked for, what came of it, what was \
         decided, every name, number and piece of text that is still needed, and what is still open. If the conversation \
         begins with a summary, take it in. Reply with the summary and nothing else, and answer no question."
    )
}

/// Whether nothing else helps either.
fn is_final(failure: &Failure) -> bool {
    matches!(failure.code, ErrorCode::Cancelled | ErrorCode::ShuttingDown)
}
