//! In how many bits keys and values are kept.

use serde::{Deserialize, Serialize};

/// The number format of a KV cache. Whatever it is, a number is rounded once, when it is written, so that results do
/// not depend on how a prompt was cut into steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvPrecision {
    /// 32 bits: no loss.
    F32,
    /// 16 bits, 11 of them significant.
    #[default]
    F16,
    /// 16 bits, 8 of them significant, and the range of `f32`.
    Bf16,
    /// 8 bits with a scale for each 32 numbers of a head.
    Q8,
}

impl KvPrecision {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Q8];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
        }
    }

    /// The format of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.as_str() == name)
    }

    /// Bytes of `n` numbers of one head.
    pub fn bytes_of(self, n: usize) -> usize {
        match self {
            Self::F32 => 4 * n,
            Self::F16 | Self::Bf16 => 2 * n,
            Self::Q8 => n + n.div_ceil(Self::GROUP) * size_of::<f32>(),
        }
    }

    /// Numbers that share a scale in [`KvPrecision::Q8`].
    pub const GROUP: usize = 32;
}
