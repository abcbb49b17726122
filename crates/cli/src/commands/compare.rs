//! `boca compare`: everyone's answer to one question, and what is on record of them.

use super::trace::{millis, money};
use super::{chat, everyone};
use crate::clean::{for_one_line, for_terminal};
use crate::connect;
use crate::console::Console;
use crate::context::ClientContext;
use crate::deadline;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::human;
use crate::interrupts::Interrupts;
use crate::style::Style;
use crate::table::{Paint, Table};
use boca_api::{ChatRequest, ChatResponse, CompareStatsResponse, SourceTrace, Verdicts};
use comfy_table::{Attribute, Cell, ContentArrangement, presets};
use std::time::Duration;

/// The width of an answer's column below which answers are shown one below the other.
const LEAST_COLUMN: u16 = 28;
/// The width where there is no terminal.
const USUAL_WIDTH: u16 = 100;

/// Options of `boca compare`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CompareArgs {
    /// What to look at instead of asking
    #[command(subcommand)]
    pub command: Option<CompareCommand>,

    /// What to ask
    pub message: Vec<String>,

    /// Ask nobody outside this machine
    #[arg(long)]
    pub private: bool,

    /// Give up after this time, such as 30s or 2m
    #[arg(long, value_name = "TIME", value_parser = human::parse_duration)]
    pub deadline: Option<Duration>,

    /// Print the API's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `boca compare …`
