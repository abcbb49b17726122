//! The rules of ARCHITECTURE.md that a machine can hold: who may import whom, and what every crate shares.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::path::{Path, PathBuf};

/// Which of our crates each of our crates may use.
const OURS: [(&str, &[&str]); 11] = [
    (
        "boca",
        &[
            "boca-actors",
            "boca-api",
            "boca-cli",
            "boca-core",
            "boca-engine",
            "boca-providers",
            "boca-store",
            "boca-workflow",
        ],
    ),
    ("boca-actors", &["boca-core", "boca-engine", "boca-providers", "boca-store", "boca-workflow"]),
    ("boca-engine", &["boca-core"]),
    ("boca-providers", &["boca-core", "boca-sse"]),
    ("boca-store", &["boca-core"]),
    ("boca-workflow", &["boca-core"]),
    ("boca-core", &[]),
    ("boca-sse", &[]),
    ("boca-api", &["boca-sse"]),
    ("boca-cli", &["boca-api"]),
    // Nobody may name it here: it is for tests, which these edges leave out.
    ("boca-fake-providers", &[]),
];

/// Who may use a crate of others that stands for a decision.
const OTHERS: [(&str, &[&str]); 14] = [
    ("actix", &["boca", "boca-actors"]),
    ("actix-rt", &["boca", "boca-actors"]),
    ("actix-web", &["boca"]),
    ("anyhow", &["boca", "boca-cli"]),
    ("clap", &["boca", "boca-cli"]),
    ("hyper", &["boca-api"]),
    ("memmap2", &["boca-engine"]),
    ("minijinja", &["boca-engine"]),
    ("mlx-rs", &["boca-engine"]),
    ("mlx-sys", &["boca-engine"]),
    ("reqwest", &["boca-providers"]),
    ("sled", &["boca-store"]),
    ("tokenizers", &["boca-engine"]),
    ("toml", &["boca"]),
];

/// The most lines of a source file.
const MAX_LINES: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

/// Direct dependencies, for every target and feature, without those of tests and build scripts.
fn edges() -> Vec<(String, String)> {
    let mut edges = Vec::new();
    for package in metadata().packages {
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Normal {
                edges.push((package.name.to_string(), dependency.name.clone()));
            }
        }
    }
    assert!(edges.len() > 40, "cargo metadata shows hardly any dependencies: {edges:?}");
    edges
}

#[test]
fn our_crates_use_only_those_below_them() {
    for (from, to) in edges().iter().filter(|(_, to)| to.starts_with("boca")) {
        let allowed = OURS.iter().find(|(name, _)| name == from);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{from} is not in the table of crates"));
        assert!(allowed.contains(&to.as_str()), "{from} must not depend on {to}");
    }
}

#[test]
fn a_decision_stays_in_its_crate() {
    for (from, to) in edges() {
        if let Some((_, users)) = OTHERS.iter().find(|(name, _)| *name == to) {
            assert!(users.contains(&from.as_str()), "{from} must not depend on {to}; only {users:?} may");
        }
    }
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    for package in metadata().packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} lacks them", package.manifest_path);
    }
}

/// Every Rust file of ours, with its path below the root.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    for dir in ["src", "actors", "crates", "tests"] {
        walk(&root().join(dir), &mut found);
    }
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

#[test]
fn files_stay_short() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:#?}");
}

#[test]
fn unsafe_code_is_the_engines_alone() {
    for (path, text) in sources() {
        let allows = ["allow", "expect"].iter().any(|word| text.contains(&format!("{word}(unsafe_code")));
        assert!(!allows || path.starts_with("crates/engine"), "{} allows unsafe code", path.display());
    }
}

#[test]
fn only_main_ends_the_process() {
    let call = concat!("process::", "exit(");
    for (path, text) in sources() {
        let ends = text.lines().any(|line| line.contains(call) && !line.trim_start().starts_with("//"));
        assert!(!ends || path == Path::new("src/main.rs"), "{} ends the process", path.display());
    }
}

#[test]
fn no_test_is_skipped() {
    let attribute = concat!("#[", "ignore");
    for (path, text) in sources() {
        assert!(!text.contains(attribute), "{} skips a test", path.display());
    }
}

#[test]
fn every_folder_of_the_top_level_is_there_and_used() {
    for dir in ["src", "actors", "config", "systemd", "launchd", "tests", "assets/demo-model"] {
        let mut entries = std::fs::read_dir(root().join(dir)).unwrap_or_else(|e| panic!("{dir}: {e}"));
        assert!(entries.next().is_some(), "{dir} is empty");
    }
}
