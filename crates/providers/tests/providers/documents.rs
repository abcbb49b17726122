//! Every documented shape of a response, read as it would come over the wire. What comes out is held by snapshots.

use crate::support::{KINDS, ask, endpoint, request};
use boca_fake_providers::{Behaviour, FakeProvider, Fault};
use boca_providers::{AskOptions, HttpProvider};
use std::fs;
use std::path::{Path, PathBuf};

/// The documents of a protocol. A name says the status and, by its ending, the content type.
fn documents(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(kind);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{kind} has only {} documents", paths.len());
    paths
}

fn status_and_type(path: &Path) -> (u16, &'static str) {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let status = name.rsplit('.').next().unwrap().parse().unwrap();
    let content_type = match path.extension().unwrap().to_str().unwrap() {
        "json" => "application/json; charset=UTF-8",
        "sse" => "text/event-stream",
        "ndjson" => "application/x-ndjson",
        "html" => "text/html; charset=UTF-8",
        _ => "text/plain",
    };
    (status, content_type)
}

#[tokio::test]
async fn every_documented_shape_is_read() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        let provider = HttpProvider::new(endpoint(kind, &fake)).unwrap();
        let mut read = String::new();
        for path in documents(kind.as_str()) {
            let (status, content_type) = status_and_type(&path);
            let body = fs::read_to_string(&path).unwrap();
            fake.set(Behaviour::fault(Fault::Raw { status, content_type: content_type.into(), body }));
            let options = AskOptions { unary: content_type.contains("/json"), ..AskOptions::default() };
            let outcome = ask(&provider, &request(), &options).await;
            let name = path.file_name().unwrap().to_str().unwrap();
            read.push_str(&format!("{name}\n  {}\n", outcome.render().replace('\n', "\n  ")));
        }
        insta::assert_snapshot!(kind.as_str(), read);
    }
}
