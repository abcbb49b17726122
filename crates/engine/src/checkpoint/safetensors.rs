//! The header of a safetensors file.
//!
//! Source: <https://huggingface.co/docs/safetensors>: eight bytes of little-endian length, that many bytes of JSON,
//! then the tensors' bytes without gaps. The reader is our own because a user is owed the tensor's name and what was
//! expected there.

use super::error::{CheckpointError, shown};
use super::tensor::FloatType;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

/// Headers must be smaller than this; the largest real one (a shard of 5 GB) is under a megabyte.
const HEADER_LIMIT_BYTES: u64 = 100_000_000;
const LENGTH_BYTES: usize = 8;

/// The type of a tensor's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DType {
    Bf16,
    F16,
    F32,
    U32,
    /// One that this engine never reads, by its name.
    Other(String),
}

impl DType {
    fn parse(name: &str) -> Self {
        match name {
            "BF16" => Self::Bf16,
            "F16" => Self::F16,
            "F32" => Self::F32,
            "U32" => Self::U32,
            other => Self::Other(other.to_string()),
        }
    }

    /// As which floating-point format the engine reads it; `None` for anything else.
    pub(super) fn float(&self) -> Option<FloatType> {
        match self {
            Self::Bf16 => Some(FloatType::Bf16),
            Self::F16 => Some(FloatType::F16),
            Self::F32 => Some(FloatType::F32),
            Self::U32 | Self::Other(_) => None,
        }
    }

    /// Bits of one number; `None` for a type that is newer than this code.
    fn bits(&self) -> Option<u64> {
        Some(match self {
            Self::Bf16 | Self::F16 => 16,
            Self::F32 | Self::U32 => 32,
            Self::Other(name) => match name.as_str() {
                "F4" => 4,
                "F6_E2M3" | "F6_E3M2" => 6,
                "BOOL" | "U8" | "I8" => 8,
                "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
                "I16" | "U16" => 16,
                "I32" => 32,
                "I64" | "U64" | "F64" | "C64" => 64,
                _ => return None,
            },
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::F32 => "F32",
            Self::U32 => "U32",
            Self::Other(name) => return f.write_str(&shown(name)),
        })
    }
}

/// What the header says of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorEntry {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    /// Where its bytes are in the file; inside the file, checked.
    pub(super) range: Range<usize>,
}

/// Reads and checks the header of a whole file's `bytes`. `file` is for messages.
///
/// The tensors come back in the order of their bytes.
pub(super) fn read_header(file: &str, bytes: &[u8]) -> Result<Vec<TensorEntry>, CheckpointError> {
    let header = header_bytes(file, bytes)?;
    let data_start = LENGTH_BYTES + header.len();
    let text = std::str::from_utf8(header)
        .map_err(|e| damaged(file, "a header in UTF-8", &format!("other bytes at {}", e.valid_up_to())))?;
    let RawHeader(raw) =
        serde_json::from_str(text).map_err(|e| damaged(file, "a header of JSON", &shown(&e.to_string())))?;
    check_names(file, &raw)?;
    let mut tensors = raw
        .into_iter()
        .map(|(name, raw)| check_size(file, name, raw))
        .collect::<Result<Vec<_>, CheckpointError>>()?;
    tensors.sort_by_key(|(_, offsets)| *offsets);
    check_cover(file, &tensors, (bytes.len() - data_start) as u64)?;
    Ok(tensors
        .into_iter()
        .map(|(mut entry, (begin, end))| {
            // The cover check has held both against the length of the file, so they fit.
            entry.range = data_start + begin as usize..data_start + end as usize;
            entry
        })
        .collect())
}

