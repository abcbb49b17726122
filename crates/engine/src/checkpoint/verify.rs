//! `boca model verify`: reading every byte, and looking for numbers that cannot be right.

use super::adapter::LORA_B;
use super::contents::Contents;
use super::error::CheckpointError;
use super::safetensors::TensorEntry;
use super::shards::Shard;
use std::io::Read;

const BUFFER_BYTES: usize = 4 << 20;

/// What verifying found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Every weight file.
    pub files: Vec<FileReport>,
    /// Everything that is wrong; empty for a good checkpoint.
    pub problems: Vec<TensorProblem>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.files.iter().all(|file| file.unreadable.is_none())
    }
}

/// One weight file.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub file: String,
    /// Its size.
    pub size_bytes: u64,
    /// Tensors in it that the model uses.
    pub n_tensors: usize,
    /// CRC-32 (IEEE) of the whole file, to compare copies.
    pub crc32: u32,
    /// Why it could not be read to its end.
    pub unreadable: Option<CheckpointError>,
}

/// A tensor whose content cannot be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorProblem {
    /// The file that holds it.
    pub file: String,
    /// Its name.
    pub tensor: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Contents {
    /// Reads and checks everything, reporting bytes read and bytes in all.
    pub(super) fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> VerifyReport {
        let total = self.shards.iter().map(|shard| shard.bytes.len() as u64).sum();
        let mut report = VerifyReport::default();
        let mut done = 0;
        progress(done, total);
        for (shard, tensors) in self.shards.iter().zip(&self.tensors) {
            let file = shard.shown_path();
            let mut crc = crc32fast::Hasher::new();
            let read = read_through(shard, &mut |part| {
                crc.update(part);
                done += part.len() as u64;
                progress(done, total);
            });
            // What a disk could not read would end the process when it is touched through the mapping.
            if read.is_ok() {
                report.problems.extend(tensors.iter().filter_map(|entry| {
                    let problem = problem_of(entry, &shard.bytes[entry.range.clone()])?;
                    Some(TensorProblem { file: file.clone(), tensor: entry.name.clone(), problem })
                }));
            }
            report.files.push(FileReport {
                file,
                size_bytes: shard.bytes.len() as u64,
                n_tensors: tensors.len(),
                crc32: crc.finalize(),
                unreadable: read.err(),
            });
        }
        report
    }
}

/// Reads by `read`, where a bad disk is an error, not by the mapping, where it is a signal.
fn read_through(shard: &Shard, take: &mut dyn FnMut(&[u8])) -> Result<(), CheckpointError> {
    let Shard { files, name, bytes } = shard;
    let Some(mut file) = files.open_plain(name)? else {
        bytes.chunks(BUFFER_BYTES).for_each(take);
        return Ok(());
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut read = 0;
    loop {
        let n = file.read(&mut buffer).map_err(|source| files.io(name, "read", source))?;
        if n == 0 {
            break;
        }
        read += n;
        take(&buffer[..n]);
    }
    if read == bytes.len() {
        return Ok(());
    }
    Err(CheckpointError::Damaged {
        file: shard.shown_path(),
        tensor: None,
        expected: format!("{} bytes, as when it was opened", bytes.len()),
        found: format!("{read} bytes"),
    })
}

fn problem_of(entry: &TensorEntry, bytes: &[u8]) -> Option<String> {
    if let Some(float) = entry.dtype.float() {
        let values = bytes.chunks(BUFFER_BYTES).flat_map(|part| float.to_f32(part));
        let (mut n_bad, mut first) = (0_u64, None);
        for (i, value) in values.enumerate().filter(|(_, value)| !value.is_finite()) {
            n_bad += 1;
            first.get_or_insert((i, value));
        }
        if let Some((i, value)) = first {
            return Some(format!("expected finite numbers, found {n_bad} others, the first {value} at {i}"));
        }
    }
    // A file that was allocated but never filled reads as zeros. Vectors may be zero in earnest, and so may one half of an
    // adapter, which training begins at zero.
    let is_matrix = entry.shape.len() > 1 && !entry.name.ends_with(LORA_B);
    (is_matrix && !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0))
        .then(|| "expected weights, found zeros only".to_string())
}
