//! Which instruction sets there are, and which of them this processor has.

use super::kernels::Kernels;
use super::lanes;
use std::fmt;

/// An instruction set that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// What every processor of the target has.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F besides those.
    Avx512,
    /// Arm with NEON.
    Neon,
}

impl Isa {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// The best that this processor has.
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => has_avx2() && is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }

    /// Its kernels; `None` when this processor does not have it.
    pub(super) fn kernels(self) -> Option<Kernels> {
        if !self.is_available() {
            return None;
        }
        // SAFETY: the processor has just said that it has the instruction set.
        Some(unsafe {
            match self {
                Self::Portable => Kernels::of::<lanes::Portable>(),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => Kernels::of::<lanes::Avx2>(),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => Kernels::of::<lanes::Avx512>(),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => Kernels::of::<lanes::Neon>(),
                _ => return None,
            }
        })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        })
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}
