//! `boca model plan`: how much memory a model takes at several contexts and numbers of requests, from its headers.

use super::output::{self, gigabytes};
use crate::config::Settings;
use crate::exit::Exit;
use boca_core::KvPrecision;
use boca_engine::ModelSource;
use boca_engine::checkpoint::{CheckpointError, CheckpointWeights, Cut, Share};
use boca_engine::generate::EngineOptions;
use boca_engine::memory::{
    MemoryFacts, MemoryPlan, MemoryShort, MemoryWishes, ModelNeeds, Placement, kv_bytes_per_token,
    plan_memory,
};
use boca_engine::shared::Hosts;
use serde_json::{Value, json};
use std::fmt::Write;

/// Contexts and numbers of requests that the table shows, as far as the model goes.
const CONTEXTS: [u64; 4] = [4096, 16_384, 32_768, 131_072];
const REQUESTS: [u64; 3] = [1, 4, 8];

/// One row of the table.
struct Row {
    context_tokens: u64,
    n_requests: u64,
    kv_bytes: u64,
    /// Weights that are used where they lie in the file; `None` where hosts share the model, which only MLX does.
    mapped: Option<Result<MemoryPlan, MemoryShort>>,
    resident: Result<MemoryPlan, MemoryShort>,
}

/// Everything that is shown.
struct Plan {
    name: String,
    /// How many hosts have a part each of what follows.
    n_hosts: usize,
    needs: ModelNeeds,
    precision: KvPrecision,
    /// Of a token, in each precision.
    kv_bytes_per_token: [(KvPrecision, u64); KvPrecision::ALL.len()],
    facts: MemoryFacts,
    /// How the configured backend would have the weights, or why there is none.
    placement: Result<Placement, String>,
    configured: Row,
    rows: Vec<Row>,
}

/// Runs `boca model plan`; `n_hosts` share the model, or those of the configuration.
pub(super) fn plan(
    source: &ModelSource,
    settings: &Settings,
    n_hosts: Option<usize>,
    as_json: bool,
) -> Result<Exit, CheckpointError> {
    let model = CheckpointWeights::open_adapted(source, settings.engine.adapter.as_deref())?;
    let n_hosts = n_hosts.or_else(|| settings.engine.hosts.as_ref().map(Hosts::n)).unwrap_or(1);
    // No part is larger than the first host's.
    let cut = match Cut::new(&model.config, &model.weights, Share { rank: 0, size: n_hosts }) {
        _ if n_hosts == 1 => None,
        Ok(cut) => Some(cut),
        Err(error) => return Ok(output::failure(&error, as_json)),
    };
    let plan = Plan::of(&model, settings, cut.as_ref(), MemoryFacts::read());
    Ok(match as_json {
        true => output::print_json(&plan.json()),
        false => output::print(&plan.text()),
    })
}

impl Plan {
    fn of(model: &CheckpointWeights, settings: &Settings, cut: Option<&Cut>, facts: MemoryFacts) -> Self {
        let options = EngineOptions {
            backend: settings.engine.backend,
            device: settings.engine.device,
            ..EngineOptions::default()
        };
        let settings = &settings.model;
        let chunk = settings.prefill_chunk_tokens;
        let precision = settings.kv_precision;
        let on_mlx = |n_requests: u64| {
            let needs = ModelNeeds::on_mlx(model, precision, chunk, n_requests as usize);
            cut.map_or(needs, |cut| needs.of_part(model, cut))
        };
        let needs = |n_requests: u64| match cut {
            None => ModelNeeds::on_cpu(model, precision, chunk, n_requests as usize),
            Some(_) => on_mlx(n_requests),
        };
        let row = |context_tokens: Option<u64>, n_requests: u64, kv_limit_bytes, prefix_cache_bytes| {
            let needs = needs(n_requests);
            let context = context_tokens.unwrap_or(needs.context_tokens).min(needs.context_tokens);
            let wishes = MemoryWishes {
                context_tokens: Some(context),
                max_running: n_requests,
                prefix_cache_bytes,
                kv_limit_bytes,
            };
            Row {
                context_tokens: context,
                n_requests,
                kv_bytes: needs.kv_bytes(context, n_requests),
                mapped: cut.is_none().then(|| plan_memory(&needs, &wishes, &facts, Placement::Mapped)),
                resident: plan_memory(&on_mlx(n_requests), &wishes, &facts, Placement::Resident),
            }
        };
        let n_running = settings.max_running as u64;
        let configured = row(
            settings.context_tokens.map(u64::from),
            n_running,
            settings.kv_limit_bytes,
            settings.prefix_cache_bytes,
        );
        let needs = needs(n_running);
        let contexts = CONTEXTS.into_iter().filter(|context| *context < needs.context_tokens);
        let rows = contexts.chain([needs.context_tokens]).flat_map(|context| {
            // Each row is asked whether all of it fits, so it gets exactly what it takes.
            REQUESTS.map(|n| row(Some(context), n, Some(needs.kv_bytes(context, n)), 0))
        });
        let own_config = cut.map(|cut| cut.config(&model.config));
        let own_config = own_config.as_ref().unwrap_or(&model.config);
        Self {
            name: model.name.clone(),
            n_hosts: cut.map_or(1, |cut| cut.share().size),
            placement: match options.placement() {
                Ok(Placement::Mapped) if cut.is_some() => {
                    Err("only MLX computes on several hosts, and `[engine]` does not choose it here".into())
                }
                placement => placement.map_err(|error| error.to_string()),
            },
            precision: settings.kv_precision,
            kv_bytes_per_token: KvPrecision::ALL
                .map(|precision| (precision, kv_bytes_per_token(own_config, precision))),
            rows: rows.collect(),
            needs,
            configured,
            facts,
        }
    }

