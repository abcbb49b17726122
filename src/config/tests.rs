//! The three stages together, and the shipped file against the defaults.

use super::defaults::defaults;
use super::places::Os;
use super::places::tests::environment;
use super::provider_file::ProviderSection;
use super::read::read_text;
use super::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const SHIPPED: &str = include_str!("../../config/boca.toml");

/// The shipped file with its key lines uncommented, examples too if wanted.
fn uncommented(with_examples: bool) -> String {
    let is_key = |line: &str| {
        line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase() || c == '[')
    };
    let mut in_provider = false;
    let lines = SHIPPED.lines().map(|line| {
        let header = line.trim_start_matches('#').starts_with('[');
        in_provider = if header { line.starts_with("#[") } else { in_provider };
        let is_example = in_provider || line.ends_with("# example");
        let wanted = is_key(line) && (with_examples || !is_example);
        if wanted { &line[1..] } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn read_shipped(with_examples: bool, environment: &Environment) -> super::read::ReadFile {
    read_text(&uncommented(with_examples), Path::new("/etc/boca/boca.toml"), environment).unwrap()
}

#[test]
fn the_shipped_file_equals_the_defaults() {
    for vars in [&[("HOME", "/home/ada")][..], &[("XDG_RUNTIME_DIR", "/run/u"), ("XDG_STATE_HOME", "/s")]] {
        let environment = environment(Os::Linux, vars);
        assert_eq!(read_shipped(false, &environment).values, defaults(&environment, None));
    }
    let as_shipped: ConfigFile = toml::from_str(SHIPPED).unwrap();
    assert_eq!(as_shipped, ConfigFile::default(), "as shipped it sets nothing");
}

#[test]
fn the_shipped_file_lists_every_key_and_its_examples_are_valid() {
    let environment = environment(Os::Linux, &[("HOME", "/home/ada")]);
    let read = read_shipped(true, &environment);
    let of_providers = |key: &String| key.starts_with("provider.");
    let listed: BTreeSet<String> =
        read.values.values().into_keys().filter(|key| !of_providers(key)).collect();
    assert_eq!(listed, ConfigFile::keys().into_iter().collect::<BTreeSet<_>>());
    let of_any = |key: String| key.splitn(3, '.').nth(2).map(str::to_owned);
    let listed: BTreeSet<String> =
        read.values.values().into_keys().filter(of_providers).filter_map(of_any).collect();
    assert_eq!(listed, ProviderSection::keys().into_iter().collect::<BTreeSet<_>>());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("boca.toml");
    std::fs::write(&path, uncommented(true)).unwrap();
    load(&Flags { config: Some(path), ..Flags::default() }, &environment).unwrap();
}

#[test]
fn keys_said_to_be_live_are_live() {
    let mut section = String::new();
    let mut whole_section_is_live = false;
    let mut comment = String::new();
    for line in SHIPPED.lines() {
        if let Some(header) = line.trim_start_matches('#').strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            whole_section_is_live = section == "sampling" || section.starts_with("preset.");
            comment.clear();
        } else if let Some((key, _)) = line.strip_prefix('#').and_then(|l| l.split_once(" = "))
            && !key.starts_with(' ')
        {
            let said = whole_section_is_live || comment.contains("(live)");
            assert_eq!(is_live(&format!("{section}.{key}")), said, "{section}.{key}");
            comment.clear();
        } else {
            comment.push_str(line);
        }
    }
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn flags_win_over_environment_over_drop_ins_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        dir.path(),
        "boca.toml",
        "[daemon]\nsocket = \"/1\"\nstate_dir = \"/1\"\nmax_connections = 1\n[log]\nlevel = \"warn\"\n[model]\npath = \"/1\"",
    );
    let second =
        write(dir.path(), "boca.toml.d/20.toml", "[daemon]\nmax_connections = 20\nstate_dir = \"/20\"");
    write(
        dir.path(),
        "boca.toml.d/10.toml",
        "[daemon]\nmax_connections = 10\nstate_dir = \"/10\"\nsocket = \"/10\"",
    );
    write(dir.path(), "boca.toml.d/30.txt", "not read");
    let environment = environment(
        Os::Linux,
        &[
            ("BOCA_CONFIG", file.to_str().unwrap()),
            ("BOCA_STATE_DIR", "env-state"),
            ("GLM_MODEL_PATH", "/env"),
            ("BOCA_SOCKET", ""),
        ],
    );
    let loaded = load(&Flags { model: Some("m".into()), ..Flags::default() }, &environment).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.daemon.max_connections, 20);
    assert_eq!(settings.daemon.socket, Path::new("/10"), "an empty variable counts as unset");
    assert_eq!(settings.daemon.state_dir, Path::new("/work dir/env-state"));
    assert_eq!(settings.model.named.as_ref().unwrap().path, Path::new("/work dir/m"));
    let origin = |key: &str| loaded.origins[key].to_string();
    assert_eq!(origin("daemon.max_connections"), format!("{}:2", second.display()));
    assert_eq!(origin("log.level"), format!("{}:6", file.display()));
    assert_eq!(origin("daemon.state_dir"), "environment variable BOCA_STATE_DIR");
    assert_eq!(origin("model.path"), "flag --model");
    assert_eq!(origin("chat.system"), "default");
    assert_eq!(settings.config_files.len(), 3);
}

