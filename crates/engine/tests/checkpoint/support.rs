//! Copies of reference checkpoints that a test may damage.

use boca_engine::ModelSource;
use boca_engine::checkpoint::{CheckpointError, CheckpointWeights};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The reference checkpoints.
pub(crate) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// Names of all reference checkpoints.
pub(crate) fn shapes() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn open(directory: &Path) -> Result<CheckpointWeights, CheckpointError> {
    CheckpointWeights::open(&ModelSource::Directory(directory.to_path_buf()))
}

pub(crate) fn open_shape(name: &str) -> CheckpointWeights {
    open(&data().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

pub(crate) struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// A copy of a reference checkpoint or adapter.
pub(crate) struct Copied {
    directory: TempDir,
}

impl Copied {
    pub(crate) fn of(shape: &str) -> Self {
        Self::of_directory(&data().join(shape))
    }

    /// A copy of a reference adapter.
    pub(crate) fn of_adapter(name: &str) -> Self {
        Self::of_directory(&data().with_file_name("data-adapters").join(name))
    }

    fn of_directory(from: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
        }
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn open(&self) -> Result<CheckpointWeights, CheckpointError> {
        open(self.path())
    }

    /// The error of opening, with the directory's own path taken out.
    pub(crate) fn error(&self) -> String {
        let error = self.open().map(|_| ()).expect_err("a damaged checkpoint was opened").to_string();
        error.replace(&self.path().display().to_string(), "DIR")
    }

    /// Rewrites `config.json`.
    pub(crate) fn edit_config(&self, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
        self.edit_json("config.json", edit);
    }

    pub(crate) fn edit_json(&self, file: &str, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
        let path = self.file(file);
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(json.as_object_mut().unwrap());
        fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
    }

    /// Rewrites `model.safetensors`.
    pub(crate) fn edit_tensors(&self, edit: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
        self.edit_tensors_of("model.safetensors", edit);
    }

    pub(crate) fn edit_tensors_of(&self, file: &str, edit: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
        let path = self.file(file);
        let file = fs::read(&path).unwrap();
        let mut tensors: BTreeMap<String, Tensor> = SafeTensors::deserialize(&file)
            .unwrap()
            .iter()
            .map(|(name, view)| {
                let (dtype, shape) = (view.dtype(), view.shape().to_vec());
                (name.to_string(), Tensor { dtype, shape, bytes: view.data().to_vec() })
            })
            .collect();
        edit(&mut tensors);
        let views = tensors
            .iter()
            .map(|(name, t)| (name, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
        fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }

    /// Cuts a file off.
    pub(crate) fn truncate(&self, file: &str, n_bytes: u64) {
        fs::OpenOptions::new().write(true).open(self.file(file)).unwrap().set_len(n_bytes).unwrap();
    }
}
