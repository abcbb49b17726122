//! `boca status`.

use super::trace::money;
use crate::clean::for_one_line;
use crate::connect;
use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::human;
use crate::style::Style;
use crate::table::{Paint, Table};
use boca_api::{AdapterInfo, ErrorDetail, LoadProgress, ModelInfo, ModelStatus, StatusResponse};

/// Values from outside are cut to this.
const MAX_VALUE_CHARS: usize = 500;

/// Options of `boca status`.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    /// Print the API's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Shows the daemon. Its state makes no difference to the exit code, as long as it runs.
pub(crate) async fn run(
    args: &StatusArgs,
    context: &ClientContext,
    console: &mut Console,
) -> Result<Exit, Ended> {
    let client = connect::require(context).await?;
    let reply = client.status().await?;
    if args.json {
        console.json(&reply.json)?;
    } else {
        console.print(&rendered(&reply.body, console.out_style))?;
    }
    Ok(Exit::Done)
}

/// The status as text.
fn rendered(status: &StatusResponse, style: Style) -> String {
    let mut text = format!(
        "{} {}\n",
        style.bold(&format!("boca {}", value(&status.version))),
        match status.stopping {
            true => style.yellow("is stopping"),
            false => format!("runs for {}", human::duration(human::seconds(status.uptime_s))),
        }
    );
    let mut line = |name: &str, what: String| {
        let name = style.dim(&format!("{name:<9}"));
        text.push_str(&format!("  {name} {what}\n"));
    };
    line("process", status.pid.to_string());
    line("socket", value(&status.socket));
    line("state", value(&status.state_dir));
    line(
        "config",
        match status.config_files.is_empty() {
            true => "no file, the defaults".to_owned(),
            false => status.config_files.iter().map(|file| value(file)).collect::<Vec<_>>().join(", "),
        },
    );
    for (at, what) in model_lines(&status.model, style).into_iter().enumerate() {
        line(if at == 0 { "model" } else { "" }, what);
    }
    line("mode", value(&status.default_mode));
    line("requests", format!("{} running, {} queued", status.requests.running, status.requests.queued));
    let store = &status.store;
    let mut stored =
        format!("{}, {}", human::plural(store.n_sessions, "conversation"), human::bytes(store.size_bytes));
    if store.n_damaged_records > 0 {
        let damaged = human::plural(store.n_damaged_records, "damaged record");
        stored.push_str(&style.red(&format!(", {damaged} set aside")));
    }
    line("store", stored);
    if let Some(kept) = &store.set_aside {
        let kept = format!("the store before could not be opened and was kept as {}", value(kept));
        line("", style.red(&kept));
    }
    if !status.supervision.is_empty() {
        let strategy = value(&status.supervision).replace('_', " ");
        line("actors", format!("started again {strategy}"));
    }
    if !status.providers.is_empty() {
        text.push('\n');
        text.push_str(&providers(status, style));
    }
    text.push('\n');
    text.push_str(&agents(status, style));
    text
}

fn model_lines(model: &ModelStatus, style: Style) -> Vec<String> {
    let state = style.state(&value(&model.state));
    let mut lines = vec![match &model.info {
        Some(info) if info.is_demo => {
            format!(
                "{} {state} {}",
                value(&info.name),
                style.yellow("(the small demo model that boca carries)")
            )
        }
        Some(info) => format!("{} {state}", value(&info.name)),
        None => state,
    }];
    if let Some(progress) = &model.progress {
        lines.push(progress_line(progress));
    }
    if let Some(info) = &model.info {
        lines.push(info_line(info));
        lines.extend(info.adapter.as_ref().map(adapter_line));
    }
    if let Some(ErrorDetail { message, .. }) = &model.error {
        lines.push(style.red(&value(message)));
    }
    for candidate in &model.tried {
        let (path, from, outcome) =
            (value(&candidate.path), value(&candidate.from), value(&candidate.outcome));
        lines.push(style.dim(&format!("tried {path} ({from}): {outcome}")));
    }
    lines
}

fn progress_line(progress: &LoadProgress) -> String {
    let phase = value(&progress.phase).replace('_', " ");
    let elapsed = human::duration(human::seconds(progress.elapsed_ms / 1000.0));
    match progress.total_bytes {
        0 => format!("{phase}, since {elapsed}"),
        total => {
            let done = human::bytes(progress.done_bytes);
            format!("{phase}: {done} of {}, since {elapsed}", human::bytes(total))
        }
    }
}

