//! `boca feedback`.

use crate::clean::for_one_line;
use crate::connect;
use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use boca_api::FeedbackRequest;

/// Options of `boca feedback`.
#[derive(Debug, Clone, clap::Args)]
pub struct FeedbackArgs {
    /// The answer: its request id, as `boca chat --json` and `boca compare` show it
    #[arg(value_name = "ID")]
    pub request_id: String,

    /// What it was
    #[arg(value_name = "good|bad", value_parser = ["good", "bad"])]
    pub verdict: String,

    /// Print the API's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Notes the verdict.
pub(crate) async fn run(
    args: &FeedbackArgs,
    context: &ClientContext,
    console: &mut Console,
) -> Result<Exit, Ended> {
    let client = connect::require(context).await?;
    let request = FeedbackRequest { request_id: args.request_id.clone(), verdict: args.verdict.clone() };
    let reply = client.feedback(&request).await?;
    if args.json {
        console.json(&reply.json)?;
        return Ok(Exit::Done);
    }
    let verdict = for_one_line(&reply.body.verdict, 20);
    let instead = match &reply.body.previous {
        Some(previous) if *previous != reply.body.verdict => {
            format!(" instead of {}", for_one_line(previous, 20))
        }
        _ => String::new(),
    };
    console.note(&format!("noted: {verdict}{instead}"));
    Ok(Exit::Done)
}
