//! Providers and fusion through all three stages, and their keys.

use super::places::Os;
use super::places::tests::environment;
use super::*;
use boca_actors::ProviderSettings;
use boca_core::{MicroUsd, Mode, ProviderKind, Strategy};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECRET: &str = "AIzaVerySecret0123456789";

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn load_text(text: &str, vars: &[(&str, &str)]) -> Result<(Loaded, Environment), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "boca.toml", text);
    let environment = environment(Os::Linux, vars);
    let flags = Flags { config: Some(path), ..Flags::default() };
    let shown = |error: ConfigError| error.to_string().replace(&dir.path().display().to_string(), "DIR");
    load(&flags, &environment).map(|loaded| (loaded, environment)).map_err(shown)
}

fn providers(text: &str, vars: &[(&str, &str)]) -> Result<Vec<ProviderSettings>, String> {
    let (loaded, environment) = load_text(text, vars)?;
    providers_with_keys(&loaded.settings, &environment).map_err(|error| {
        let text = error.to_string();
        text[text.find(": ").map_or(0, |at| at + 2)..].to_owned()
    })
}

#[test]
fn a_key_in_the_environment_is_enough_for_gemini() {
    let vars = [("GEMINI_API_KEY", SECRET)];
    let found = providers("", &vars).unwrap();
    let [gemini] = found.as_slice() else { panic!("{found:?}") };
    let endpoint = &gemini.endpoint;
    assert_eq!((endpoint.name.as_str(), endpoint.kind), ("gemini", ProviderKind::Gemini));
    assert_eq!(endpoint.model, "gemini-3.8-flash");
    assert!(endpoint.key.is_some() && !endpoint.is_local && gemini.is_enabled);
    let prices = gemini.guard.prices.unwrap();
    assert_eq!((prices.base.input, prices.base.output), (MicroUsd(750_000), MicroUsd(3_750_000)));
    let (loaded, _) = load_text("", &vars).unwrap();
    assert_eq!(loaded.origins["provider.gemini.model"].to_string(), "environment variable GEMINI_API_KEY");
    assert!(!format!("{loaded:?} {found:?}").contains(SECRET));

    assert!(providers("", &[("GEMINI_API_KEY", " ")]).unwrap().is_empty());
    let elsewhere = "[[provider]]\nname = \"gemini\"\nbase_url = \"http://127.0.0.1:9\"\n";
    let gemini = providers(elsewhere, &vars).unwrap().remove(0);
    assert!(gemini.endpoint.key.is_some(), "the usual variable holds for the name, wherever it is");
    let off = providers("[[provider]]\nname = \"gemini\"\nenabled = false\n", &vars).unwrap();
    assert!(off.len() == 1 && !off[0].is_enabled && off[0].endpoint.key.is_none());
    let other = "[[provider]]\nname = \"mine\"\nkind = \"gemini\"\napi_key_env = \"GEMINI_API_KEY\"\n";
    assert_eq!(providers(other, &vars).unwrap().len(), 1, "a configured one takes the default's place");
    let dear = providers("[[provider]]\nname = \"gemini\"\nmodel = \"gemini-4-argon\"\n", &vars).unwrap();
    assert_eq!(dear[0].guard.prices, None, "prices are known of one model alone");
}

