//! A checkpoint with every tensor of GLM-4.5-Air in files that are all hole: whoever read the weights, or copied
//! them, would not come back with 60 GB of memory to spare.

use crate::support::open;
use boca_engine::synthetic::{SyntheticCheckpoint, SyntheticShape};
use std::os::unix::fs::MetadataExt;

/// The published size of the 4-bit build.
const PUBLISHED_BYTES: u64 = 60_160_161_534;
const N_LAYERS: usize = 46;

#[test]
fn glm_4_5_air_in_dozens_of_shards_opens_without_reading_its_weights() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("air");
    let shape = SyntheticShape::glm_4_5_air(N_LAYERS).unwrap();
    let written = SyntheticCheckpoint { shape, seed: 0, chat_template: String::new() }
        .write_hollow(&directory)
        .unwrap();
    assert!(written.n_shards > 48, "{}", written.n_shards);

    let checkpoint = open(&directory).unwrap();
    let info = checkpoint.model_info("none", checkpoint.config.kv_bytes_per_token(2));
    // The published files hold these tensors, their headers, and the tokenizer.
    assert!(info.weights_bytes <= PUBLISHED_BYTES, "{}", info.weights_bytes);
    assert!(PUBLISHED_BYTES - info.weights_bytes < 50_000_000, "{}", info.weights_bytes);
    assert_eq!(info.n_parameters / 1_000_000_000, 106, "{}", info.n_parameters);
    assert_eq!(info.n_active_parameters / 1_000_000_000, 12, "{}", info.n_active_parameters);
    assert_eq!(info.kv_bytes_per_token, 188_416);
    assert_eq!(checkpoint.weights.layers.len(), N_LAYERS);
    let files = std::fs::read_dir(&directory).unwrap();
    let on_disk: u64 = files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum();
    assert!(on_disk < 64 << 20, "{on_disk} bytes are on the disk");
}
