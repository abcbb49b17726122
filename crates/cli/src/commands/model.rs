//! `boca model load` and `boca model unload`: the weights of a running daemon.

use crate::clean::for_one_line;
use crate::connect;
use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;

/// What to do with the weights.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelChangeArgs {
    /// Whether they are wanted in memory; the binary, which has more to do with models, parses the line itself.
    #[arg(skip)]
    pub is_wanted: bool,

    /// Print the API's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Asks for it. Neither command waits for the weights.
pub(crate) async fn run(
    args: &ModelChangeArgs,
    context: &ClientContext,
    console: &mut Console,
) -> Result<Exit, Ended> {
    let client = connect::require(context).await?;
    let reply = if args.is_wanted { client.load_model().await? } else { client.unload_model().await? };
    if args.json {
        console.json(&reply.json)?;
        return Ok(Exit::Done);
    }
    let told = match reply.body.outcome.as_str() {
        "started" => "the model is being loaded; `boca status` shows how far it is".to_owned(),
        "already_loading" => "the model is being loaded already".to_owned(),
        "already_loaded" => "the model is loaded".to_owned(),
        "unloading" => "the model is unloaded as soon as nothing runs; `boca model load` loads it".to_owned(),
        "already_unloaded" => "the model is unloaded; `boca model load` loads it".to_owned(),
        other => for_one_line(other, 80),
    };
    console.note(&told);
    Ok(Exit::Done)
}
