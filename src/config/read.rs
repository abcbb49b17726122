//! One TOML file → [`ConfigFile`], with the line of every key.

use super::error::ConfigError;
use super::expand::expand;
use super::file::ConfigFile;
use super::origin::Origin;
use super::places::Environment;
use super::provider_file::ProviderSection;
use super::providers::check_name;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// More than any config needs; a wrong path (a model file, a device) is refused before it fills the memory.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A file that was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadFile {
    /// Its values; paths are absolute.
    pub(crate) values: ConfigFile,
    /// The line of each key that it sets, from 1.
    pub(crate) lines: BTreeMap<String, usize>,
}

/// Reads and checks one file.
///
/// # Errors
/// When it cannot be read, is no TOML, has an unknown key, a value of the wrong kind, or `${…}` that cannot be
/// expanded: with file and line.
pub(crate) fn read_file(path: &Path, environment: &Environment) -> Result<ReadFile, ConfigError> {
    let cannot_read = |source| ConfigError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(cannot_read)?.len();
    if size > MAX_CONFIG_BYTES {
        let origin = Origin::File { path: path.to_owned(), line: None };
        let message = format!("a config file must be at most {MAX_CONFIG_BYTES} bytes, got {size}");
        return Err(ConfigError::invalid(&origin, message));
    }
    let text = std::fs::read_to_string(path).map_err(cannot_read)?;
    read_text(&text, path, environment)
}

/// Checks the text of one file.
pub(crate) fn read_text(text: &str, path: &Path, environment: &Environment) -> Result<ReadFile, ConfigError> {
    let origin_at = |offset: Option<usize>| Origin::File {
        path: path.to_owned(),
        line: offset.map(|offset| line_of(text, offset)),
    };
    let toml_error = |error: toml::de::Error, key: Option<String>| {
        let message = match key {
            Some(key) => format!("`{key}`: {}", error.message()),
            None => error.message().to_owned(),
        };
        ConfigError::invalid(&origin_at(error.span().map(|span| span.start)), message)
    };
    let mut table = DeTable::parse(text).map_err(|error| toml_error(error, None))?;
    expand_table(table.get_mut(), "", environment).map_err(|(key, span, message)| {
        ConfigError::invalid(&origin_at(Some(span.start)), format!("`{key}`: {message}"))
    })?;
    check_providers(table.get_ref()).map_err(|(key, span, message)| {
        ConfigError::invalid(&origin_at(Some(span.start)), format!("`{key}` {message}"))
    })?;
    let mut lines: BTreeMap<String, usize> = ConfigFile::keys()
        .into_iter()
        .filter_map(|key| Some((line_of(text, offset_of(table.get_ref(), &key)?), key)))
        .map(|(line, key)| (key, line))
        .collect();
    for (name, provider) in provider_tables(table.get_ref()) {
        for key in ProviderSection::keys() {
            if let Some(offset) = offset_of(provider, &key) {
                lines.insert(format!("provider.{name}.{key}"), line_of(text, offset));
            }
        }
    }
    let mut values =
        ConfigFile::deserialize(toml::de::Deserializer::from(table.clone())).map_err(|error| {
            let key = error.span().and_then(|span| key_at(table.get_ref(), span.start));
            toml_error(error, key)
        })?;
    let base = path.parent().unwrap_or(Path::new("/"));
    let ConfigFile { daemon, model, engine, .. } = &mut values;
    for named in [&mut daemon.socket, &mut daemon.state_dir, &mut model.path, &mut engine.adapter] {
        resolve(named, base, environment);
    }
    for provider in &mut values.provider {
        resolve(&mut provider.unix_socket, base, environment);
        resolve(&mut provider.api_key_file, base, environment);
    }
    Ok(ReadFile { values, lines })
}

fn resolve(named: &mut Option<PathBuf>, base: &Path, environment: &Environment) {
    if let Some(path) = named {
        *path = environment.absolute(path, base);
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

type AtKey = (String, Range<usize>, String);

fn expand_table(table: &mut DeTable<'_>, prefix: &str, environment: &Environment) -> Result<(), AtKey> {
    for (name, value) in table.iter_mut() {
        let key = join(prefix, name.get_ref());
        expand_value(value, &key, environment)?;
    }
    Ok(())
}

fn expand_value(value: &mut Spanned<DeValue<'_>>, key: &str, environment: &Environment) -> Result<(), AtKey> {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) if text.contains("${") => {
            let expanded = expand(text, &|name| environment.text(name));
            *text = expanded.map_err(|message| (key.to_owned(), span, message))?.into();
        }
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                expand_value(item, key, environment)?;
            }
        }
        DeValue::Table(table) => expand_table(table, key, environment)?,
        _ => {}
    }
    Ok(())
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn offset_of(table: &DeTable<'_>, dotted: &str) -> Option<usize> {
    let (first, rest) = dotted.split_once('.').map_or((dotted, None), |(first, rest)| (first, Some(rest)));
    let (name, value) = table.iter().find(|(name, _)| name.get_ref().as_ref() == first)?;
    match rest {
        None => Some(name.span().start),
        Some(rest) => offset_of(value.get_ref().as_table()?, rest),
    }
}

