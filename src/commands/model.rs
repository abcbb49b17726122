//! `boca model info`, `verify` and `plan`: a checkpoint looked at without a daemon.

use super::model_plan::plan;
use super::output::{self, gigabytes};
use super::{CommonArgs, client, load_config};
use crate::config::{Environment, ModelChoice, Settings, choose_model};
use crate::demo_model::DEMO_MODEL;
use crate::exit::Exit;
use boca_cli::{ClientCommand, ModelChangeArgs};
use boca_core::ModelInfo;
use boca_engine::backend::Backend;
use boca_engine::checkpoint::{Checkpoint, CheckpointError, VerifyReport};
use boca_engine::cpu::CpuBackend;
use boca_engine::shared::Hosts;
use clap::Subcommand;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// `boca model …`
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Say what a model is, from its headers
    Info {
        /// The checkpoint directory instead of the one that the daemon would load
        #[arg(value_name = "DIR")]
        path: Option<PathBuf>,
        /// The directory of a LoRA adapter for it, in mlx-lm's layout, instead of the one that the daemon would load
        #[arg(long, value_name = "DIR")]
        adapter: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every byte of a model and look for damage
    Verify {
        /// The checkpoint directory instead of the one that the daemon would load
        #[arg(value_name = "DIR")]
        path: Option<PathBuf>,
        /// The directory of a LoRA adapter for it, in mlx-lm's layout, instead of the one that the daemon would load
        #[arg(long, value_name = "DIR")]
        adapter: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring the running daemon's weights into memory
    Load(ModelChangeArgs),
    /// Let the running daemon's weights go once nothing runs, until `boca model load`
    Unload(ModelChangeArgs),
    /// Say how much memory a model takes and what of it fits this machine, from its headers
    Plan {
        /// The checkpoint directory instead of the one that the daemon would load
        #[arg(value_name = "DIR")]
        path: Option<PathBuf>,
        /// The directory of a LoRA adapter for it, in mlx-lm's layout, instead of the one that the daemon would load
        #[arg(long, value_name = "DIR")]
        adapter: Option<PathBuf>,
        /// So many hosts share the model, instead of those of the configuration
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=Hosts::MOST as i64))]
        n_hosts: Option<u16>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs `boca model …`.
pub(crate) fn model(common: &CommonArgs, command: &ModelCommand) -> Exit {
    let (path, adapter, as_json) = match command {
        ModelCommand::Info { path, adapter, json }
        | ModelCommand::Verify { path, adapter, json }
        | ModelCommand::Plan { path, adapter, json, .. } => (path, adapter, *json),
        ModelCommand::Load(args) => return change(common, args, true),
        ModelCommand::Unload(args) => return change(common, args, false),
    };
    let (choice, settings) = match choose(common, path.clone(), adapter.clone()) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let done = match command {
        ModelCommand::Info { .. } => info(&choice, &settings, as_json),
        ModelCommand::Verify { .. } => verify(&choice, &settings, as_json),
        ModelCommand::Plan { n_hosts, .. } => {
            plan(&choice.source, &settings, n_hosts.map(usize::from), as_json)
        }
        ModelCommand::Load(_) | ModelCommand::Unload(_) => return Exit::Done,
    };
    done.unwrap_or_else(|error| output::failure(&error, as_json))
}

fn change(common: &CommonArgs, args: &ModelChangeArgs, is_wanted: bool) -> Exit {
    client(common, ClientCommand::Model(ModelChangeArgs { is_wanted, ..args.clone() }))
}

/// The model that was named here, or the one that the daemon would load, and the settings that it would have.
fn choose(
    common: &CommonArgs,
    path: Option<PathBuf>,
    adapter: Option<PathBuf>,
) -> Result<(ModelChoice, Settings), Exit> {
    let environment = Environment::capture();
    let mut flags = common.flags();
    // The configured adapter is for the configured model.
    let is_another = path.is_some() && adapter.is_none();
    flags.model = path;
    flags.adapter = adapter;
    let mut loaded = load_config(&flags, &environment)?;
    if is_another {
        loaded.settings.engine.adapter = None;
    }
    let choice = choose_model(&loaded.settings, &environment, DEMO_MODEL);
    Ok((choice, loaded.settings))
}

fn info(choice: &ModelChoice, settings: &Settings, as_json: bool) -> Result<Exit, CheckpointError> {
    // Tokenizer and template are checked too: without them a model is of no use to the daemon.
    let adapter = settings.engine.adapter.as_deref();
    let Checkpoint { model, text: _ } = Checkpoint::open_adapted(&choice.source, adapter)?;
    let backend = CpuBackend::new(&model.config, model.weights.clone(), None);
    let info = model.model_info(backend.describe(), backend.kv_bytes_per_token());
    if as_json {
        let tried: Vec<_> = choice
            .tried
            .iter()
            .map(|tried| json!({ "path": tried.path, "from": tried.from, "outcome": tried.outcome }))
            .collect();
        return Ok(output::print_json(&json!({ "ok": true, "model": info, "tried": tried })));
    }
    Ok(output::print(&described(&info, choice)))
}

