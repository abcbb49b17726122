//! Why a checkpoint cannot be used. Every message names the file, the tensor or field, what was expected and what
//! was found.

use std::io;

/// What an interrupted download looks like from here, and what to do about it.
const DOWNLOAD_AGAIN: &str = "a download that was interrupted leaves such gaps: download the model again";

/// A checkpoint that cannot be used. The variants differ in what the user can do: point somewhere else, complete the
/// download, or take another build of the model.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The path is wrong: point somewhere else.
    #[error("{path}: expected a model directory, found {found}")]
    NotADirectory {
        /// The path as configured.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// The path of the adapter is wrong: point somewhere else.
    #[error("{path}: expected an adapter directory, found {found}")]
    NotAnAdapter {
        /// The path as configured.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// The system refused to read a file that is there: look at permissions and disks.
    #[error("{file}: could not {action}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What was tried: `open`, `read`, `map`, `list`.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A file that every checkpoint has is not there: point somewhere else, or complete the download.
    #[error("{file}: expected {expected}, found no such file{hint}")]
    MissingFile {
        /// The file.
        file: String,
        /// What it should have held.
        expected: &'static str,
        /// What may help, beginning with `: `, or nothing.
        hint: String,
    },
    /// Files that the index names are not there: complete the download.
    #[error(
        "{file}: expected a shard of the weights, found no such file; {n_missing} of {n_shards} shards are missing; {DOWNLOAD_AGAIN}"
    )]
    MissingShards {
        /// The first missing shard.
        file: String,
        /// How many are missing.
        n_missing: usize,
        /// How many there should be.
        n_shards: usize,
    },
    /// A file is damaged: download it again.
    #[error("{file}{}: expected {expected}, found {found}", of_tensor(tensor))]
    Damaged {
        /// The file.
        file: String,
        /// The tensor whose entry is wrong, if it is one tensor's.
        tensor: Option<String>,
        /// What a good file has there.
        expected: String,
        /// What this one has.
        found: String,
    },
    /// Another kind of model: point at a GLM-4 MoE.
    #[error("{file}: `model_type`: expected `glm4_moe`, found {found}")]
    UnknownArchitecture {
        /// The config file.
        file: String,
        /// What it says.
        found: String,
    },
    /// A value in a JSON file that is impossible, or that this engine does not support: take another build.
    #[error("{file}: `{field}`: expected {expected}, found {found}")]
    BadField {
        /// The JSON file.
        file: String,
        /// The field, with dots for nesting.
        field: String,
        /// The bound, or what is supported.
        expected: String,
        /// The value.
        found: String,
    },
    /// Tensors that the config asks for are in no file: complete the download.
    #[error(
        "{file}: expected {n_expected} tensors, found {n_missing} of them missing: {}; {DOWNLOAD_AGAIN}",
        first_few(first, *n_missing)
    )]
    MissingTensors {
        /// The directory, or the one file that should have held them.
        file: String,
        /// How many are missing.
        n_missing: usize,
        /// How many the config asks for.
        n_expected: usize,
        /// The first few names.
        first: Vec<String>,
    },
    /// A tensor of another shape or type than the config asks for: the files do not belong together.
    #[error("{file}: tensor `{tensor}`: expected {expected}, found {found}")]
    WrongTensor {
        /// The file that holds it.
        file: String,
        /// Its name.
        tensor: String,
        /// Shape and type by the config.
        expected: String,
        /// Shape and type in the file.
        found: String,
    },
    /// Something in an adapter that this engine cannot use: train it otherwise, or fuse it into the model.
    #[error("{file}: `{field}`: {problem}")]
    UnsupportedAdapter {
        /// `adapter_config.json`.
        file: String,
        /// The field.
        field: String,
        /// What is not supported, and what to do instead.
        problem: &'static str,
    },
    /// Tensors that the config has no place for. Leaving out a bias would give wrong answers, so they are an error.
    #[error(
        "{file}: expected only tensors that the config asks for, found {n_extra} more: {}",
        first_few(first, *n_extra)
    )]
    UnexpectedTensors {
        /// The file that holds the first.
        file: String,
        /// How many there are.
        n_extra: usize,
        /// The first few names.
        first: Vec<String>,
    },
}

fn of_tensor(tensor: &Option<String>) -> String {
    tensor.as_ref().map(|name| format!(": tensor `{name}`")).unwrap_or_default()
}

fn first_few(first: &[String], n: usize) -> String {
    let names: Vec<_> = first.iter().map(|name| format!("`{}`", shown(name))).collect();
    let more = if n > first.len() { format!(" and {} more", n - first.len()) } else { String::new() };
    format!("{}{more}", names.join(", "))
}

/// Text from a file, cut so that a hostile name cannot flood a log.
pub(super) fn shown(text: &str) -> String {
    const MOST_CHARS: usize = 120;
    match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