/// Every `[[provider]]` that has a name.
fn provider_tables<'a>(table: &'a DeTable<'_>) -> Vec<(&'a str, &'a DeTable<'a>)> {
    let with_name = |table: &'a DeTable<'_>| {
        let name = table.iter().find(|(key, _)| key.get_ref() == "name")?.1.get_ref().as_str()?;
        Some((name, table))
    };
    tables_of(table).into_iter().filter_map(|(_, table)| with_name(table)).collect()
}

fn tables_of<'a>(table: &'a DeTable<'_>) -> Vec<(Range<usize>, &'a DeTable<'a>)> {
    let list = table.iter().find(|(key, _)| key.get_ref() == "provider").map(|(_, value)| value.get_ref());
    match list {
        Some(DeValue::Array(items)) => {
            items.iter().filter_map(|item| Some((item.span(), item.get_ref().as_table()?))).collect()
        }
        _ => Vec::new(),
    }
}

/// What must hold before providers can be told apart: each has a name, no two the same, and no key stands inline.
fn check_providers(table: &DeTable<'_>) -> Result<(), AtKey> {
    let mut seen = Vec::new();
    for (span, provider) in tables_of(table) {
        if let Some((key, _)) =
            provider.iter().find(|(key, _)| matches!(key.get_ref().as_ref(), "api_key" | "key"))
        {
            let message =
                "must not stand in a config file: name its place with `api_key_env` or `api_key_file`";
            return Err((format!("provider.{}", key.get_ref()), key.span(), message.to_owned()));
        }
        let Some((name_key, name)) = provider.iter().find(|(key, _)| key.get_ref() == "name") else {
            return Err(("provider.name".to_owned(), span, "must be set".to_owned()));
        };
        // Anything but a text is refused where its type is.
        let Some(name) = name.get_ref().as_str() else { continue };
        check_name(name).map_err(|message| ("provider.name".to_owned(), name_key.span(), message))?;
        if seen.contains(&name) {
            let message = format!("must be another one: there is a provider {name:?} in this file already");
            return Err(("provider.name".to_owned(), name_key.span(), message));
        }
        seen.push(name);
    }
    Ok(())
}

/// The dotted key whose key or value covers `offset`. Headers such as `[daemon]` span less than their section, so
/// tables are always searched.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    for (name, value) in table.iter() {
        let inner = match value.get_ref() {
            DeValue::Table(table) => key_at(table, offset),
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .find_map(|table| key_at(table, offset)),
            _ => None,
        };
        if let Some(inner) = inner {
            return Some(join(name.get_ref(), &inner));
        }
        if name.span().contains(&offset) || value.span().contains(&offset) {
            return Some(name.get_ref().to_string());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::places::Os;
    use super::super::places::tests::environment;
    use super::*;

    fn read(text: &str) -> Result<ReadFile, String> {
        let environment = environment(Os::Linux, &[("MODELS", "/big")]);
        read_text(text, Path::new("/etc/boca/boca.toml"), &environment).map_err(|e| e.to_string())
    }

    #[test]
    fn lines_expansion_and_relative_paths() {
        let file = read(
            "[model]\npath = \"${MODELS}/air\"\n\n[daemon]\nsocket = \"run/s\"\nstate_dir = \"~/s\"\n[preset]\ncreative.top_k = 3",
        )
        .unwrap();
        assert_eq!(file.values.model.path.as_deref(), Some(Path::new("/big/air")));
        assert_eq!(file.values.daemon.socket.as_deref(), Some(Path::new("/etc/boca/run/s")));
        assert_eq!(file.values.daemon.state_dir.as_deref(), Some(Path::new("/home/ada/s")));
        let lines: Vec<_> = file.lines.iter().map(|(k, line)| (k.as_str(), *line)).collect();
        assert_eq!(
            lines,
            [("daemon.socket", 5), ("daemon.state_dir", 6), ("model.path", 2), ("preset.creative.top_k", 8)]
        );
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (text, expected) in [
            (
                "[daemon]\nsockte = \"/a\"",
                "/etc/boca/boca.toml:2: `daemon.sockte`: unknown field `sockte`, expected",
            ),
            ("[demon]\n", "/etc/boca/boca.toml:1: `demon`: unknown field `demon`, expected one of `daemon`"),
            (
                "[daemon]\n\ndrain_grace = 5",
                "/etc/boca/boca.toml:3: `daemon.drain_grace`: invalid type: integer `5`",
            ),
            (
                "[daemon]\nmax_connections = -1",
                "/etc/boca/boca.toml:2: `daemon.max_connections`: invalid value: integer `-1`",
            ),
            ("[preset.accurate]\ntop_q = 1", "/etc/boca/boca.toml:2: `preset.accurate.top_q`: unknown field"),
            (
                "[model]\npath = \"${NOPE}/x\"",
                "/etc/boca/boca.toml:2: `model.path`: the environment variable NOPE is not set",
            ),
            ("daemon = 3", "/etc/boca/boca.toml:1: `daemon`: invalid type: integer `3`"),
            ("[daemon\n", "/etc/boca/boca.toml:1: "),
            ("[daemon]\nsocket = \"a\"\nsocket = \"b\"", "/etc/boca/boca.toml:3: duplicate key"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}\n  {error}");
        }
    }
}
