//! Holds the OpenAI-compatible client against a real server that nobody here wrote. Exits non-zero when anything
//! differs from what the client promises.
//!
//!     check_openai_server BASE_URL MODEL [usage-in-streams] [refusals] [small-context] [continues]
//!
//! The words say what this server can do.

#![allow(clippy::print_stdout, reason = "the report is this program's output")]

use boca_core::{
    ChatMessage, ErrorCode, FinishReason, GenerateRequest, GenerationEvent, GenerationSummary,
    GenerationUpdate, ProviderKind, SamplingOverrides,
};
use boca_providers::{AskOptions, AttemptClass, AttemptError, Endpoint, HttpProvider};
use futures_util::StreamExt;
use std::error::Error;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);
const N_TOKENS: u32 = 24;

struct Answer {
    pieces: Vec<String>,
    summary: GenerationSummary,
}

impl Answer {
    fn text(&self) -> String {
        self.pieces.concat()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base_url, model, abilities @ ..] = arguments.as_slice() else {
        return Err("usage: check_openai_server BASE_URL MODEL [ABILITY]...".into());
    };
    let can = |ability: &str| abilities.iter().any(|known| known == ability);
    let mut endpoint = Endpoint::new("checked", ProviderKind::Openai, model);
    endpoint.base_url.clone_from(base_url);
    endpoint.continues_answers = can("continues");
    let provider = HttpProvider::new(endpoint.clone())?;

    let models = wait_until_ready(&provider).await?;
    report("it lists its models", !models.is_empty(), &models)?;

    let streamed = answer(&provider, &request()?, false).await?;
    report("a streamed answer has text", !streamed.text().is_empty(), &streamed.text())?;
    report("it comes in pieces", streamed.pieces.len() > 1, &streamed.pieces)?;
    let reason = streamed.summary.finish_reason;
    report(
        "it ends for a known reason",
        matches!(reason, FinishReason::Length | FinishReason::Stop),
        &reason,
    )?;
    let usage = streamed.summary.usage;
    if can("usage-in-streams") {
        let is_counted = usage.prompt_tokens > 0 && (1..=N_TOKENS).contains(&usage.completion_tokens);
        report("tokens are counted", is_counted, &usage)?;
    }

    let whole = answer(&provider, &request()?, true).await?;
    report("a whole answer is the same text", whole.text() == streamed.text(), &whole.text())?;
    let usage = whole.summary.usage;
    report("its tokens are counted", usage.prompt_tokens > 0 && usage.completion_tokens > 0, &usage)?;

    let stop = stop_string(&streamed.pieces).ok_or("the answer is too short to stop within")?;
    let stopped =
        answer(&provider, &GenerateRequest { stop: vec![stop.clone()], ..request()? }, false).await?;
    let is_prefix = streamed.text().starts_with(&stopped.text()) && !stopped.text().contains(&stop);
    report("a stop string ends the answer", is_prefix, &(&stop, stopped.text()))?;
    let reason = stopped.summary.finish_reason;
    report("and is named as the reason", reason == FinishReason::Stop, &reason)?;

    let mut impossible = request()?;
    impossible.sampling.temperature = Some(-1.0);
    impossible.sampling.top_p = Some(5.0);
    let refused = error(&provider, &impossible, false).await?;
    // llama-cpp-python calls it a failure of its own.
    let is_refused = refused.class == AttemptClass::Refused || !can("refusals");
    report("an impossible field is an error", is_refused, &refused)?;
    if can("small-context") {
        let long = GenerateRequest { messages: vec![ChatMessage::user("word ".repeat(3000))], ..request()? };
        // Not streamed: llama-cpp-python ends such a stream without a word.
        let refused = error(&provider, &long, true).await?;
        let is_told = refused.failure.code == ErrorCode::ContextLengthExceeded;
        report("a prompt that does not fit is told from other errors", is_told, &refused)?;
    }
    endpoint.base_url = format!("{base_url}/nowhere");
    let refused = error(&HttpProvider::new(endpoint)?, &request()?, false).await?;
    report("a wrong path is refused", refused.class == AttemptClass::Refused, &refused)?;

    if can("continues") {
        let middle = streamed.text().char_indices().nth(4).map_or(0, |(at, _)| at);
        let answer_so_far = streamed.text()[..middle].to_owned();
        let rest = answer(&provider, &GenerateRequest { answer_so_far, ..request()? }, false).await?;
        report("an answer is continued", !rest.text().is_empty(), &rest.text())?;
    }

    {
        let mut stream =
            provider.attempt(&request()?, &AskOptions::default(), Instant::now() + LIMIT).await?;
        stream.next().await.ok_or("a stream without anything")??;
    }
    let after = answer(&provider, &request()?, false).await?;
    report("it answers after a stream was dropped", after.text() == streamed.text(), &after.text())?;
    println!("all is well with {base_url}");
    Ok(())
}

fn request() -> Result<GenerateRequest, Box<dyn Error>> {
    Ok(GenerateRequest {
        sampling: SamplingOverrides {
            temperature: Some(0.0),
            thinking: Some(false),
            ..SamplingOverrides::default()
        },
        max_tokens: Some(N_TOKENS),
        ..GenerateRequest::new(
            "check".parse()?,
            vec![ChatMessage::user("What is the capital of France?")],
            N_TOKENS,
            LIMIT,
        )
    })
}

/// A piece from the middle that has not occurred before. A whole piece, because mlx_lm.server compares tokens: it takes
/// half of one for the beginning of a stop string and then swallows it.
fn stop_string(pieces: &[String]) -> Option<String> {
    let is_new = |(at, piece): &(usize, &String)| {
        let word = piece.trim();
        *at >= 2
            && !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_graphic())
            && !pieces[..*at].concat().contains(piece.as_str())
    };
    pieces.iter().enumerate().find(is_new).map(|(_, piece)| piece.clone())
}

async fn wait_until_ready(provider: &HttpProvider) -> Result<Vec<String>, Box<dyn Error>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match provider.probe(Duration::from_secs(2)).await {
            Ok(models) => return Ok(models),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(
    provider: &HttpProvider,
    request: &GenerateRequest,
    unary: bool,
) -> Result<Answer, AttemptError> {
    let options = AskOptions { unary, ..AskOptions::default() };
    let mut stream = provider.attempt(request, &options, Instant::now() + LIMIT).await?;
    let mut pieces = Vec::new();
    while let Some(update) = stream.next().await {
        match update? {
            GenerationUpdate::Event(GenerationEvent::Text(text)) => pieces.push(text),
            GenerationUpdate::Event(_) => {}
            GenerationUpdate::Finished(summary) => return Ok(Answer { pieces, summary }),
        }
    }
    Err(AttemptError::new(AttemptClass::Malformed, "the stream ended without a summary"))
}

async fn error(
    provider: &HttpProvider,
    request: &GenerateRequest,
    unary: bool,
) -> Result<AttemptError, Box<dyn Error>> {
    match answer(provider, request, unary).await {
        Ok(answer) => Err(format!("this must fail and gave {:?}", answer.text()).into()),
        Err(error) => Ok(error),
    }
}

fn report(what: &str, is_right: bool, shown: &dyn std::fmt::Debug) -> Result<(), Box<dyn Error>> {
    println!("  {}{what}: {shown:?}", if is_right { "" } else { "WRONG: " });
    if is_right { Ok(()) } else { Err(format!("{what}: it is not so").into()) }
}
