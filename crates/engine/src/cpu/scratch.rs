//! Buffers of a step, reused by the next one.

use crate::backend::BackendError;

/// A buffer that grows to the largest step so far.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    /// Its first `n_rows * width` numbers, whatever they are.
    pub(super) fn rows(&mut self, n_rows: usize, width: usize) -> Result<&mut [f32], BackendError> {
        let out_of_memory = || BackendError::OutOfMemory {
            n_tokens: n_rows,
            bytes: (n_rows as u64).saturating_mul(width as u64).saturating_mul(4),
        };
        let n = n_rows.checked_mul(width).ok_or_else(out_of_memory)?;
        if n > self.0.len() {
            self.0.try_reserve_exact(n - self.0.len()).map_err(|_| out_of_memory())?;
            self.0.resize(n, 0.0);
        }
        Ok(&mut self.0[..n])
    }
}