    fn text(&self) -> String {
        let Self { needs, facts, configured, .. } = self;
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), gigabytes);
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a `String` cannot fail.
            writeln!(text, "{name:<16}{value}").unwrap_or_default();
        };
        line("model", self.name.clone());
        if self.n_hosts > 1 {
            line("hosts", format!("{}, of which each needs what follows", self.n_hosts));
        }
        line("weights", gigabytes(needs.weights_bytes));
        line(
            "keys and values",
            format!(
                "{} KiB a token in {} ({})",
                needs.kv_bytes_per_token / 1024,
                self.precision.as_str(),
                self.kv_bytes_per_token
                    .iter()
                    .map(|(precision, bytes)| format!("{} {}", precision.as_str(), bytes / 1024))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        );
        line("buffers", gigabytes(needs.scratch_bytes));
        line("this machine", format!("{}, {} free", size(facts.ceiling_bytes()), size(facts.free_bytes())));
        if let Some(bytes) = facts.accelerator_bytes {
            line("accelerator", gigabytes(bytes));
        }
        let (context, n) = (configured.context_tokens, configured.n_requests);
        line(
            "as configured",
            format!("context of {context} tokens, {n} requests at once: {}", self.verdict()),
        );
        text.push('\n');
        let columns = ["context", "requests", "keys and values", "cpu", "weights resident"];
        let mut cells = vec![columns.map(str::to_owned)];
        cells.extend(self.rows.iter().map(|row| {
            [
                row.context_tokens.to_string(),
                row.n_requests.to_string(),
                gigabytes(row.kv_bytes),
                row.mapped.as_ref().map_or("cannot share", on_cpu).to_owned(),
                resident(needs, row),
            ]
        }));
        let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        for row in &cells {
            let padded: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(text, "{}", padded.join("  ").trim_end()).unwrap_or_default();
        }
        text
    }

    /// What the daemon would do.
    fn verdict(&self) -> String {
        let judged = match (&self.placement, &self.configured) {
            (Err(error), _) => return error.clone(),
            (Ok(Placement::Mapped), Row { mapped: Some(mapped), .. }) => mapped,
            (Ok(_), Row { resident, .. }) => resident,
        };
        match judged {
            Ok(plan) => {
                let limit = gigabytes(plan.kv_limit_bytes);
                let all = if plan.kv_limit_bytes < plan.kv_wanted_bytes {
                    format!(" (all of them would take {})", gigabytes(plan.kv_wanted_bytes))
                } else {
                    String::new()
                };
                let streams = match plan.streams_with_bytes {
                    Some(room) => {
                        format!("; weights stream from disk, {} of them stay in memory", gigabytes(room))
                    }
                    None => String::new(),
                };
                format!("keys and values get {limit}{all}{streams}")
            }
            Err(short) => short.to_string(),
        }
    }

    fn json(&self) -> Value {
        let Self { needs, facts, .. } = self;
        let groups: Vec<Value> = facts
            .cgroups
            .iter()
            .map(|group| {
                json!({ "path": group.path, "limit_bytes": group.limit_bytes, "used_bytes": group.used_bytes })
            })
            .collect();
        let per_token: serde_json::Map<String, Value> = self
            .kv_bytes_per_token
            .iter()
            .map(|(precision, bytes)| (precision.as_str().to_owned(), (*bytes).into()))
            .collect();
        json!({
            "ok": true,
            "hosts": self.n_hosts,
            "model": {
                "name": self.name,
                "weights_bytes": needs.weights_bytes,
                "context_tokens": needs.context_tokens,
                "kv_bytes_per_token": needs.kv_bytes_per_token,
                "kv_precision": self.precision.as_str(),
                "kv_bytes_per_token_in": per_token,
                "buffers_bytes": needs.scratch_bytes,
            },
            "machine": {
                "total_bytes": facts.total_bytes,
                "free_bytes": facts.free_bytes(),
                "accelerator_bytes": facts.accelerator_bytes,
                "cgroups": groups,
            },
            "configured": self.configured.json(needs),
            "rows": self.rows.iter().map(|row| row.json(needs)).collect::<Vec<_>>(),
        })
    }
}

impl Row {
    fn json(&self, needs: &ModelNeeds) -> Value {
        let judged = |judged: &Result<MemoryPlan, MemoryShort>| match judged {
            Ok(plan) => json!({
                "fits": true,
                "kv_limit_bytes": plan.kv_limit_bytes,
                "streams_weights": plan.streams_with_bytes.is_some(),
            }),
            Err(short) => json!({ "fits": false, "reason": short.to_string() }),
        };
        json!({
            "context_tokens": self.context_tokens,
            "requests": self.n_requests,
            "kv_bytes": self.kv_bytes,
            "total_bytes": self.total_bytes(needs),
            "cpu": self.mapped.as_ref().map(judged),
            "resident": judged(&self.resident),
        })
    }

    fn total_bytes(&self, needs: &ModelNeeds) -> u64 {
        needs.weights_bytes.saturating_add(needs.scratch_bytes).saturating_add(self.kv_bytes)
    }
}

fn on_cpu(mapped: &Result<MemoryPlan, MemoryShort>) -> &'static str {
    match mapped {
        Ok(MemoryPlan { streams_with_bytes: None, .. }) => "fits",
        Ok(_) => "fits, weights stream from disk",
        Err(_) => "does not fit",
    }
}

fn resident(needs: &ModelNeeds, row: &Row) -> String {
    let total = gigabytes(row.total_bytes(needs));
    if row.resident.is_ok() { format!("{total}: fits") } else { format!("{total}: does not fit") }
}
