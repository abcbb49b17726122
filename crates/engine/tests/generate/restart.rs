//! What was computed before a restart is not computed again, and what is on disk is believed only when it is whole.

use crate::echo::{Seen, Told, asking, echo_that_keeps};
use boca_core::{ChatMessage, GenerateRequest, GenerationEvent, Usage};
use boca_engine::generate::{Engine, EngineOptions, PrefixCacheDisk, load};
use boca_engine::{CancelToken, Generator, ModelSource};
use safetensors::tensor::{Dtype, TensorView};
use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

const STORY: &str =
    "Once there was a daemon that kept every word it had ever read, and never read one twice.";

fn place(directory: &Path, max_bytes: u64) -> PrefixCacheDisk {
    PrefixCacheDisk { directory: directory.join("kept"), max_bytes }
}

fn engine(directory: &Path, model: u64, max_bytes: u64) -> (Engine, Rc<RefCell<Seen>>) {
    let (mut engine, seen) = echo_that_keeps(64, 10_000);
    engine.keep_on_disk(&place(directory, max_bytes), model);
    (engine, seen)
}

fn run(engine: &mut dyn Generator, request: &GenerateRequest) -> Usage {
    let mut told = Told::default();
    told.begin(engine, request);
    told.run(engine);
    told.ends[request.id.as_str()].as_ref().unwrap().usage
}

fn next_turn(first: &GenerateRequest) -> GenerateRequest {
    let mut request = GenerateRequest { id: "next".parse().unwrap(), ..first.clone() };
    request.messages.push(ChatMessage::assistant("It read on."));
    request.messages.push(ChatMessage::user("And then?"));
    request
}

fn computed(seen: &Rc<RefCell<Seen>>) -> usize {
    seen.borrow().steps.iter().flatten().map(|(_, n)| n).sum()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("kept")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_turn_after_a_restart_computes_only_what_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let first = asking("first", STORY, 5);
    let warm = {
        let (mut engine, _) = echo_that_keeps(64, 10_000);
        run(&mut engine, &first);
        run(&mut engine, &next_turn(&first))
    };
    let (mut before, _) = engine(directory.path(), 1, 1 << 20);
    run(&mut before, &first);
    drop(before);
    let (mut after, seen) = engine(directory.path(), 1, 1 << 20);
    assert_eq!(computed(&seen), 0);
    let usage = run(&mut after, &next_turn(&first));
    assert_eq!(usage, warm, "as if it had never ended");
    assert!(usage.cached_tokens > 20);
    assert_eq!(computed(&seen), (usage.prompt_tokens - usage.cached_tokens) as usize + 4);
    let load = after.load();
    assert_eq!((load.prefix_hits_total, load.prefix_misses_total), (1, 0));
    drop(after);
    // The template writes the first answer down differently in the next turn, so that both are ends.
    assert_eq!(files(directory.path()).len(), 2);
    let (mut longer, _) = engine(directory.path(), 1, 1 << 20);
    run(&mut longer, &asking("longer", STORY, 9));
    drop(longer);
    assert_eq!(files(directory.path()).len(), 2, "the longer one takes the place of its beginning");
    for (path, mode) in [(directory.path().join("kept"), 0o700), (files(directory.path())[0].clone(), 0o600)]
    {
        assert_eq!(
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
            mode,
            "nobody else reads it"
        );
    }
}

#[test]
fn a_system_prompt_is_not_computed_again() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let (mut engine, seen) = engine(directory.path(), 1, 1 << 20);
        engine.read_ahead(STORY).unwrap();
        assert_eq!(computed(&seen) == 0, round == 1, "round {round}");
    }
}

#[test]
fn what_is_not_whole_or_not_of_this_model_is_removed() {
    let keep = |directory: &Path| {
        let (mut engine, _) = engine(directory, 1, 1 << 20);
        run(&mut engine, &asking("first", STORY, 5));
        drop(engine);
        let [path] = &files(directory)[..] else { panic!("one file") };
        (path.clone(), std::fs::read(path).unwrap())
    };
    let whole = tempfile::tempdir().unwrap();
    let (_, good) = keep(whole.path());
    let mut damages: Vec<Vec<u8>> = vec![Vec::new(), vec![7; 1000], good[..good.len() - 1].to_vec()];
    for at in [0, 9, 20, 30, 45, 50, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        damages.push(bad);
    }
    for bad in damages {
        let directory = tempfile::tempdir().unwrap();
        let (path, _) = keep(directory.path());
        std::fs::write(&path, &bad).unwrap();
        std::fs::write(path.with_extension("tmp"), "half a file").unwrap();
        let (mut engine, _) = engine(directory.path(), 1, 1 << 20);
        assert_eq!(files(directory.path()).len(), 0, "{} bytes", bad.len());
        let usage = run(&mut engine, &asking("again", STORY, 5));
        assert_eq!(usage.cached_tokens, 0, "it is computed anew");
    }
    // Of another model; and of no room.
    for (model, max_bytes) in [(2, 1 << 20), (1, 100)] {
        let directory = tempfile::tempdir().unwrap();
        keep(directory.path());
        let (engine, _) = engine(directory.path(), model, max_bytes);
        assert_eq!((engine.load().prefix_cache_tokens, files(directory.path()).len()), (0, 0));
    }
}

