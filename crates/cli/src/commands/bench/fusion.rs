//! `boca bench fusion`: each question is asked in three ways, one after the other, so that every time is a true one.
//!
//! `compare` gives the answer, time and cost of each provider by itself; then everybody is asked together, once to
//! select and once to merge. What these cost includes everyone who was asked.

use super::questions::{self, BenchQuestion};
use crate::clean::for_one_line;
use crate::commands::trace::{millis, money};
use crate::commands::{chat, everyone};
use crate::console::Console;
use crate::context::ClientContext;
use crate::deadline;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::human;
use crate::interrupts::Interrupts;
use crate::style::Style;
use crate::table::{Paint, Table};
use boca_api::{ChatRequest, ChatResponse, Client, ClientError, SourceTrace};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// More than any list of questions has; a wrong path is refused before it fills the memory.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Options of `boca bench fusion`.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchFusionArgs {
    /// One JSON object a line: {"message": "…", "must": [["Paris", "paris"], …], "must_not": ["Lyon"]}
    #[arg(value_name = "FILE.jsonl")]
    pub file: PathBuf,

    /// Ask nobody outside this machine
    #[arg(long)]
    pub private: bool,

    /// Give each answer this time, such as 30s or 2m
    #[arg(long, value_name = "TIME", value_parser = human::parse_duration)]
    pub deadline: Option<Duration>,

    /// Print the figures and every answer's result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What came of one question in one way.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    way: String,
    line: usize,
    /// `None`: there was no answer.
    is_passed: Option<bool>,
    ms: Option<f64>,
    cost_usd: Option<f64>,
    error: Option<String>,
}

/// The figures of one way.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    way: String,
    n: usize,
    passed: usize,
    failed: usize,
    median_ms: Option<f64>,
    p95_ms: Option<f64>,
    /// `None` when no price is known.
    cost_usd: Option<f64>,
}

const SELECT: &str = "select";
const MERGE: &str = "merge";