fn info_line(info: &ModelInfo) -> String {
    let weights = match (info.quantization_bits, info.quantization_group_size) {
        (Some(bits), Some(group)) => format!("{bits} bits in groups of {group}"),
        _ => "not quantised".to_owned(),
    };
    format!(
        "{}, {} parameters ({} active), {weights}, {} of weights, context of {} tokens, {}",
        value(&info.architecture),
        human::count(info.n_parameters),
        human::count(info.n_active_parameters),
        human::bytes(info.weights_bytes),
        info.context_tokens,
        value(&info.backend),
    )
}

fn adapter_line(adapter: &AdapterInfo) -> String {
    let rank = adapter.rank.map(|rank| format!(", rank {rank}")).unwrap_or_default();
    format!("adapter {} ({}{rank})", value(&adapter.source), value(&adapter.kind))
}

/// The supervisor and below it the actors, in the order in which they are started.
fn agents(status: &StatusResponse, style: Style) -> String {
    let mut table =
        Table::new(&["supervisor", "state", "since", "restarts", "mailbox", "needs", "last error"], style);
    for (at, agent) in status.agents.iter().enumerate() {
        let branch = if at + 1 == status.agents.len() { "└" } else { "├" };
        table.row(vec![
            (format!("{branch} {}", value(&agent.name)), Paint::Name),
            (value(&agent.state), Paint::State),
            (human::duration(human::seconds(agent.in_state_ms / 1000.0)), Paint::Plain),
            (agent.restarts.to_string(), Paint::Plain),
            (format!("{}/{}", agent.mailbox_depth, agent.mailbox_capacity), Paint::Plain),
            (value(&agent.needs.join(", ")), Paint::Plain),
            (agent.last_error.as_deref().map(value).unwrap_or_default(), Paint::Plain),
        ]);
    }
    table.text()
}

fn providers(status: &StatusResponse, style: Style) -> String {
    let columns =
        ["provider", "kind", "model", "state", "circuit", "today", "spent", "last answer", "reason"];
    let mut table = Table::new(&columns, style);
    for provider in &status.providers {
        let local = if provider.local { " (local)" } else { "" };
        let spent = match (provider.spent_today_usd, provider.daily_budget_usd) {
            (Some(spent), Some(budget)) => format!("{} of {}", money(Some(spent)), money(Some(budget))),
            (spent, _) => money(spent),
        };
        let last = provider.last_probe.as_ref().map(|probe| {
            let outcome = if probe.ok { "good" } else { "failed" };
            format!("{outcome}, {} ago", human::duration(human::seconds(probe.age_ms / 1000.0)))
        });
        let reason =
            provider.reason.as_deref().or(provider.last_probe.as_ref().and_then(|p| p.error.as_deref()));
        let retry = provider
            .retry_in_ms
            .map(|ms| format!(" (again in {})", human::duration(human::seconds(ms / 1000.0))));
        table.row(vec![
            (value(&provider.name), Paint::Name),
            (format!("{}{local}", value(&provider.kind)), Paint::Plain),
            (provider.model.as_deref().map(value).unwrap_or_default(), Paint::Plain),
            (value(&provider.availability), Paint::State),
            (value(&provider.circuit), Paint::Plain),
            (human::plural(provider.requests_today, "request"), Paint::Plain),
            (spent, Paint::Plain),
            (last.unwrap_or_else(|| "-".to_owned()), Paint::Plain),
            (reason.map(value).unwrap_or_default() + &retry.unwrap_or_default(), Paint::Plain),
        ]);
    }
    table.text()
}

