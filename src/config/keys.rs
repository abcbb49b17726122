//! Fetching providers' keys from where the config says they are. Done when a daemon starts and when the config is
//! checked, and by nothing else: a client command needs no key.

use super::error::ConfigError;
use super::places::Environment;
use super::providers::{ConfiguredProvider, host_of};
use super::settings::Settings;
use boca_actors::ProviderSettings;
use boca_core::ProviderKind;
use boca_providers::{ApiKey, Endpoint};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// More than any key has; a wrong path is refused before it fills the memory.
const MAX_KEY_FILE_BYTES: u64 = 64 << 10;
/// Where systemd puts a service's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Every provider with its key. One that is switched off is not given one.
///
/// # Errors
/// The first key that is named and cannot be had, is readable by everybody, is missing where it is needed, or would
/// travel unencrypted. No message holds a key.
pub(crate) fn providers_with_keys(
    settings: &Settings,
    environment: &Environment,
) -> Result<Vec<ProviderSettings>, ConfigError> {
    settings.providers.iter().map(|provider| with_key(provider, environment)).collect()
}

fn with_key(
    provider: &ConfiguredProvider,
    environment: &Environment,
) -> Result<ProviderSettings, ConfigError> {
    let mut settings = provider.settings.clone();
    if !settings.is_enabled {
        return Ok(settings);
    }
    let name = provider.name();
    let fail = |below: &str, message: String| {
        ConfigError::invalid(&provider.origin, format!("`provider.{name}.{below}` {message}"))
    };
    let endpoint = &settings.endpoint;
    let key = find(provider, environment).map_err(|(below, message)| fail(below, message))?;
    if key.is_none() && needs_key(endpoint) {
        let usual = usual_variable(name).map(|variable| format!("{variable}, ")).unwrap_or_default();
        let message = format!(
            "must name where the key is: {} takes no question without one (set {usual}`api_key_env`, `api_key_file`, \
             or the service credential {name}-api-key)",
            endpoint.base_url
        );
        return Err(fail("api_key_env", message));
    }
    if key.is_some() && is_open_road(endpoint) && !provider.key.may_go_over_http {
        let message = format!(
            "must begin with https://, because the key would travel unencrypted to another machine, got {}; \
             `allow_key_over_http = true` allows it",
            endpoint.base_url
        );
        return Err(fail("base_url", message));
    }
    settings.endpoint.key = key;
    Ok(settings)
}

type Fault = (&'static str, String);

fn find(provider: &ConfiguredProvider, environment: &Environment) -> Result<Option<ApiKey>, Fault> {
    let unusable = "holds no key: one line of printable characters is expected";
    if let Some(variable) = &provider.key.env {
        let Some(value) = environment.text(variable).filter(|value| !value.trim().is_empty()) else {
            return Err(("api_key_env", format!("names {variable}, which is not set in the environment")));
        };
        return ApiKey::new(value)
            .map(Some)
            .ok_or(("api_key_env", format!("names {variable}, which {unusable}")));
    }
    if let Some(path) = &provider.key.file {
        let text = read_key_file(path, true).map_err(|message| ("api_key_file", message))?;
        return ApiKey::new(text).map(Some).ok_or(("api_key_file", format!("{} {unusable}", path.display())));
    }
    let name = provider.name();
    if let Some(directory) = environment.var(CREDENTIALS) {
        let path = Path::new(directory).join(format!("{name}-api-key"));
        if path.exists() {
            // The service manager guards that directory.
            let text = read_key_file(&path, false).map_err(|message| ("api_key_file", message))?;
            let key = ApiKey::new(text);
            return key.map(Some).ok_or(("api_key_file", format!("{} {unusable}", path.display())));
        }
    }
    let usual = usual_variable(name).and_then(|variable| Some((variable, environment.text(variable)?)));
    match usual.filter(|(_, value)| !value.trim().is_empty()) {
        Some((variable, value)) => {
            ApiKey::new(value).map(Some).ok_or(("api_key_env", format!("is {variable}, which {unusable}")))
        }
        None => Ok(None),
    }
}

/// The variable in which everybody keeps the key of the provider of this name.
pub(crate) fn usual_variable(name: &str) -> Option<&'static str> {
    match name {
        "gemini" => Some("GEMINI_API_KEY"),
        "openai" => Some("OPENAI_API_KEY"),
        "anthropic" => Some("ANTHROPIC_API_KEY"),
        _ => None,
    }
}

fn read_key_file(path: &Path, must_be_guarded: bool) -> Result<String, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("cannot be read: {shown}: {error}");
    // The file that is looked at is the one that is read.
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(format!("must be a file, got {shown}"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if must_be_guarded && mode & 0o007 != 0 {
        return Err(format!(
            "must not be open to everybody: {shown} has mode {mode:04o}; `chmod 600` it, and change the key if \
             others use this machine"
        ));
    }
    if metadata.len() > MAX_KEY_FILE_BYTES {
        return Err(format!(
            "must have at most {MAX_KEY_FILE_BYTES} bytes, got {} in {shown}",
            metadata.len()
        ));
    }
    let mut text = String::new();
    file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text).map_err(cannot)?;
    Ok(text)
}

/// Whether it is one of the services that answer nobody without a key.
fn needs_key(endpoint: &Endpoint) -> bool {
    let needs =
        matches!(endpoint.kind, ProviderKind::Gemini | ProviderKind::Openai | ProviderKind::Anthropic);
    needs && endpoint.unix_socket.is_none() && endpoint.base_url == Endpoint::usual_base_url(endpoint.kind)
}

/// Whether what is sent can be read on its way.
fn is_open_road(endpoint: &Endpoint) -> bool {
    let is_plain =
        endpoint.unix_socket.is_none() && !endpoint.base_url.to_ascii_lowercase().starts_with("https:");
    is_plain && !is_here(&endpoint.base_url)
}

/// Whether an address leads to this very machine.
pub(crate) fn is_here(base_url: &str) -> bool {
    host_of(base_url).is_some_and(is_this_machine)
}

/// Whether a host is this very machine.
fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
