//! `boca config check` and `boca config show`, and how a bad configuration ends every command.

use crate::harness::{Home, stderr, stdout};
use serde_json::Value;

#[test]
fn without_a_file_the_defaults_hold() {
    let home = Home::new();
    let checked = home.run(&["config", "check"]);
    assert_eq!(stdout(&checked), "ok: there is no config file, the defaults hold\n");
    assert_eq!(checked.status.code(), Some(0));
    let shown = stdout(&home.run(&["config", "show"]));
    assert!(shown.starts_with("[daemon]\n"), "{shown}");
    assert!(shown.contains(&format!("socket = \"{}\"\n", home.socket().display())), "{shown}");
    assert!(shown.contains("# path is not set\n"), "{shown}");
    assert!(shown.contains("\n[preset.creative]\ntemperature = 1.0\n"), "{shown}");
}

#[test]
fn the_shipped_file_is_accepted_as_it_is() {
    let home = Home::new();
    home.write_config(include_str!("../../config/boca.toml"));
    let checked = home.run(&["config", "check"]);
    assert_eq!(stdout(&checked), format!("ok: {}\n", home.config_file().display()));
    assert_eq!(stderr(&checked), "");
}

#[test]
fn values_are_shown_with_their_origin() {
    let home = Home::new();
    home.write_config("[daemon]\nmax_connections = 7\n");
    let drop_in = home.config_file().with_extension("toml.d").join("10-local.toml");
    home.write(&drop_in, "[chat]\npreset = \"${PRESET:-accurate}\"\n");
    let mut command = home.command(&["config", "show", "--json", "--state-dir", "elsewhere"]);
    let output = command.env("GLM_MODEL_PATH", "/models/air").output().unwrap();
    let shown: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let entry =
        |key: &str| (shown[key]["value"].clone(), shown[key]["origin"].as_str().unwrap_or("").to_owned());
    let config = home.config_file();
    assert_eq!(entry("daemon.max_connections"), (7.into(), format!("{}:2", config.display())));
    assert_eq!(entry("chat.preset"), ("accurate".into(), format!("{}:2", drop_in.display())));
    assert_eq!(entry("model.path"), ("/models/air".into(), "environment variable GLM_MODEL_PATH".into()));
    assert_eq!(entry("daemon.state_dir").1, "flag --state-dir");
    assert_eq!(entry("daemon.drain_grace"), ("20s".into(), "default".into()));
    assert_eq!(entry("model.threads"), (Value::Null, String::new()));
    assert_eq!(shown["chat.preset"]["live"], true);
    assert_eq!(shown["daemon.max_connections"]["live"], false);
}

#[test]
fn a_bad_configuration_ends_every_command_with_78() {
    let home = Home::new();
    home.write_config("[daemon]\n\ndrain_grace = \"2h\"\n");
    let expected = format!(
        "error: {}:3: `daemon.drain_grace` must be at most 1h, got 2h\n",
        home.config_file().display()
    );
    for args in [
        &["config", "check"][..],
        &["config", "show"],
        &["serve"],
        &["status"],
        &["chat", "hi"],
        &["model", "info"],
    ] {
        let output = home.run(args);
        assert_eq!(stderr(&output), expected, "{args:?}");
        assert_eq!(output.status.code(), Some(78), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert!(!home.state_dir().join("store").exists(), "nothing was touched");
    let json: Value = serde_json::from_str(&stdout(&home.run(&["config", "check", "--json"]))).unwrap();
    assert_eq!(json["ok"], false);
    assert!(json["error"].as_str().unwrap().contains("`daemon.drain_grace`"), "{json}");
}

#[test]
fn a_file_can_be_checked_before_it_is_put_in_place() {
    let home = Home::new();
    home.write(&home.path("new.toml"), "[chat]\nmood = \"sunny\"\n");
    let output = home.run(&["config", "check", "new.toml"]);
    let message = stderr(&output);
    assert!(message.contains("/new.toml:2: `chat.mood`: unknown field `mood`, expected one of"), "{message}");
    let gone = home.run(&["config", "check", "gone.toml"]);
    assert_eq!(gone.status.code(), Some(78));
    assert!(stderr(&gone).contains("cannot read the config file"), "{}", stderr(&gone));
}

#[test]
fn a_model_path_that_leads_nowhere_is_a_warning() {
    let home = Home::new();
    home.write_config("[model]\npath = \"models/air\"\n");
    let output = home.run(&["config", "check"]);
    assert_eq!(output.status.code(), Some(0));
    let warning = stderr(&output);
    assert!(
        warning.starts_with("warning: ") && warning.contains("`model.path` is not a directory"),
        "{warning}"
    );
    home.write_config("[engine]\nadapter = \"adapters/mine\"\n");
    let output = home.run(&["config", "check"]);
    assert_eq!(output.status.code(), Some(0));
    let warning = stderr(&output);
    assert!(warning.contains(":2: `engine.adapter` is not a directory: /"), "{warning}");
}