#[test]
fn values_out_of_bounds_name_place_key_bound_and_value() {
    let dir = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("[daemon]\nmax_connections = 0", ":2: `daemon.max_connections` must be at least 1, got 0"),
        ("[daemon]\ndrain_grace = \"2h\"", ":2: `daemon.drain_grace` must be at most 1h, got 2h"),
        (
            "[daemon]\nmax_body_bytes = \"1 GiB\"",
            ":2: `daemon.max_body_bytes` must be at most 256 MiB, got 1 GiB",
        ),
        (
            "[chat]\n\nmax_message_bytes = \"3 MiB\"",
            ":3: `chat.max_message_bytes` must be at most 2 MiB, got 3 MiB",
        ),
        ("[chat]\ndeadline = \"2h\"", ":2: `chat.deadline` must be at most 1h, got 2h"),
        (
            "[chat]\npreset = \"wild\"",
            ":2: `chat.preset` must be one of \"accurate\", \"balanced\", \"creative\", got \"wild\"",
        ),
        ("[sampling]\ntemperature = 3", ":2: `sampling.temperature` must be between 0 and 2, got 3"),
        ("[sampling]\ntop_p = nan", ":2: `sampling.top_p` must be between 0 and 1, got NaN"),
        ("[preset.creative]\nmax_tokens = 0", ":2: `preset.creative.max_tokens` must be at least 1, got 0"),
        (
            "[sampling]\nlogit_bias = { x = 1 }",
            ":2: `sampling.logit_bias` must map token ids to numbers, got \"x\"",
        ),
        (
            "[sampling]\nlogit_bias = { 5 = 101 }",
            ":2: `sampling.logit_bias.5` must be between -100 and 100, got 101",
        ),
        (
            "[supervision]\nbackoff_first = \"1m\"",
            ":2: `supervision.backoff_first` must be at most 30s, got 1m",
        ),
        ("[log]\nlevel = \"loud=very\"", ":2: `log.level` must be a level (error, warn, info, debug, trace)"),
        (
            "[log]\nformat = \"xml\"",
            ":2: `log.format` must be one of \"auto\", \"pretty\", \"json\", got \"xml\"",
        ),
    ] {
        let path = write(dir.path(), "boca.toml", text);
        let flags = Flags { config: Some(path.clone()), ..Flags::default() };
        let error = load(&flags, &environment(Os::Linux, &[])).unwrap_err().to_string();
        let expected = format!("{}{expected}", path.display());
        assert!(error.starts_with(&expected), "{error}\n{expected}");
    }
    let long = format!("/{}", "x".repeat(120));
    let flags = Flags { socket: Some(long.into()), ..Flags::default() };
    let error = load(&flags, &environment(Os::Linux, &[])).unwrap_err().to_string();
    assert!(
        error.starts_with("flag --socket: `daemon.socket` must be at most 103 bytes long, got 121"),
        "{error}"
    );
}

#[test]
fn a_named_file_must_exist_and_a_missing_home_is_said() {
    let gone = Flags { config: Some("/nope/boca.toml".into()), ..Flags::default() };
    let error = load(&gone, &environment(Os::Linux, &[])).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the config file /nope/boca.toml: "), "{error}");
    let homeless = Environment { home: None, ..environment(Os::Linux, &[]) };
    let error = load(&Flags::default(), &homeless).unwrap_err().to_string();
    assert!(error.contains("`daemon.socket` has no default here"), "{error}");
    let flags = Flags { state_dir: Some("/s".into()), ..Flags::default() };
    assert_eq!(load(&flags, &homeless).unwrap().settings.daemon.socket, Path::new("/s/boca.sock"));
}

