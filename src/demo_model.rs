//! The demo model: a small, trained GLM-4 MoE that is part of the binary, so that boca answers out of the box.

use boca_engine::{EmbeddedCheckpoint, EmbeddedFile};

/// Its name for people and in `model_used`.
pub(crate) const NAME: &str = "boca-demo";

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(EmbeddedFile { name: $name, bytes: include_bytes!(concat!("../assets/demo-model/", $name)) }),+]
    };
}

/// The checkpoint, file by file as it lies in `assets/demo-model`.
pub(crate) const DEMO_MODEL: EmbeddedCheckpoint = EmbeddedCheckpoint {
    name: NAME,
    files: files![
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_directory_is_embedded() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model");
        let mut there: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".md"))
            .collect();
        there.sort();
        let mut embedded: Vec<&str> = DEMO_MODEL.files.iter().map(|file| file.name).collect();
        embedded.sort_unstable();
        assert_eq!(there, embedded);
    }

    #[test]
    fn it_stays_small() {
        let bytes: usize = DEMO_MODEL.files.iter().map(|file| file.bytes.len()).sum();
        assert!(bytes <= 12 << 20, "the demo model may have 12 MiB, it has {bytes} bytes");
    }
}
