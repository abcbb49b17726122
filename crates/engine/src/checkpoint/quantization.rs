//! What `quantization` in `config.json` says of each tensor.
//!
//! Source: mlx-lm `utils.py` (`load_model`, `quantize_model`): the object holds `bits`, `group_size` and `mode` for all
//! tensors, and under a module's path either an object of its own or false (not quantised) or true (as all others).

use super::error::CheckpointError;
use super::fields::Fields;
use boca_core::Quantization;
use serde_json::Value;
use std::collections::HashMap;

const BITS: [usize; 6] = [2, 3, 4, 5, 6, 8];
const GROUP_SIZES: [usize; 3] = [32, 64, 128];

/// Bits and group size of one tensor, each only if the config names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) bits: Option<u8>,
    pub(super) group_size: Option<usize>,
}

/// What the config says of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Override {
    Quantized(Declared),
    Dense,
}

/// The whole `quantization` object.
#[derive(Debug, Clone, Default)]
pub(super) struct QuantizationMap {
    /// What most tensors have; `None` for a checkpoint that is not quantised.
    pub(super) all: Option<Quantization>,
    overrides: HashMap<String, Override>,
}

impl QuantizationMap {
    /// Reads `quantization`, or `quantization_config` where only that is there.
    pub(super) fn of(config: Fields<'_>) -> Result<Self, CheckpointError> {
        if config.flag("quantize_activations", false)? {
            return Err(config.error("quantize_activations", "false", "true".into()));
        }
        let (name, object) = match (config.object("quantization")?, config.object("quantization_config")?) {
            (Some(object), _) => ("quantization", object),
            (None, Some(object)) => ("quantization_config", object),
            (None, None) => return Ok(Self::default()),
        };
        let prefix = format!("{}{name}.", config.prefix);
        let fields = Fields { file: config.file, prefix: &prefix, object };
        if let (None, Some(method)) = (fields.get("bits"), fields.get("quant_method")) {
            // The weights were packed by another tool, in another way.
            return Err(fields.bad("quant_method", "an MLX checkpoint with `bits` and `group_size`", method));
        }
        let declared = declared(fields)?;
        let (Some(bits), Some(group_size)) = (declared.bits, declared.group_size) else {
            let absent = if declared.bits.is_none() { "bits" } else { "group_size" };
            return Err(fields.missing(absent, "a number"));
        };
        let mut overrides = HashMap::new();
        for (path, value) in object {
            let found = match value {
                Value::Object(object) => {
                    let prefix = format!("{prefix}{path}.");
                    Override::Quantized(self::declared(Fields {
                        file: config.file,
                        prefix: &prefix,
                        object,
                    })?)
                }
                Value::Bool(true) => {
                    Override::Quantized(Declared { bits: Some(bits), group_size: Some(group_size) })
                }
                Value::Bool(false) => Override::Dense,
                _ => continue,
            };
            overrides.insert(path.clone(), found);
        }
        Ok(Self { all: Some(Quantization { bits, group_size: group_size as u32 }), overrides })
    }

    /// What the config says of the module at `path`, if it names it.
    pub(super) fn of_module(&self, path: &str) -> Option<Override> {
        self.overrides.get(path).copied()
    }
}

fn declared(fields: Fields<'_>) -> Result<Declared, CheckpointError> {
    fields.one_of("mode", &["affine"])?;
    let one_of = |name: &str, supported: &[usize]| match fields.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) if supported.contains(&n) => Ok(Some(n)),
            _ => Err(fields.bad(name, &format!("one of {supported:?}"), value)),
        },
    };
    let bits = one_of("bits", &BITS)?.map(|bits| bits as u8);
    Ok(Declared { bits, group_size: one_of("group_size", &GROUP_SIZES)? })
}

/// Bits and group size that the shapes themselves tell, for rows of `n_in` numbers packed in `n_words` words of 32
/// bits, with `n_groups` scales.
pub(super) fn by_shape(n_in: usize, n_words: usize, n_groups: usize) -> Option<(u8, usize)> {
    let bits = BITS.into_iter().find(|bits| n_words.checked_mul(32) == n_in.checked_mul(*bits))?;
    let group_size = GROUP_SIZES.into_iter().find(|size| n_groups.checked_mul(*size) == Some(n_in))?;
    Some((bits as u8, group_size))
}