#[test]
fn a_reload_takes_what_is_live_and_names_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "boca.toml", "");
    let flags = Flags { config: Some(path), ..Flags::default() };
    let old = load(&flags, &environment(Os::Linux, &[])).unwrap();
    write(
        dir.path(),
        "boca.toml",
        "[daemon]\nmax_connections = 7\nmax_body_bytes = \"64 MiB\"\ndrain_grace = \"1s\"\n\
         [chat]\nsystem = \"Be kind.\"\nmax_message_bytes = \"32 MiB\"\n[model]\nthreads = 3",
    );
    let new = load(&flags, &environment(Os::Linux, &[])).unwrap();
    let change = diff(&old, &new);
    assert_eq!(change.live, ["daemon.drain_grace", "chat.system", "chat.max_message_bytes"]);
    assert_eq!(change.needs_restart, ["daemon.max_connections", "daemon.max_body_bytes", "model.threads"]);

    let shared = SharedSettings::new(old.settings.clone());
    shared.apply(&new.settings);
    let now = shared.current();
    assert_eq!(now.chat.system.as_deref(), Some("Be kind."));
    assert_eq!(now.daemon.drain_grace, std::time::Duration::from_secs(1));
    assert_eq!(now.daemon.max_connections, 256);
    assert_eq!(now.chat.max_message_bytes, 2 << 20, "the body limit needs a restart and holds until then");
    assert_eq!(now.model.threads, None);
    assert_eq!(diff(&new, &new), ConfigChange::default());
}

mod model {
    use super::*;
    use boca_engine::{EmbeddedCheckpoint, ModelSource};

    const DEMO: EmbeddedCheckpoint = EmbeddedCheckpoint { name: "demo", files: &[] };

    fn choose(root: &Path, named: Option<&str>) -> (Option<PathBuf>, Vec<String>) {
        let data = root.join("data").to_str().unwrap().to_owned();
        let config = root.join("config").to_str().unwrap().to_owned();
        let environment = environment(Os::Linux, &[("XDG_DATA_HOME", &data), ("XDG_CONFIG_HOME", &config)]);
        let flags = Flags { model: named.map(PathBuf::from), ..Flags::default() };
        let settings = load(&flags, &environment).unwrap().settings;
        let choice = choose_model(&settings, &environment, DEMO);
        let root = root.to_str().unwrap();
        let tried = choice.tried.iter().map(|t| format!("{} | {} | {}", t.path, t.from, t.outcome));
        let tried = tried.map(|line| line.replace(root, "ROOT")).collect();
        match choice.source {
            ModelSource::Directory(path) => (Some(path), tried),
            ModelSource::Embedded(_) => (None, tried),
        }
    }

    #[test]
    fn a_named_directory_is_taken_without_a_fall_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, tried) = choose(dir.path(), Some("/no/such"));
        assert_eq!(path.as_deref(), Some(Path::new("/no/such")));
        assert_eq!(tried, ["/no/such | --model | taken"]);
    }

    #[test]
    fn nothing_there_means_the_demo_model() {
        let dir = tempfile::tempdir().unwrap();
        let (path, tried) = choose(dir.path(), None);
        assert_eq!(path, None);
        assert_eq!(
            tried,
            [
                "ROOT/config/boca/models/glm4.5-air-mlx-4bit | default | not found",
                "ROOT/data/boca/models/* | default | not found",
                "embedded | embedded | taken",
            ]
        );
    }

    #[test]
    fn the_first_directory_of_our_kind_wins() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "data/boca/models/a/notes.txt", "");
        write(dir.path(), "data/boca/models/b/config.json", r#"{"model_type":"llama"}"#);
        write(dir.path(), "data/boca/models/c/config.json", r#"{"model_type":"glm4_moe"}"#);
        write(dir.path(), "data/boca/models/d/config.json", r#"{"model_type":"glm4_moe"}"#);
        let (path, tried) = choose(dir.path(), None);
        assert_eq!(path, Some(dir.path().join("data/boca/models/c")));
        assert!(tried[1].contains("| no readable config.json"), "{tried:?}");
        assert!(tried[2].ends_with("| `model_type` is \"llama\", not \"glm4_moe\""), "{tried:?}");
        assert!(tried[3].ends_with("| default | taken"), "{tried:?}");
        let beside = "config/boca/models/glm4.5-air-mlx-4bit";
        write(dir.path(), &format!("{beside}/config.json"), r#"{"model_type":"glm4_moe"}"#);
        assert_eq!(choose(dir.path(), None).0, Some(dir.path().join(beside)));
    }
}