#[test]
fn keys_come_from_variable_file_or_credential() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "key", &format!("{SECRET}\n"));
    let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    let by_file = format!("[[provider]]\nname = \"anthropic\"\nmodel = \"m\"\napi_key_file = {file:?}\n");
    mode(0o640);
    assert!(providers(&by_file, &[]).unwrap()[0].endpoint.key.is_some());
    mode(0o644);
    let refused = providers(&by_file, &[]).unwrap_err();
    assert!(refused.contains("`provider.anthropic.api_key_file` must not be open to everybody"), "{refused}");
    assert!(refused.contains("mode 0644") && !refused.contains(SECRET), "{refused}");
    let bare = "[[provider]]\nname = \"claude\"\nkind = \"anthropic\"\nmodel = \"m\"\n";
    let missing = providers(bare, &[]).unwrap_err();
    assert!(missing.contains("the service credential claude-api-key"), "{missing}");
    write(dir.path(), "claude-api-key", SECRET);
    let credentials = [("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap())];
    assert!(providers(bare, &credentials).unwrap()[0].endpoint.key.is_some());
    let by_env = format!("{bare}api_key_env = \"MY_KEY\"\n");
    let unset = providers(&by_env, &[]).unwrap_err();
    assert_eq!(unset, "`provider.claude.api_key_env` names MY_KEY, which is not set in the environment");
    let nonsense = providers(&by_env, &[("MY_KEY", "two words")]).unwrap_err();
    assert!(nonsense.contains("holds no key") && !nonsense.contains("two words"), "{nonsense}");
    let gone = providers(&by_file.replace("/key", "/gone"), &[]).unwrap_err();
    assert!(gone.contains("`provider.anthropic.api_key_file` cannot be read"), "{gone}");
}

#[test]
fn a_key_does_not_travel_in_the_open() {
    let at = |url: &str, more: &str| {
        let text = format!(
            "[[provider]]\nname = \"farm\"\nkind = \"openai\"\nmodel = \"m\"\nbase_url = \"{url}\"\n\
             api_key_env = \"FARM_KEY\"\n{more}"
        );
        providers(&text, &[("FARM_KEY", SECRET)]).map(|_| ())
    };
    for good in
        ["https://farm.example/v1", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://localhost"]
    {
        assert_eq!(at(good, ""), Ok(()), "{good}");
    }
    for bad in ["http://farm.example/v1", "http://10.0.0.7:8000/v1", "http://127.0.0.1.evil.example"] {
        let refused = at(bad, "").unwrap_err();
        assert!(refused.contains("`provider.farm.base_url` must begin with https://"), "{refused}");
        assert_eq!(at(bad, "allow_key_over_http = true\n"), Ok(()));
    }
    assert_eq!(at("http://farm.example/v1", "unix_socket = \"/run/s\"\n"), Ok(()));
}

#[test]
fn drop_ins_change_providers_key_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        dir.path(),
        "boca.toml",
        "[[provider]]\nname = \"a\"\nkind = \"ollama\"\nmodel = \"m\"\n[provider.limits]\nmax_retries = 5\nconnect = \"9s\"\n\
         [[provider]]\nname = \"b\"\nkind = \"openai\"\nmodel = \"m\"\nunix_socket = \"run/s\"\n",
    );
    let drop_in = write(
        dir.path(),
        "boca.toml.d/10.toml",
        "[[provider]]\nname = \"c\"\nkind = \"ollama\"\nmodel = \"m\"\n[[provider]]\nname = \"a\"\nmodel = \"big\"\n\
         [provider.limits]\nmax_retries = 1\n",
    );
    let environment = environment(Os::Linux, &[]);
    let loaded = load(&Flags { config: Some(file.clone()), ..Flags::default() }, &environment).unwrap();
    let names: Vec<&str> = loaded.settings.providers.iter().map(|provider| provider.name()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let a = &loaded.settings.providers[0].settings;
    assert_eq!((a.endpoint.model.as_str(), a.guard.retry.max_retries), ("big", 1));
    assert_eq!(a.endpoint.timeouts.connect, Duration::from_secs(9));
    let b = &loaded.settings.providers[1].settings.endpoint;
    assert_eq!(b.unix_socket.as_deref(), Some(dir.path().join("run/s").as_path()));
    assert_eq!(b.base_url, "http://localhost/v1");
    let origin = |key: &str| loaded.origins[key].to_string();
    assert_eq!(origin("provider.a.model"), format!("{}:7", drop_in.display()));
    assert_eq!(origin("provider.a.limits.connect"), format!("{}:7", file.display()));
    assert_eq!(origin("provider.b.unix_socket"), format!("{}:12", file.display()));

    write(dir.path(), "boca.toml.d/10.toml", "[chat]\nmode = \"b\"\n");
    let flags = Flags { config: Some(file), ..Flags::default() };
    let changed = diff(&loaded, &load(&flags, &environment).unwrap());
    assert_eq!(changed.live, ["chat.mode"]);
    assert_eq!(
        changed.needs_restart,
        [
            "provider.a.limits.max_retries",
            "provider.a.model",
            "provider.c.kind",
            "provider.c.model",
            "provider.c.name"
        ]
    );
}

#[test]
fn a_mode_waits_for_its_provider() {
    let (old, _) = load_text("", &[]).unwrap();
    let (new, _) = load_text(
        "[[provider]]\nname = \"a\"\nkind = \"ollama\"\nmodel = \"m\"\n[chat]\nmode = \"a\"\nprivate = true",
        &[],
    )
    .unwrap();
    let shared = SharedSettings::new(old.settings.clone());
    shared.apply(&new.settings);
    assert_eq!(shared.current().chat.mode, Mode::Auto, "who can be asked changes with a restart alone");
    assert!(shared.current().chat.private);
    let shared = SharedSettings::new(new.settings.clone());
    shared.apply(&new.settings);
    assert_eq!(shared.current().chat.mode, Mode::Provider("a".into()));
}

#[test]
fn what_cannot_be_used_is_named_with_its_place() {
    let provider =
        |more: &str| format!("[[provider]]\nname = \"a\"\nkind = \"ollama\"\nmodel = \"m\"\n{more}");
    for (text, expected) in [
        ("[[provider]]\nkind = \"ollama\"".to_owned(), ":1: `provider.name` must be set"),
        (
            "[[provider]]\nname = \"local\"".to_owned(),
            ":2: `provider.name` must not be the name of a mode or of a part of boca, got \"local\"",
        ),
        (
            "[[provider]]\nname = \"synthesizer\"".to_owned(),
            ":2: `provider.name` must not be the name of a mode",
        ),
        ("[[provider]]\nname = \"A b\"".to_owned(), ":2: `provider.name` must be 1 to 32 lower-case letters"),
        ("[[provider]]\nname = 5".to_owned(), ":2: `provider.name`: invalid type: integer `5`"),
        (provider(&provider("")), ":6: `provider.name` must be another one"),
        (provider("api_key = \"sk-1\""), ":5: `provider.api_key` must not stand in a config file"),
        (provider("modle = \"x\""), ":5: `provider.modle`: unknown field `modle`"),
        (provider("[provider.limits]\nretries = 1"), ":6: `provider.limits.retries`: unknown field"),
        ("[[provider]]\nname = \"a\"\nmodel = \"m\"".to_owned(), ": `provider.a.kind` must be set"),
        (
            "[[provider]]\nname = \"a\"\nkind = \"engine\"\nmodel = \"m\"".to_owned(),
            ":3: `provider.a.kind` must be one of \"gemini\", \"openai\", \"ollama\", \"anthropic\", got \"engine\"",
        ),
        ("[[provider]]\nname = \"ollama\"".to_owned(), ": `provider.ollama.model` must be set"),
        (
            "[[provider]]\nname = \"a\"\nkind = \"openai\"\nmodel = \"m\"".to_owned(),
            ": `provider.a.base_url` must be set for kind \"openai\"",
        ),
        (provider("base_url = \"ftp://x\""), ":5: `provider.a.base_url` must begin with http:// or https://"),
        (provider("base_url = \"https://u:pw@x\""), ":5: `provider.a.base_url` must not hold a user name"),
        (
            provider("api_key_env = \"X\"\napi_key_file = \"x\""),
            ":6: `provider.a.api_key_file` must not stand beside",
        ),
        (
            provider("[provider.limits]\nmax_retries = 11"),
            ":6: `provider.a.limits.max_retries` must be at most 10, got 11",
        ),
        (
            provider("[provider.limits]\nconnect = \"0s\""),
            ":6: `provider.a.limits.connect` must be at least 1ms, got 0s",
        ),
        (
            provider("[provider.limits]\ndaily_budget_usd = 1"),
            ":6: `provider.a.limits.daily_budget_usd` needs [provider.prices]",
        ),
        (
            provider("[provider.prices]\ninput = -1\noutput = 1"),
            ":6: `provider.a.prices.input` must be between 0",
        ),
        (provider("[provider.prices]\ninput = 1"), ": `provider.a.prices.output` must be set"),
        (
            provider("[provider.prices]\ninput = 1\noutput = 1\nlong_context_input = 2"),
            ": `provider.a.prices.long_context_above_tokens` must stand together",
        ),
        (
            provider("[provider.sampling]\ntop_p = 2"),
            ":6: `provider.a.sampling.top_p` must be between 0 and 1",
        ),
        (
            "[[provider]]\nname = \"anthropic\"\nmodel = \"m\"\nlocal = true".to_owned(),
            ":4: `provider.anthropic.local` must not be true",
        ),
        (
            "[chat]\nmode = \"gemini\"".to_owned(),
            ":2: `chat.mode` must be one of \"auto\", \"collaborative\"",
        ),
        ("[chat]\neffort = \"much\"".to_owned(), ":2: `chat.effort` must be one of \"fast\""),
        ("[fusion]\nquorum = 0".to_owned(), ":2: `fusion.quorum` must be at least 1, got 0"),
        (
            "[fusion]\njudge = \"nobody\"".to_owned(),
            ":2: `fusion.judge` must be \"local\" or the name of a provider",
        ),
        ("[fusion]\npreferred = [\"x\"]".to_owned(), ":2: `fusion.preferred` must be \"local\" or the name"),
        (
            "[fusion]\nagreement_threshold = 1.5".to_owned(),
            ":2: `fusion.agreement_threshold` must be between 0 and 1, got 1.5",
        ),
        (
            "[fusion]\nstrategy = \"mix\"".to_owned(),
            ":2: `fusion.strategy` must be one of \"auto\", \"select\"",
        ),
    ] {
        let error = load_text(&text, &[]).map(|_| ()).unwrap_err();
        let at = error.strip_prefix("DIR/boca.toml").unwrap_or(&error);
        let at = at.strip_prefix("default").unwrap_or(at);
        assert!(at.starts_with(expected), "{text}\n  {error}\n  {expected}");
        assert!(!error.contains("sk-1") && !error.contains("pw@"), "{error}");
    }
}

#[test]
fn fusion_is_taken_over() {
    let text = "[fusion]\nstrategy = \"merge\"\nquorum = 3\npreferred = [\"a\", \"local\"]\njudge = \"a\"\n\
                weight_cost = 0\n[[provider]]\nname = \"a\"\nkind = \"ollama\"\nmodel = \"m\"\nlocal = true\n";
    let (loaded, _) = load_text(text, &[]).unwrap();
    let fusion = &loaded.settings.fusion;
    assert_eq!((fusion.strategy, fusion.quorum), (Some(Strategy::Merge), 3));
    assert_eq!(fusion.preferred, ["a", "local"]);
    assert_eq!((fusion.judge.as_deref(), fusion.weights.cost), (Some("a"), 0.0));
    let (loaded, _) = load_text("", &[]).unwrap();
    assert_eq!(loaded.settings.fusion, boca_core::fusion::FusionSettings::default());
}

#[test]
fn every_key_of_a_provider_reaches_its_setting() {
    let text = "[[provider]]\nname = \"a\"\nkind = \"gemini\"\napi_version = \"v9\"\nmodel = \"m\"\n\
                base_url = \"http://127.0.0.1:9\"\nstream = false\nlocal = true\n\
                [provider.limits]\nconnect = \"1s\"\nfirst_byte = \"2s\"\nbetween_bytes = \"3s\"\n\
                max_response_bytes = \"4 MiB\"\nmax_retries = 5\nlongest_retry_pause = \"6s\"\n\
                requests_per_minute = 7\ntokens_per_minute = 8\nmax_concurrency = 9\nmax_waiting = 10\n\
                check_every = \"11s\"\ncheck_limit = \"12s\"\n\
                [provider.requires]\nsystem = \"linux\"\nmemory_bytes = 13\nbackend = \"cpu\"\n";
    let found = providers(text, &[]).unwrap().remove(0);
    let seconds = Duration::from_secs;
    let (endpoint, guard) = (&found.endpoint, &found.guard);
    assert_eq!((endpoint.api_version.as_str(), endpoint.max_response_bytes), ("v9", 4 << 20));
    assert!(endpoint.is_local && !found.streams);
    let timeouts = endpoint.timeouts;
    assert_eq!(
        (timeouts.connect, timeouts.first_byte, timeouts.between_bytes),
        (seconds(1), seconds(2), seconds(3))
    );
    assert_eq!((guard.retry.max_retries, guard.retry.longest_pause), (5, seconds(6)));
    assert_eq!((guard.requests_per_minute, guard.tokens_per_minute), (Some(7), Some(8)));
    assert_eq!((guard.max_concurrency, guard.max_waiting), (9, 10));
    assert_eq!((found.check_every, found.check_limit), (seconds(11), seconds(12)));
    let requires = &found.requires;
    assert_eq!((requires.system.as_deref(), requires.memory_bytes), (Some("linux"), Some(13)));
    assert_eq!(requires.backend.as_deref(), Some("cpu"));
    let continuing = text.replace("\"gemini\"", "\"ollama\"\ncontinues_answers = true");
    assert!(providers(&continuing, &[]).unwrap()[0].endpoint.continues_answers);
    let too_long = text.replace("\"6s\"", "\"61m\"");
    let refused = providers(&too_long, &[]).unwrap_err();
    assert!(refused.contains("`provider.a.limits.longest_retry_pause` must be at most 1h"), "{refused}");
}