/// Runs the benchmark.
pub(super) async fn run(
    args: &BenchFusionArgs,
    context: &ClientContext,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Exit, Ended> {
    let questions = read_file(args)?;
    let (client, _) = chat::daemon(context, args.deadline, console, interrupts).await?;
    let waiting = console.waiting();
    waiting.enable_steady_tick(Duration::from_millis(100));
    let mut outcomes = Vec::new();
    for (at, question) in questions.iter().enumerate() {
        waiting.set_message(format!("question {} of {}", at + 1, questions.len()));
        let asked = tokio::select! {
            biased;
            () = interrupts.next() => Err(Ended::Interrupted),
            asked = ask_in_every_way(&client, args, question, &mut outcomes) => asked,
        };
        if let Err(ended) = asked {
            waiting.finish_and_clear();
            return Err(ended);
        }
    }
    waiting.finish_and_clear();
    let rows = rows(&outcomes);
    if args.json {
        let text = as_json(&rows, &outcomes, questions.len()).to_string();
        console.json(text.as_bytes())?;
    } else {
        console.print(&table(&rows, questions.len(), console.out_style))?;
    }
    Ok(Exit::Done)
}

fn read_file(args: &BenchFusionArgs) -> Result<Vec<BenchQuestion>, Ended> {
    let shown = args.file.display();
    let cannot = |error: std::io::Error| Ended::usage(format!("cannot read {shown}: {error}"));
    let size = std::fs::metadata(&args.file).map_err(cannot)?.len();
    if size > MAX_FILE_BYTES {
        return Err(Ended::usage(format!("{shown} must have at most {MAX_FILE_BYTES} bytes, got {size}")));
    }
    let text = std::fs::read_to_string(&args.file).map_err(cannot)?;
    questions::read(&text).map_err(|fault| Ended::usage(format!("{shown}: {fault}")))
}

async fn ask_in_every_way(
    client: &Client,
    args: &BenchFusionArgs,
    question: &BenchQuestion,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), Ended> {
    match ask(client, args, question, "compare", None).await? {
        Ok(response) => outcomes.extend(single_outcomes(question, &response)),
        Err(error) => outcomes.push(failed("compare", question, error)),
    }
    for strategy in [SELECT, MERGE] {
        let outcome = match ask(client, args, question, "collaborative", Some(strategy)).await? {
            Ok(response) => Outcome {
                way: strategy.to_owned(),
                line: question.line,
                is_passed: Some(question.is_passed_by(&response.response)),
                ms: Some(response.response_time_ms),
                cost_usd: response.trace.cost_usd,
                error: None,
            },
            Err(error) => failed(strategy, question, error),
        };
        outcomes.push(outcome);
    }
    Ok(())
}

/// The answer, or why there is none. What concerns the daemon and not the question ends the benchmark.
async fn ask(
    client: &Client,
    args: &BenchFusionArgs,
    question: &BenchQuestion,
    mode: &str,
    strategy: Option<&str>,
) -> Result<Result<ChatResponse, String>, Ended> {
    let request = ChatRequest {
        message: question.message.clone(),
        mode: Some(mode.to_owned()),
        strategy: strategy.map(str::to_owned),
        private: args.private.then_some(true),
        deadline_ms: deadline::field(args.deadline),
        ..ChatRequest::default()
    };
    match client.chat(&request, deadline::wait(args.deadline)).await {
        Ok(reply) => {
            // The conversations are of no use to anybody; that one stays behind is no reason to stop.
            client.delete_session(&reply.body.session_id).await.ok();
            Ok(Ok(reply.body))
        }
        Err(error @ ClientError::Api { .. }) if error.code() != Some("shutting_down") => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// One outcome a provider.
fn single_outcomes(question: &BenchQuestion, response: &ChatResponse) -> Vec<Outcome> {
    let outcome = |(source, text): (&SourceTrace, Option<&str>)| Outcome {
        way: source.provider.clone(),
        line: question.line,
        is_passed: text.map(|text| question.is_passed_by(text)),
        ms: text.and(source.ended_ms).map(|ended| ended - source.began_ms),
        cost_usd: source.cost_usd,
        error: source.error.as_ref().map(|error| error.message.clone()),
    };
    everyone::answers(response).map(outcome).collect()
}

fn failed(way: &str, question: &BenchQuestion, error: String) -> Outcome {
    Outcome {
        way: way.to_owned(),
        line: question.line,
        is_passed: None,
        ms: None,
        cost_usd: None,
        error: Some(error),
    }
}

/// The figures: the best single provider first, then the other ones, then select and merge.
fn rows(outcomes: &[Outcome]) -> Vec<Row> {
    let mut ways: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !ways.contains(&outcome.way.as_str()) {
            ways.push(&outcome.way);
        }
    }
    let is_single = |way: &&str| ![SELECT, MERGE, "compare"].contains(way);
    let mut singles: Vec<Row> =
        ways.iter().filter(|way| is_single(way)).map(|way| row(way, outcomes)).collect();
    let time = |row: &Row| row.median_ms.unwrap_or(f64::INFINITY);
    singles.sort_by(|a, b| b.passed.cmp(&a.passed).then(time(a).total_cmp(&time(b))));
    let fused = [SELECT, MERGE].into_iter().filter(|way| ways.contains(way)).map(|way| row(way, outcomes));
    singles.into_iter().chain(fused.collect::<Vec<_>>()).collect()
}

fn row(way: &str, outcomes: &[Outcome]) -> Row {
    let of_way: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.way == way).collect();
    let mut times: Vec<f64> = of_way.iter().filter_map(|outcome| outcome.ms).collect();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied();
    let costs: Vec<f64> = of_way.iter().filter_map(|outcome| outcome.cost_usd).collect();
    Row {
        way: way.to_owned(),
        n: of_way.len(),
        passed: of_way.iter().filter(|outcome| outcome.is_passed == Some(true)).count(),
        failed: of_way.iter().filter(|outcome| outcome.is_passed.is_none()).count(),
        median_ms: at(50),
        p95_ms: at(95),
        cost_usd: (!costs.is_empty()).then(|| costs.iter().sum()),
    }
}

fn table(rows: &[Row], n_questions: usize, style: Style) -> String {
    let mut table = Table::new(&["way", "passed", "no answer", "median", "p95", "cost"], style);
    for (at, row) in rows.iter().enumerate() {
        let is_single = row.way != SELECT && row.way != MERGE;
        let name = match (at, is_single) {
            (0, true) => format!("{} (best single)", for_one_line(&row.way, 60)),
            _ => for_one_line(&row.way, 60),
        };
        table.row(vec![
            (name, Paint::Name),
            (format!("{} of {}", row.passed, row.n), Paint::Plain),
            (row.failed.to_string(), Paint::Plain),
            (millis(row.median_ms), Paint::Plain),
            (millis(row.p95_ms), Paint::Plain),
            (money(row.cost_usd), Paint::Plain),
        ]);
    }
    let questions = human::plural(n_questions as u64, "question");
    format!("{}\n{questions}; select and merge are paid for with everyone who was asked\n", table.text())
}

fn as_json(rows: &[Row], outcomes: &[Outcome], n_questions: usize) -> Value {
    let of_row = |row: &Row| {
        json!({
            "way": row.way, "n": row.n, "passed": row.passed, "no_answer": row.failed,
            "median_ms": row.median_ms, "p95_ms": row.p95_ms, "cost_usd": row.cost_usd,
        })
    };
    let of_outcome = |outcome: &Outcome| {
        json!({
            "line": outcome.line, "way": outcome.way, "passed": outcome.is_passed, "ms": outcome.ms,
            "cost_usd": outcome.cost_usd, "error": outcome.error,
        })
    };
    json!({
        "n_questions": n_questions,
        "rows": rows.iter().map(of_row).collect::<Vec<_>>(),
        "outcomes": outcomes.iter().map(of_outcome).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(way: &str, is_passed: Option<bool>, ms: f64, cost_usd: f64) -> Outcome {
        Outcome {
            way: way.into(),
            line: 1,
            is_passed,
            ms: is_passed.map(|_| ms),
            cost_usd: is_passed.map(|_| cost_usd),
            error: is_passed.is_none().then(|| "down".to_owned()),
        }
    }

    #[test]
    fn the_best_single_one_comes_first_and_everything_is_counted() {
        let outcomes = [
            outcome("local", Some(false), 300.0, 0.0),
            outcome("gemini", Some(true), 900.0, 0.001),
            outcome(SELECT, Some(true), 950.0, 0.001),
            outcome(MERGE, Some(true), 1900.0, 0.003),
            outcome("local", Some(true), 400.0, 0.0),
            outcome("gemini", Some(true), 1100.0, 0.002),
            outcome(SELECT, None, 0.0, 0.0),
            outcome(MERGE, Some(false), 2000.0, 0.003),
        ];
        let rows = rows(&outcomes);
        let ways: Vec<&str> = rows.iter().map(|row| row.way.as_str()).collect();
        assert_eq!(ways, ["gemini", "local", SELECT, MERGE]);
        assert_eq!((rows[0].passed, rows[0].median_ms, rows[0].p95_ms), (2, Some(900.0), Some(1100.0)));
        assert_eq!((rows[2].n, rows[2].passed, rows[2].failed), (2, 1, 1));
        insta::assert_snapshot!(table(&rows, 2, Style::PLAIN));
        let json = as_json(&rows, &outcomes, 2);
        assert_eq!(json["rows"][3]["way"], "merge");
        assert_eq!(json["outcomes"][6]["error"], "down");
    }
}