fn value(text: &str) -> String {
    for_one_line(text, MAX_VALUE_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_api::status::{ModelCandidate, RequestCounts, StoreStatus};
    use boca_api::{AgentStatus, ProbeStatus, ProviderStatus};

    fn running() -> StatusResponse {
        StatusResponse {
            version: "0.1.0".into(),
            pid: 4711,
            uptime_s: 7620.4,
            socket: "/run/user/1000/boca/boca.sock".into(),
            state_dir: "/home/ada/.local/state/boca".into(),
            config_files: vec![],
            default_mode: "local".into(),
            stopping: false,
            supervision: "one_for_one".into(),
            providers: Vec::new(),
            model: ModelStatus {
                state: "ready".into(),
                info: Some(ModelInfo {
                    name: "boca-demo".into(),
                    is_demo: true,
                    source: "embedded".into(),
                    architecture: "glm4_moe".into(),
                    n_parameters: 12_345_678,
                    n_active_parameters: 4_200_000,
                    weights_bytes: 8_000_000,
                    quantization_bits: Some(4),
                    quantization_group_size: Some(64),
                    context_tokens: 4096,
                    backend: "cpu (avx2)".into(),
                    ..ModelInfo::default()
                }),
                tried: vec![
                    ModelCandidate {
                        path: "/etc/boca/models/glm4.5-air-mlx-4bit".into(),
                        from: "default".into(),
                        outcome: "not found".into(),
                    },
                    ModelCandidate {
                        path: "embedded".into(),
                        from: "embedded".into(),
                        outcome: "taken".into(),
                    },
                ],
                ..ModelStatus::default()
            },
            agents: vec![
                AgentStatus {
                    name: "model".into(),
                    state: "ready".into(),
                    mailbox_capacity: 16,
                    in_state_ms: 7_600_000.0,
                    ..AgentStatus::default()
                },
                AgentStatus {
                    name: "synthesizer".into(),
                    state: "busy".into(),
                    restarts: 2,
                    last_error: Some("panicked: index\u{1b}[2J out of bounds".into()),
                    mailbox_depth: 3,
                    mailbox_capacity: 64,
                    in_state_ms: 4_000.0,
                    restart: "permanent".into(),
                    needs: vec!["metrics".into(), "model".into()],
                },
            ],
            store: StoreStatus {
                path: String::new(),
                size_bytes: 1_300_000,
                n_sessions: 12,
                n_damaged_records: 0,
                set_aside: None,
            },
            requests: RequestCounts { running: 1, queued: 0 },
        }
    }

    #[test]
    fn a_running_daemon() {
        insta::assert_snapshot!(rendered(&running(), Style::PLAIN));
    }

    #[test]
    fn a_daemon_with_providers() {
        let mut status = running();
        status.providers = vec![
            ProviderStatus {
                name: "gemini".into(),
                kind: "gemini".into(),
                model: Some("gemini-3.8-flash".into()),
                availability: "available".into(),
                circuit: "closed".into(),
                spent_today_usd: Some(0.0125),
                daily_budget_usd: Some(2.0),
                requests_today: 12,
                last_probe: Some(ProbeStatus { age_ms: 3000.0, ok: true, took_ms: None, error: None }),
                ..ProviderStatus::default()
            },
            ProviderStatus {
                name: "farm".into(),
                kind: "openai".into(),
                model: Some("qwen".into()),
                local: true,
                availability: "circuit_open".into(),
                reason: Some("connection refused".into()),
                retry_in_ms: Some(4000.0),
                circuit: "open".into(),
                ..ProviderStatus::default()
            },
        ];
        insta::assert_snapshot!(rendered(&status, Style::PLAIN));
    }

    #[test]
    fn a_daemon_in_colour_says_the_same() {
        let plain = rendered(&running(), Style::PLAIN);
        let coloured = rendered(&running(), Style { colours: true });
        assert_ne!(plain, coloured);
        let mut rest = coloured.as_str();
        let mut stripped = String::new();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            stripped.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        stripped.push_str(rest);
        let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(&stripped), lines(&plain));
    }

    #[test]
    fn a_daemon_that_loads() {
        let mut status = running();
        status.model = ModelStatus {
            state: "loading".into(),
            progress: Some(LoadProgress {
                phase: "warming_up".into(),
                done_bytes: 12 << 30,
                total_bytes: 56 << 30,
                elapsed_ms: 21_400.0,
            }),
            ..ModelStatus::default()
        };
        status.config_files = vec!["/etc/boca/boca.toml".into(), "/etc/boca/boca.d/10-model.toml".into()];
        insta::assert_snapshot!(rendered(&status, Style::PLAIN));
    }

    #[test]
    fn an_adapter_is_named() {
        let adapter = AdapterInfo {
            name: "poet".into(),
            source: "/tunes/poet".into(),
            kind: "lora".into(),
            rank: Some(8),
        };
        assert_eq!(adapter_line(&adapter), "adapter /tunes/poet (lora, rank 8)");
        let full = AdapterInfo { kind: "full".into(), rank: None, ..adapter };
        assert_eq!(adapter_line(&full), "adapter /tunes/poet (full)");
    }

    #[test]
    fn a_daemon_in_trouble() {
        let mut status = running();
        status.model = ModelStatus {
            state: "down".into(),
            tried: vec![ModelCandidate {
                path: "/data/glm".into(),
                from: "GLM_MODEL_PATH".into(),
                outcome: "no such directory".into(),
            }],
            error: Some(ErrorDetail {
                message: "/data/glm: no such directory".into(),
                kind: "server_error".into(),
                param: None,
                code: "model_unavailable".into(),
            }),
            ..ModelStatus::default()
        };
        status.stopping = true;
        status.store.n_damaged_records = 1;
        status.agents.clear();
        insta::assert_snapshot!(rendered(&status, Style::PLAIN));
    }
}
