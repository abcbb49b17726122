//! Which backend computes, and on what.

use super::EngineOptions;
use crate::EngineError;
use crate::backend::Backend;
use crate::checkpoint::{CheckpointWeights, Cut, Share};
use crate::cpu::{CpuBackend, CpuOptions};
use crate::memory::{ModelNeeds, Placement};
use serde::{Deserialize, Serialize};

/// `engine.backend`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BackendChoice {
    /// MLX where it has a graphics processor, the CPU engine elsewhere.
    #[default]
    Auto,
    /// MLX.
    Mlx,
    /// The CPU engine.
    Cpu,
}

/// `engine.device`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DeviceChoice {
    /// The graphics processor where the backend has one.
    #[default]
    Auto,
    /// The graphics processor.
    Gpu,
    /// The processor.
    Cpu,
}

/// What came of the choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    Native,
    Mlx { gpu: bool },
}

/// What there is to choose from.
#[derive(Debug, Clone, Copy)]
struct Offer {
    /// Whether this build has MLX.
    mlx: bool,
    /// Whether MLX has a graphics processor here.
    gpu: bool,
}

impl Offer {
    fn here() -> Self {
        #[cfg(any(target_os = "macos", feature = "mlx"))]
        return Self { mlx: true, gpu: crate::mlx::MlxBackend::has_gpu() };
        #[cfg(not(any(target_os = "macos", feature = "mlx")))]
        Self { mlx: false, gpu: false }
    }
}

impl Chosen {
    /// What the options ask for on this machine.
    ///
    /// # Errors
    /// [`EngineError::Choice`].
    pub(super) fn of(options: &EngineOptions) -> Result<Self, EngineError> {
        // The processor's own engine is had without asking MLX, which would start a driver.
        let native = options.backend == BackendChoice::Cpu
            || (options.backend == BackendChoice::Auto && options.device == DeviceChoice::Cpu);
        let offer = if native { Offer { mlx: false, gpu: false } } else { Offer::here() };
        Self::among(options.backend, options.device, offer)
            .map_err(|(setting, reason)| EngineError::Choice { setting, reason })
    }

    fn among(
        backend: BackendChoice,
        device: DeviceChoice,
        offer: Offer,
    ) -> Result<Self, (&'static str, &'static str)> {
        const NO_GPU: (&str, &str) = ("engine.device", "is \"gpu\", and MLX has no graphics processor here");
        match (backend, device) {
            (BackendChoice::Cpu, DeviceChoice::Gpu) => {
                Err(("engine.device", "is \"gpu\", which `engine.backend = \"cpu\"` cannot use"))
            }
            (BackendChoice::Cpu, _) | (BackendChoice::Auto, DeviceChoice::Cpu) => Ok(Self::Native),
            (BackendChoice::Mlx, _) if !offer.mlx => {
                Err(("engine.backend", "is \"mlx\", which this build has not: see tools/mlx-linux/README.md"))
            }
            (BackendChoice::Auto | BackendChoice::Mlx, DeviceChoice::Gpu) if !offer.gpu => Err(NO_GPU),
            (BackendChoice::Auto, _) if !offer.gpu => Ok(Self::Native),
            (BackendChoice::Mlx, DeviceChoice::Cpu) => Ok(Self::Mlx { gpu: false }),
            (BackendChoice::Auto | BackendChoice::Mlx, _) => Ok(Self::Mlx { gpu: offer.gpu }),
        }
    }

    /// The first host's part of the model, where hosts share it.
    ///
    /// # Errors
    /// [`EngineError::Choice`], [`EngineError::Cut`].
    pub(super) fn cut(
        self,
        model: &CheckpointWeights,
        options: &EngineOptions,
    ) -> Result<Option<Cut>, EngineError> {
        let Some(hosts) = &options.hosts else { return Ok(None) };
        if self == Self::Native {
            let reason = "is set, and only MLX computes on several hosts: set `engine.backend = \"mlx\"`";
            return Err(EngineError::Choice { setting: "engine.hosts", reason });
        }
        let share = Share { rank: 0, size: hosts.n() };
        Ok(Some(Cut::new(&model.config, &model.weights, share)?))
    }

    /// Where it has the weights.
    pub(super) fn placement(self) -> Placement {
        match self {
            Self::Native => Placement::Mapped,
            Self::Mlx { .. } => Placement::Resident,
        }
    }

    /// What a model needs there.
    pub(super) fn needs(self, model: &CheckpointWeights, options: &EngineOptions) -> (ModelNeeds, Placement) {
        let (precision, chunk, n) = (options.kv_precision, options.prefill_chunk_tokens, options.max_running);
        let needs = match self {
            Self::Native => ModelNeeds::on_cpu(model, precision, chunk, n),
            Self::Mlx { .. } => ModelNeeds::on_mlx(model, precision, chunk, n),
        };
        (needs, self.placement())
    }