#[derive(Debug, Clone, clap::Subcommand)]
pub enum CompareCommand {
    /// Show the running record: speed, failures, how often each was chosen, what people said
    Stats {
        /// Print the API's answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Asks everyone, or shows the record.
pub(crate) async fn run(
    args: CompareArgs,
    context: &ClientContext,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Exit, Ended> {
    if let Some(CompareCommand::Stats { json }) = args.command {
        let client = connect::require(context).await?;
        let reply = client.compare_stats().await?;
        match json {
            true => console.json(&reply.json)?,
            false if reply.body.n_answers == 0 => console.note("no answers are on record yet"),
            false => console.print(&record(&reply.body, console.out_style))?,
        }
        return Ok(Exit::Done);
    }
    if args.message.is_empty() {
        return Err(Ended::usage("a message is missing: give one, or `boca compare stats`"));
    }
    let (client, deadline) = chat::daemon(context, args.deadline, console, interrupts).await?;
    let request = ChatRequest {
        message: args.message.join(" "),
        mode: Some("compare".to_owned()),
        private: args.private.then_some(true),
        deadline_ms: deadline::field(deadline),
        ..ChatRequest::default()
    };
    let waiting = console.waiting();
    waiting.set_message("waiting for all answers");
    waiting.enable_steady_tick(Duration::from_millis(100));
    let reply = tokio::select! {
        biased;
        () = interrupts.next() => Err(Ended::Interrupted),
        reply = client.chat(&request, deadline::wait(deadline)) => reply.map_err(Ended::from),
    };
    waiting.finish_and_clear();
    let reply = reply?;
    if args.json {
        console.json(&reply.json)?;
    } else {
        let width = comfy_table::Table::new().width().filter(|_| console.out_is_terminal);
        console.print(&side_by_side(&reply.body, width.unwrap_or(USUAL_WIDTH), console.out_style))?;
        let id = for_one_line(&reply.body.request_id, 80);
        console.note(&format!("say which way it went: boca feedback {id} good|bad"));
    }
    Ok(Exit::Done)
}

/// One column of the comparison.
struct Column {
    head: String,
    text: String,
    foot: String,
}

fn columns(response: &ChatResponse) -> Vec<Column> {
    let of_source = |(source, answer): (&SourceTrace, Option<&str>)| {
        let text = match (answer, &source.error) {
            (Some(answer), _) => for_terminal(answer.trim()).into_owned(),
            (None, Some(error)) => format!("no answer: {}", for_one_line(&error.message, 500)),
            (None, None) => format!("no answer: {}", for_one_line(&source.state, 40)),
        };
        let model = source.model.as_deref().filter(|model| *model != source.provider);
        let model = model.map(|model| format!(" · {}", for_one_line(model, 60))).unwrap_or_default();
        let total = source.ended_ms.map(|ended| ended - source.began_ms);
        let first = source.first_token_ms.map(|first| first - source.began_ms);
        Column {
            head: format!("{}{model}", for_one_line(&source.provider, 60)),
            text,
            foot: format!(
                "{} · first token {} · {} · {}",
                millis(total),
                millis(first),
                human::plural(u64::from(source.usage.completion_tokens), "token"),
                money(source.cost_usd)
            ),
        }
    };
    everyone::answers(response).map(of_source).collect()
}

/// The answers beside each other, or below each other where they would be too narrow.
fn side_by_side(response: &ChatResponse, width: u16, style: Style) -> String {
    let columns = columns(response);
    let n_columns = u16::try_from(columns.len()).unwrap_or(u16::MAX).max(1);
    if width / n_columns < LEAST_COLUMN {
        let one = |column: &Column| {
            format!("{}\n{}\n{}\n", style.bold(&column.head), column.text, style.dim(&column.foot))
        };
        return columns.iter().map(one).collect::<Vec<_>>().join("\n");
    }
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::DynamicFullWidth);
    table.set_width(width);
    if style.colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(columns.iter().map(|column| Cell::new(&column.head).add_attribute(Attribute::Bold)));
    table.add_row(columns.iter().map(|column| Cell::new(&column.text)));
    table.add_row(columns.iter().map(|column| Cell::new(&column.foot).add_attribute(Attribute::Dim)));
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn record(stats: &CompareStatsResponse, style: Style) -> String {
    let columns = [
        "provider", "asked", "answered", "failed", "cut off", "median", "p95", "chosen", "share", "cost",
        "good", "bad",
    ];
    let mut table = Table::new(&columns, style);
    for provider in &stats.providers {
        let plain = |text: String| (text, Paint::Plain);
        table.row(vec![
            (for_one_line(&provider.provider, 60), Paint::Name),
            plain(provider.asked.to_string()),
            plain(provider.answered.to_string()),
            plain(provider.failed.to_string()),
            plain(provider.cancelled.to_string()),
            plain(millis(provider.median_ms)),
            plain(millis(provider.p95_ms)),
            plain(format!("{} of {}", provider.chosen, provider.candidate)),
            plain(share(provider.share)),
            plain(money(provider.cost_usd)),
            plain(provider.verdicts.good.to_string()),
            plain(provider.verdicts.bad.to_string()),
        ]);
    }
    let mut text = table.text();
    let (answers, decided) = (human::plural(stats.n_answers, "answer"), stats.n_decided);
    text.push_str(&format!("\n{answers} on record, {decided} of them out of two or more\n"));
    for provider in stats.providers.iter().filter(|provider| !provider.failures.is_empty()) {
        let failures = provider.failures.iter().map(|(code, n)| format!("{n} × {}", for_one_line(code, 40)));
        let failures = failures.collect::<Vec<_>>().join(", ");
        text.push_str(&format!("{} failed: {failures}\n", for_one_line(&provider.provider, 60)));
    }
    let strategies = &stats.strategies;
    for (name, figures) in [("select", &strategies.select), ("merge", &strategies.merge)] {
        text.push_str(&format!(
            "{name}: {}, {}\n",
            human::plural(figures.answers, "answer"),
            verdicts(&figures.verdicts)
        ));
    }
    text.push_str(&match (strategies.select.verdicts.good_share, strategies.merge.verdicts.good_share) {
        (Some(select), Some(merge)) if merge > select => "people liked merging better\n".to_owned(),
        (Some(select), Some(merge)) if merge < select => "people liked selecting better\n".to_owned(),
        (Some(_), Some(_)) => "people liked both alike\n".to_owned(),
        _ => "which one people like better is not known: `boca feedback ID good|bad` tells\n".to_owned(),
    });
    text
}

fn verdicts(verdicts: &Verdicts) -> String {
    format!("{} good, {} bad ({})", verdicts.good, verdicts.bad, share(verdicts.good_share))
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

#[cfg(test)]
mod tests;
