//! `boca config check` and `boca config show`.

use super::{CommonArgs, load_config, output};
use crate::config::{Environment, Flags, Loaded, Origin, is_here, is_live, providers_with_keys};
use crate::exit::Exit;
use clap::Subcommand;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// `boca config …`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the config file, its drop-ins and the environment
    Check {
        /// The file to check instead of the one in use
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show every value that holds, and where it comes from
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs `boca config …`.
pub(crate) fn config(common: &CommonArgs, command: &ConfigCommand) -> Exit {
    let environment = Environment::capture();
    let mut flags = common.flags();
    match command {
        ConfigCommand::Check { file, json } => {
            flags.config = file.clone().or(flags.config);
            check(&flags, &environment, *json)
        }
        ConfigCommand::Show { json } => match load_config(&flags, &environment) {
            Ok(loaded) if *json => output::print_json(&shown_as_json(&loaded)),
            Ok(loaded) => output::print(&shown(&loaded)),
            Err(exit) => exit,
        },
    }
}

fn check(flags: &Flags, environment: &Environment, as_json: bool) -> Exit {
    let checked = crate::config::load(flags, environment)
        .and_then(|loaded| providers_with_keys(&loaded.settings, environment).map(|_| loaded));
    let loaded = match checked {
        Ok(loaded) => loaded,
        Err(error) if as_json => {
            let told = output::print_json(&json!({ "ok": false, "error": error.to_string() }));
            return if told == Exit::Done { Exit::BadConfig } else { told };
        }
        Err(error) => return super::tell_config_error(&error),
    };
    let warnings = warnings(&loaded);
    let files: Vec<String> =
        loaded.settings.config_files.iter().map(|path| path.display().to_string()).collect();
    if as_json {
        return output::print_json(&json!({ "ok": true, "files": files, "warnings": warnings }));
    }
    for warning in &warnings {
        output::warning(warning);
    }
    match files.as_slice() {
        [] => output::print("ok: there is no config file, the defaults hold\n"),
        files => output::print(&format!("ok: {}\n", files.join(", "))),
    }
}

/// What a person should know although the daemon starts with it.
fn warnings(loaded: &Loaded) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(named) = &loaded.settings.model.named
        && !named.path.is_dir()
    {
        let path = named.path.display();
        warnings.push(format!("{}: `model.path` is not a directory: {path}", named.origin));
    }
    if let Some(path) = &loaded.settings.engine.adapter
        && !path.is_dir()
    {
        let origin = loaded.origins.get("engine.adapter").unwrap_or(&Origin::Default);
        warnings.push(format!("{origin}: `engine.adapter` is not a directory: {}", path.display()));
    }
    for provider in &loaded.settings.providers {
        let endpoint = &provider.settings.endpoint;
        if endpoint.is_local && endpoint.unix_socket.is_none() && !is_here(&endpoint.base_url) {
            warnings.push(format!(
                "{}: `provider.{}.local` lets private questions leave this machine for {}",
                provider.origin,
                provider.name(),
                endpoint.base_url
            ));
        }
    }
    warnings
}

fn shown(loaded: &Loaded) -> String {
    let values = loaded.values.values();
    let mut text = String::new();
    let mut section = String::new();
    for key in loaded.values.all_keys() {
        let (in_section, name) = key.rsplit_once('.').unwrap_or(("", &key));
        let provider = in_section.strip_prefix("provider.");
        if in_section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            in_section.clone_into(&mut section);
            let header = match provider.map(|rest| rest.split_once('.')) {
                None => format!("[{section}]"),
                Some(None) => "[[provider]]".to_owned(),
                Some(Some((_, table))) => format!("[provider.{table}]"),
            };
            // A table of which nothing is set would only be in the way.
            let within = format!("{section}.");
            if provider.is_none()
                || values.range(within.clone()..).next().is_some_and(|(k, _)| k.starts_with(&within))
            {
                push(&mut text, format_args!("{gap}{header}\n"));
            }
        }
        match (values.get(&key), loaded.origins.get(&key)) {
            (Some(value), Some(Origin::Default)) => push(&mut text, format_args!("{name} = {value}\n")),
            (Some(value), Some(origin)) => push(&mut text, format_args!("{name} = {value}  # {origin}\n")),
            _ if provider.is_some() => {}
            _ => push(&mut text, format_args!("# {name} is not set\n")),
        }
    }
    text
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    text.write_fmt(line).unwrap_or_default();
}

fn shown_as_json(loaded: &Loaded) -> serde_json::Value {
    let values = loaded.values.values();
    let of_key = |key: String| {
        let origin = loaded.origins.get(&key).map(ToString::to_string);
        let entry = json!({ "value": values.get(&key), "origin": origin, "live": is_live(&key) });
        (key, entry)
    };
    serde_json::Value::Object(loaded.values.all_keys().into_iter().map(of_key).collect())
}