fn header_bytes<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a [u8], CheckpointError> {
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(damaged(file, "tensors", "a Git LFS pointer: fetch the file itself (git lfs pull)"));
    }
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(damaged(file, "at least 8 bytes", &format!("{} bytes", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    if length >= HEADER_LIMIT_BYTES {
        let expected = format!("a header of less than {HEADER_LIMIT_BYTES} bytes");
        return Err(damaged(file, &expected, &format!("{length} bytes")));
    }
    rest.get(..length as usize).ok_or_else(|| {
        damaged(
            file,
            &format!("a header of {length} bytes"),
            &format!("{} bytes after its length (truncated)", rest.len()),
        )
    })
}

fn check_names(file: &str, raw: &[(String, RawTensor)]) -> Result<(), CheckpointError> {
    let mut seen = HashSet::with_capacity(raw.len());
    match raw.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        Some((name, _)) => {
            Err(damaged_tensor(file, name, "one entry in the header".into(), "two entries".into()))
        }
        None => Ok(()),
    }
}

/// Holds a tensor's offsets against its shape and type.
fn check_size(
    file: &str,
    name: String,
    raw: RawTensor,
) -> Result<(TensorEntry, (u64, u64)), CheckpointError> {
    let (begin, end) = raw.data_offsets;
    let dtype = DType::parse(&raw.dtype);
    let Some(length) = end.checked_sub(begin) else {
        let found = format!("offsets {begin}..{end}");
        return Err(damaged_tensor(file, &name, "offsets in order".into(), found));
    };
    let shape: Option<Vec<usize>> = raw.shape.iter().map(|n| usize::try_from(*n).ok()).collect();
    let n_bits = dtype.bits().map(|bits| raw.shape.iter().try_fold(bits, |n, dim| n.checked_mul(*dim)));
    let (Some(shape), None | Some(Some(_))) = (shape, n_bits) else {
        let found = format!("{dtype} {}", shown(&format!("{:?}", raw.shape)));
        return Err(damaged_tensor(file, &name, "a shape that memory can hold".into(), found));
    };
    if let Some(Some(bits)) = n_bits
        && (!bits.is_multiple_of(8) || bits / 8 != length)
    {
        let expected = format!("{} bytes for {dtype} {}", bits.div_ceil(8), shown(&format!("{shape:?}")));
        return Err(damaged_tensor(file, &name, expected, format!("{length} bytes at {begin}..{end}")));
    }
    Ok((TensorEntry { name, dtype, shape, range: 0..0 }, (begin, end)))
}

/// Tensors must follow each other without overlap or gap, and end where the file ends.
fn check_cover(
    file: &str,
    tensors: &[(TensorEntry, (u64, u64))],
    data_bytes: u64,
) -> Result<(), CheckpointError> {
    let mut reached = 0;
    let mut previous: Option<&str> = None;
    for (entry, (begin, end)) in tensors {
        if *begin != reached {
            let after = previous.map_or_else(|| "the header".into(), |name| format!("`{}`", shown(name)));
            let what = if *begin < reached { "an overlap" } else { "a gap" };
            return Err(damaged_tensor(
                file,
                &entry.name,
                format!("data at {reached}, right after {after}"),
                format!("data at {begin} ({what})"),
            ));
        }
        if *end > data_bytes {
            return Err(damaged_tensor(
                file,
                &entry.name,
                format!("data at {begin}..{end}"),
                format!("only {data_bytes} bytes of data in the file (truncated)"),
            ));
        }
        reached = *end;
        previous = Some(&entry.name);
    }
    if reached == data_bytes {
        Ok(())
    } else {
        Err(damaged(file, &format!("{reached} bytes of data by the header"), &format!("{data_bytes} bytes")))
    }
}

fn damaged(file: &str, expected: &str, found: &str) -> CheckpointError {
    CheckpointError::Damaged {
        file: file.into(),
        tensor: None,
        expected: expected.into(),
        found: found.into(),
    }
}

fn damaged_tensor(file: &str, tensor: &str, expected: String, found: String) -> CheckpointError {
    CheckpointError::Damaged { file: file.into(), tensor: Some(shown(tensor)), expected, found }
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Entries as they stand in the file: a map would hide that a name occurs twice.
struct RawHeader(Vec<(String, RawTensor)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RawHeader, M::Error> {
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(RawHeader(tensors))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests;