fn described(info: &ModelInfo, choice: &ModelChoice) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a `String` cannot fail.
        writeln!(text, "{name:<16}{value}").unwrap_or_default();
    };
    let demo = if info.is_demo {
        " (the demo model: small, for trying boca out; see README.md for a real one)"
    } else {
        ""
    };
    row("model", format!("{}{demo}", info.name));
    row("from", info.source.clone());
    if let Some(adapter) = &info.adapter {
        let rank = adapter.rank.map(|rank| format!(", rank {rank}")).unwrap_or_default();
        row("adapter", format!("{} ({}{rank})", adapter.source, adapter.kind));
    }
    row("architecture", info.architecture.clone());
    row(
        "parameters",
        format!("{}, of which {} work on a token", count(info.n_parameters), count(info.n_active_parameters)),
    );
    row("weights", gigabytes(info.weights_bytes));
    row(
        "quantization",
        match info.quantization {
            Some(quantization) => {
                format!("{} bits, groups of {}", quantization.bits, quantization.group_size)
            }
            None => "none".to_owned(),
        },
    );
    row(
        "shape",
        format!(
            "{} layers, {} experts, {} a token, vocabulary of {}",
            info.n_layers, info.n_experts, info.n_experts_per_token, info.vocab_size
        ),
    );
    row(
        "context",
        format!(
            "{} tokens, {} KiB each, {} when full",
            info.context_tokens,
            info.kv_bytes_per_token / 1024,
            gigabytes(info.kv_bytes_per_token * u64::from(info.context_tokens))
        ),
    );
    row("computes on", info.backend.clone());
    for (at, tried) in choice.tried.iter().enumerate() {
        row(
            if at == 0 { "looked at" } else { "" },
            format!("{} ({}): {}", tried.path, tried.from, tried.outcome),
        );
    }
    text
}

fn count(n: u64) -> String {
    match n {
        1_000_000_000.. => format!("{:.1} billion", n as f64 / 1e9),
        1_000_000.. => format!("{:.1} million", n as f64 / 1e6),
        _ => n.to_string(),
    }
}

fn verify(choice: &ModelChoice, settings: &Settings, as_json: bool) -> Result<Exit, CheckpointError> {
    let Checkpoint { model, text: _ } =
        Checkpoint::open_adapted(&choice.source, settings.engine.adapter.as_deref())?;
    let tell = output::progress_line("reading");
    let report = model.verify(&mut |done, total| tell(done, total));
    let told = if as_json {
        output::print_json(&report_as_json(&report, &model.name, model.is_demo))
    } else {
        output::print(&report_as_text(&report, &model.name, model.is_demo))
    };
    Ok(if told == Exit::Done && !report.is_good() { Exit::Failed } else { told })
}

fn report_as_json(report: &VerifyReport, name: &str, is_demo: bool) -> serde_json::Value {
    let files: Vec<_> = report
        .files
        .iter()
        .map(|file| {
            json!({
                "file": file.file,
                "size_bytes": file.size_bytes,
                "n_tensors": file.n_tensors,
                "crc32": format!("{:08x}", file.crc32),
                "error": file.unreadable.as_ref().map(ToString::to_string),
            })
        })
        .collect();
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|problem| json!({ "file": problem.file, "tensor": problem.tensor, "problem": problem.problem }))
        .collect();
    let ok = report.is_good();
    json!({ "ok": ok, "name": name, "is_demo": is_demo, "files": files, "problems": problems })
}

fn report_as_text(report: &VerifyReport, name: &str, is_demo: bool) -> String {
    let mut lines = Vec::new();
    for file in &report.files {
        let size = gigabytes(file.size_bytes);
        lines.push(match &file.unreadable {
            None => format!("{}  {size}, {} tensors, crc32 {:08x}", file.file, file.n_tensors, file.crc32),
            Some(error) => format!("{}  {size}: {error}", file.file),
        });
    }
    for problem in &report.problems {
        lines.push(format!("{}: `{}`: {}", problem.file, problem.tensor, problem.problem));
    }
    let demo = if is_demo { " (the demo model)" } else { "" };
    let bad = report.problems.len() + report.files.iter().filter(|file| file.unreadable.is_some()).count();
    lines.push(if report.is_good() {
        format!("ok: every byte of {name}{demo} was read, and every tensor is sound")
    } else {
        format!("damaged: {bad} problems in {name}{demo}; download the model again")
    });
    lines.join("\n") + "\n"
}
