//! Makes conversations fit the context before they are queued: nothing is cut that was not allowed to be, and whoever
//! reads the answer is told what it was made without.
//!
//! A summary is written by the model itself from the conversation as it was answered before: its keys and values are
//! mostly still there. Written ahead of need it yields to people; one that a question waits for has that question's
//! priority.

use crate::model_handle::ModelHandle;
use boca_core::{
    ContextCut, ContextPlan, ContextPolicy, ErrorCode, Failure, FinishReason, GenerateRequest,
    GenerationEvent, GenerationUpdate, PreparedPrompt, SamplingOverrides, TurnSummary,
};
use boca_engine::{EngineError, Piece, PromptMaker, Room, TEXT_STACK_BYTES};
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
struct Conversation {
    request: Arc<GenerateRequest>,
    maker: Arc<PromptMaker>,
    /// Tokens of the whole of it.
    whole_tokens: usize,
    /// Tokens that are kept free for the answer.
    answer_tokens: usize,
    context_tokens: u32,
    /// The most tokens of a prompt for a summary.
    piece_tokens: usize,
    /// The most tokens of a summary.
    summary_tokens: u32,
    deadline: Instant,
}

/// How far the summarising of a conversation came.
#[derive(Default)]
struct Summarised {
    /// What there is, and the first place that is not in it.
    known: Option<(usize, TurnSummary)>,
    /// Why it went no further.
    failure: Option<Failure>,
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
        let mut request = Arc::new(request);
        let both = off_thread(&maker, &request, move |maker, request| {
            let answer_tokens = maker.room_for_answer(request, context_tokens)?;
            Ok((maker.prompt_of_any_length(request)?, answer_tokens as usize))
        });
        let (whole, answer_tokens) = both.await?;
        let this = Conversation {
            request: Arc::clone(&request),
            maker,
            whole_tokens: whole.ids.len(),
            answer_tokens,
            context_tokens,
            piece_tokens,
            summary_tokens,
            deadline,
        };
        if this.leaves_room(&whole) {
            drop(this);
            Arc::make_mut(&mut request).prepared = Some(whole);
            return Ok(Fitted::whole(Arc::unwrap_or_clone(request)));
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
    async fn slid(&self, this: &Conversation, known: Option<TurnSummary>) -> Result<Fitted, Failure> {
        let cut = this.cutting(known.is_some()).await?;
        self.cut(this, cut, known).await
    }

    /// With a summary in the place of the oldest turns: the one that is known, as long as it does, else a new one that
    /// takes more of them in. Without one where none can be had.
    async fn summarised(&self, this: &Conversation) -> Result<Fitted, Failure> {
        let known = this.request.context.summary.as_ref();
        let mut known = known.and_then(|summary| Some((this.request.cut_of(summary)?, summary.clone())));
        if let Some((cut, summary)) = &known {
            let told = Arc::new(this.request.cut_at(*cut, Some(summary)));
            let prompt = off_thread(&this.maker, &told, PromptMaker::prompt_of_any_length).await?;
            if this.leaves_room(&prompt) {
                return self.cut(this, *cut, Some(summary.clone())).await;
            }
        }
        let goal = this.cutting(true).await?;
        // One that takes in as much, and does not fit, was written where there was more room.
        known = known.filter(|(cut, _)| *cut < goal);
        // The answer needs its time too.
        let now = Instant::now();
        let half = now + this.deadline.saturating_duration_since(now) / 2;
        let Summarised { known, failure } = self.summary(this, known, goal, half).await;
        match (known, failure) {
            (Some((_, summary)), None) => self.cut(this, goal, Some(summary)).await,
            (_, Some(failure)) if is_final(&failure) => Err(failure),
            (known, failure) => {
                let reason = failure
                    .map_or_else(|| "there was nothing to summarise".into(), |failure| failure.message);
                tracing::warn!(request_id = %this.request.id, reason, "turns are left out that are in no summary");
                let mut fitted = self.slid(this, known.map(|(_, summary)| summary)).await?;
                if let Some(cut) = &mut fitted.cut {
                    cut.no_summary = Some(reason);
                }
                Ok(fitted)
            }
        }
    }

    async fn cut(
        &self,
        this: &Conversation,
        cut: usize,
        summary: Option<TurnSummary>,
    ) -> Result<Fitted, Failure> {
        let report = this.request.cut_report(cut, u32::try_from(this.whole_tokens).unwrap_or(u32::MAX));
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
    /// conversation that is larger than the context is taken in piece by piece; what there is when that goes wrong is kept.
    async fn summary(
        &self,
        this: &Conversation,
        mut known: Option<(usize, TurnSummary)>,
        goal: usize,
        deadline: Instant,
    ) -> Summarised {
        for round in 1.. {
            let from = known.as_ref().map_or(this.request.n_instructions(), |(cut, _)| *cut);
            if from >= goal {
                break;
            }
            let summary = known.as_ref().map(|(_, summary)| summary);
            match self.next_summary(this, summary, (from, goal), round, deadline).await {
                Ok(next) => known = Some(next),
                Err(failure) => return Summarised { known, failure: Some(failure) },
            }
        }
        Summarised { known, failure: None }
    }

    /// Takes one more piece in; gives where it ends.
    async fn next_summary(
        &self,
        this: &Conversation,
        summary: Option<&TurnSummary>,
        from_to: (usize, usize),
        round: usize,
        deadline: Instant,
    ) -> Result<(usize, TurnSummary), Failure> {
        let Piece { to, messages } = this.next_piece(summary, from_to).await?;
        let id = this.request.id.derived(&format!("summary{round}"));
        let time_left = deadline.saturating_duration_since(Instant::now());
        let request = GenerateRequest {
            tools_json: this.request.tools_json.clone(),
            sampling: SamplingOverrides {
                temperature: Some(0.0),
                ..this.request.sampling.unthinking_on_same_prompt()
            },
            // Who waits for the answer waits for this too.
            priority: this.request.priority,
            fairness_key: this.request.fairness_key.clone(),
            is_read_whole: true,
            ..GenerateRequest::new(id, messages, this.summary_tokens, time_left)
        };
        let text = self.written(request, deadline).await?;
        let before_turn = this.request.turn_at(to).unwrap_or_default();
        let model = self.status().info.map(|info| info.name).unwrap_or_default();
        Ok((to, TurnSummary { before_turn, text, model }))
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

impl Conversation {
    /// Whether a prompt leaves room for the answer.
    fn leaves_room(&self, prompt: &PreparedPrompt) -> bool {
        prompt.ids.len().saturating_add(self.answer_tokens) <= self.context_tokens as usize
    }

    /// The first place that is kept.
    async fn cutting(&self, with_summary: bool) -> Result<usize, Failure> {
        let whole_tokens = self.whole_tokens;
        let summary_tokens = with_summary.then_some(self.summary_tokens);
        let room = Room { context_tokens: self.context_tokens, summary_tokens };
        let cut = off_thread(&self.maker, &self.request, move |maker, request| {
            maker.cut_to_fit(request, whole_tokens, room)
        });
        let cut = cut.await?;
        cut.ok_or_else(|| Failure::new(ErrorCode::Internal, "a conversation of one question cannot be cut"))
    }

    async fn next_piece(
        &self,
        summary: Option<&TurnSummary>,
        from_to: (usize, usize),
    ) -> Result<Piece, Failure> {
        // A word has about one and a half tokens.
        let (task, summary) = (summary_task(self.summary_tokens / 2), summary.cloned());
        let most_tokens = self.piece_tokens;
        off_thread(&self.maker, &self.request, move |maker, request| {
            maker.next_piece(request, summary.as_ref(), from_to, &task, most_tokens)
        })
        .await
    }
}

/// Works on a thread that has the stack for it, and holds up nobody.
async fn off_thread<T: Send + 'static>(
    maker: &Arc<PromptMaker>,
    request: &Arc<GenerateRequest>,
    work: impl FnOnce(&PromptMaker, &GenerateRequest) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, Failure> {
    let (reply, done) = oneshot::channel();
    let (maker, request) = (Arc::clone(maker), Arc::clone(request));
    let thread = std::thread::Builder::new().name("boca-context".into()).stack_size(TEXT_STACK_BYTES);
    let thread = thread.spawn(move || {
        let done = work(&maker, &request);
        // Who waits may want it for itself.
        drop(request);
        reply.send(done).ok();
    });
    let lost = |reason: String| Failure::new(ErrorCode::Internal, reason);
    thread.map_err(|error| lost(format!("no thread to cut a conversation: {error}")))?;
    let done = done.await.map_err(|_| lost("the conversation could not be cut".into()))?;
    done.map_err(Failure::from)
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