#[test]
fn the_directory_holds_its_bound_and_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let (mut engine, _) = engine(directory.path(), 1, 1500);
        for n in 0..4 {
            run(&mut engine, &asking(&format!("r{n}"), &format!("{round} {n} {STORY}"), 3));
        }
        drop(engine);
        let sizes: u64 = files(directory.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!((300..=1500).contains(&sizes), "{sizes} bytes");
    }
    let (mut engine, _) = engine(directory.path(), 1, 1500);
    let last = run(&mut engine, &asking("last", &format!("2 3 {STORY}"), 3));
    assert_eq!(last.cached_tokens + 1, last.prompt_tokens, "the last one is there");
}

#[test]
fn the_demo_model_gives_the_same_logits_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let model = |disk: Option<PrefixCacheDisk>, prefix_cache_bytes| {
        let options = EngineOptions {
            threads: Some(2),
            prefix_cache_bytes,
            prefix_cache_disk: disk,
            system_prompts: vec!["You are a daemon.".into()],
            ..EngineOptions::default()
        };
        let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
        load(&ModelSource::Directory(demo), &options, &mut |_| {}).unwrap()
    };
    let ask = |model: &mut dyn Generator, request: &GenerateRequest| {
        let mut events: Vec<GenerationEvent> = Vec::new();
        let never = CancelToken::default();
        let end = model.generate(request, Instant::now(), &never, &mut |event| events.push(event));
        (events, end.unwrap().usage)
    };
    let mut first = asking("a", "What can you do? Tell me in two sentences.", 24);
    first.messages.insert(0, ChatMessage::system("You are a daemon."));
    first.top_logprobs = Some(5);
    first.sampling.thinking = Some(false);
    let mut other = asking("b", "How do I stop the daemon?", 24);
    other.messages.insert(0, ChatMessage::system("You are a daemon."));
    let disk = || Some(place(directory.path(), 1 << 30));
    let mut before = model(disk(), 1 << 30);
    ask(before.as_mut(), &first);
    ask(before.as_mut(), &other);
    drop(before);
    let next = next_turn(&first);
    let (fresh, _) = ask(model(None, 0).as_mut(), &next);
    let mut after = model(disk(), 1 << 30);
    assert_eq!(after.load().prompt_tokens_computed_total, 0);
    let (restored, usage) = ask(after.as_mut(), &next);
    assert_eq!(restored, fresh, "events with all their log-probabilities");
    assert!(usage.cached_tokens > 20, "{usage:?}");
}

/// A small adapter for the demo model.
fn write_adapter(directory: &Path, scale: f32) {
    std::fs::create_dir_all(directory).unwrap();
    let config = format!(
        "{{\"num_layers\": 1, \"lora_parameters\": {{\"rank\": 1, \"scale\": {scale}, \"keys\": [\"self_attn.o_proj\"]}}}}"
    );
    std::fs::write(directory.join("adapter_config.json"), config).unwrap();
    let bytes: Vec<u8> = (0..256).flat_map(|i| (0.02 * (i % 7) as f32).to_le_bytes()).collect();
    let view = |shape: [usize; 2]| TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
    let path = "model.layers.3.self_attn.o_proj";
    let tensors = [(format!("{path}.lora_a"), view([256, 1])), (format!("{path}.lora_b"), view([1, 256]))];
    let bytes = safetensors::serialize(tensors, None).unwrap();
    std::fs::write(directory.join("adapters.safetensors"), bytes).unwrap();
}

#[test]
fn what_was_kept_with_an_adapter_is_for_that_adapter_alone() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
    write_adapter(&one, 1.0);
    write_adapter(&other, 2.0);
    let model = |adapter: Option<&PathBuf>| {
        let options = EngineOptions {
            threads: Some(2),
            adapter: adapter.cloned(),
            prefix_cache_disk: Some(place(directory.path(), 1 << 30)),
            ..EngineOptions::default()
        };
        let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
        load(&ModelSource::Directory(demo), &options, &mut |_| {}).unwrap()
    };
    let question = asking("a", "What can you do? Tell me in two sentences.", 4);
    let cached = |adapter: Option<&PathBuf>| run(model(adapter).as_mut(), &question).cached_tokens;
    assert_eq!(cached(Some(&one)), 0);
    assert!(cached(Some(&one)) > 10);
    // Whoever finds files of another model removes them, so each begins anew.
    assert_eq!(cached(Some(&other)), 0);
    assert!(cached(Some(&other)) > 10);
    assert_eq!(cached(None), 0);
    assert!(cached(None) > 10);
    assert_eq!(cached(Some(&one)), 0);
    let info = model(Some(&other)).info().clone();
    assert_eq!(info.name, "demo-model+other");
    assert_eq!(info.adapter.unwrap().rank, Some(1));
}
