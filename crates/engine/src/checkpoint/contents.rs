//! Where the bytes of an open checkpoint are: what paging in and verifying go through.

use super::files::CheckpointFiles;
use super::safetensors::TensorEntry;
use super::shards::{Shard, TensorTable};
use super::tensor::Bytes;
use std::collections::HashSet;
use std::hint::black_box;
use std::ops::Range;

/// How much is asked of the system at once, and how often progress is reported.
const WINDOW_BYTES: usize = 64 << 20;
/// The smallest page of any system that this runs on.
const PAGE_BYTES: usize = 4096;

/// The mapped files and the tensors in use.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) files: CheckpointFiles,
    pub(super) shards: Vec<Shard>,
    /// For each shard, its tensors in use in the order of their bytes.
    pub(super) tensors: Vec<Vec<TensorEntry>>,
}

impl Contents {
    pub(super) fn of(files: CheckpointFiles, table: TensorTable, used: &HashSet<String>) -> Self {
        let mut tensors: Vec<Vec<TensorEntry>> = table.shards.iter().map(|_| Vec::new()).collect();
        for (name, (shard, entry)) in table.tensors {
            if used.contains(&name) {
                tensors[shard].push(entry);
            }
        }
        for of_shard in &mut tensors {
            of_shard.sort_by_key(|entry| entry.range.start);
        }
        Self { files, shards: table.shards, tensors }
    }

    /// Takes in a file whose tensors are all in use.
    pub(super) fn add(&mut self, shard: Shard, mut tensors: Vec<TensorEntry>) {
        tensors.sort_by_key(|entry| entry.range.start);
        self.shards.push(shard);
        self.tensors.push(tensors);
    }

    pub(super) fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().flatten().map(|entry| entry.range.len() as u64).sum()
    }

    /// Touches every page that holds a tensor in use. One thread is enough: the system reads ahead of it, and a disk
    /// is slower than the touching.
    pub(super) fn page_in(&self, progress: &mut dyn FnMut(u64, u64)) {
        let total = self.tensor_bytes();
        let mut done = 0;
        progress(done, total);
        for (shard, tensors) in self.shards.iter().zip(&self.tensors) {
            for window in windows(tensors) {
                ask_for(&shard.bytes, window.clone());
                for page in shard.bytes[window.clone()].chunks(PAGE_BYTES) {
                    black_box(page[0]);
                }
                // The window need not begin at a page's start, so its end may lie on one page more.
                black_box(shard.bytes[window.end - 1]);
                done += window.len() as u64;
                progress(done, total);
            }
        }
    }
}

/// The tensors' bytes as windows that never reach over a gap.
fn windows(tensors: &[TensorEntry]) -> Vec<Range<usize>> {
    let mut windows: Vec<Range<usize>> = Vec::new();
    for entry in tensors {
        let mut start = entry.range.start;
        while start < entry.range.end {
            match windows.last_mut() {
                Some(last) if last.end == start && last.len() < WINDOW_BYTES => {
                    let room = WINDOW_BYTES - last.len();
                    last.end += room.min(entry.range.end - start);
                    start = last.end;
                }
                _ => {
                    let end = entry.range.end.min(start + WINDOW_BYTES);
                    windows.push(start..end);
                    start = end;
                }
            }
        }
    }
    windows
}

/// Lets the system read a window with large requests. It is a hint: where it is refused, touching still works.
fn ask_for(bytes: &Bytes, window: Range<usize>) {
    if let Bytes::Mapped(map) = bytes
        && let Err(error) = map.advise_range(memmap2::Advice::WillNeed, window.start, window.len())
    {
        tracing::debug!(%error, "the system does not read ahead");
    }
}

#[cfg(test)]
mod tests {
    use super::super::safetensors::DType;
    use super::*;

    fn entry(range: Range<usize>) -> TensorEntry {
        TensorEntry { name: String::new(), dtype: DType::F32, shape: vec![range.len() / 4], range }
    }

    #[test]
    fn windows_cover_all_tensors_and_no_gap() {
        let tensors = [entry(16..40), entry(40..60), entry(100..WINDOW_BYTES * 2 + 100), entry(0..0)];
        assert_eq!(
            windows(&tensors),
            [16..60, 100..100 + WINDOW_BYTES, 100 + WINDOW_BYTES..100 + 2 * WINDOW_BYTES]
        );
        assert!(windows(&[]).is_empty());
    }
}