    /// Builds the backend, of the part that `cut` says. One that keeps weights of its own tells `read` how far it is, in
    /// parts of a whole.
    pub(super) fn backend(
        self,
        model: &CheckpointWeights,
        options: &EngineOptions,
        #[cfg_attr(
            not(any(target_os = "macos", feature = "mlx")),
            expect(unused_variables, reason = "only MLX computes a part")
        )]
        cut: Option<&Cut>,
        read: &mut dyn FnMut(u64, u64),
    ) -> Result<Built, EngineError> {
        match self {
            Self::Native => {
                model.page_in(read);
                let EngineOptions { threads, kv_precision, .. } = *options;
                let options = CpuOptions { threads, kv_precision, ..CpuOptions::default() };
                Ok(Built::alone(CpuBackend::with_options(&model.config, model.weights.clone(), options)))
            }
            #[cfg(any(target_os = "macos", feature = "mlx"))]
            Self::Mlx { gpu } => {
                use crate::mlx::{MlxBackend, MlxOptions};
                use std::cell::Cell;
                let device = if gpu { DeviceChoice::Gpu } else { DeviceChoice::Cpu };
                let EngineOptions { kv_precision, mlx_limits: limits, .. } = *options;
                let mlx_options = MlxOptions { device, kv_precision, limits, widen: false };
                let (total, n_parts) = (model.weights_bytes, model.config.n_layers as u64 + 1);
                let n_read = Cell::new(0);
                let mut tell = |more| {
                    n_read.set(n_read.get() + more);
                    read(total / n_parts * n_read.get(), total);
                };
                let (Some(hosts), Some(cut)) = (&options.hosts, cut) else {
                    let backend =
                        MlxBackend::new(&model.config, &model.weights, mlx_options, &mut || tell(1));
                    return Ok(Built::alone(backend?));
                };
                let (backend, kv_tokens) = crate::shared::lead(hosts, cut, model, mlx_options, &mut tell)?;
                Ok(Built { backend, kv_tokens })
            }
            #[cfg(not(any(target_os = "macos", feature = "mlx")))]
            Self::Mlx { .. } => unreachable!("it is not chosen where this build has it not"),
        }
    }
}

/// A backend.
pub(super) struct Built {
    pub(super) backend: Box<dyn Backend>,
    /// Tokens whose keys and values other hosts have room for.
    pub(super) kv_tokens: u64,
}

impl Built {
    fn alone(backend: impl Backend + 'static) -> Self {
        Self { backend: Box::new(backend), kv_tokens: u64::MAX }
    }
}

/// Bounds of MLX's memory; what is `None` stays as MLX has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MlxLimits {
    /// `engine.buffer_cache`: freed buffers that are kept to be used again.
    pub cache_bytes: Option<u64>,
    /// `engine.memory_limit`: beyond it MLX waits for running work before it allocates.
    pub memory_bytes: Option<u64>,
    /// `engine.wired_limit`: memory that the system may not take away (macOS 15).
    pub wired_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_its_answer() {
        use BackendChoice as B;
        use DeviceChoice as D;
        let nothing = Offer { mlx: false, gpu: false };
        let mlx = Offer { mlx: true, gpu: false };
        let gpu = Offer { mlx: true, gpu: true };
        for (backend, device, offer, chosen) in [
            (B::Auto, D::Auto, nothing, Ok(Chosen::Native)),
            (B::Auto, D::Auto, mlx, Ok(Chosen::Native)),
            (B::Auto, D::Auto, gpu, Ok(Chosen::Mlx { gpu: true })),
            (B::Auto, D::Cpu, gpu, Ok(Chosen::Native)),
            (B::Auto, D::Gpu, gpu, Ok(Chosen::Mlx { gpu: true })),
            (B::Auto, D::Gpu, mlx, Err("engine.device")),
            (B::Auto, D::Gpu, nothing, Err("engine.device")),
            (B::Cpu, D::Auto, gpu, Ok(Chosen::Native)),
            (B::Cpu, D::Cpu, gpu, Ok(Chosen::Native)),
            (B::Cpu, D::Gpu, gpu, Err("engine.device")),
            (B::Mlx, D::Auto, nothing, Err("engine.backend")),
            (B::Mlx, D::Auto, mlx, Ok(Chosen::Mlx { gpu: false })),
            (B::Mlx, D::Auto, gpu, Ok(Chosen::Mlx { gpu: true })),
            (B::Mlx, D::Cpu, gpu, Ok(Chosen::Mlx { gpu: false })),
            (B::Mlx, D::Gpu, mlx, Err("engine.device")),
            (B::Mlx, D::Gpu, gpu, Ok(Chosen::Mlx { gpu: true })),
        ] {
            let answer = Chosen::among(backend, device, offer).map_err(|(setting, _)| setting);
            assert_eq!(answer, chosen, "{backend:?} {device:?} {offer:?}");
        }
    }
}
