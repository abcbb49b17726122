//! The tensors of a `full` fine-tuning in the place of the model's own.

use super::{described, wrong_tensor};
use crate::checkpoint::assemble::is_ignored;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::safetensors::TensorEntry;
use crate::checkpoint::shards::{Shard, TensorTable};

/// Replaces tensors of the same name, type and shape. mlx-lm's names are those of stacked experts, also where the
/// checkpoint has them one by one.
pub(super) fn replace(
    shard: &Shard,
    entries: &[TensorEntry],
    table: &mut TensorTable,
    n_layers: usize,
) -> Result<(), CheckpointError> {
    let from = table.shards.len();
    table.shards.push(shard.clone());
    for entry in entries {
        let parts = parts_in(entry, table, n_layers).ok_or_else(|| {
            let expected = "the name of a tensor of the model".into();
            wrong_tensor(shard, entry, expected, "another one".into())
        })?;
        let n_parts = parts.len();
        for (i, name) in parts.into_iter().enumerate() {
            let (_, old) = &table.tensors[&name];
            let is_stacked = name != entry.name;
            let shape: Vec<usize> =
                is_stacked.then_some(n_parts).into_iter().chain(old.shape.iter().copied()).collect();
            if entry.dtype != old.dtype || entry.shape != shape {
                let expected = format!("{} {shape:?}, as the model has it", old.dtype);
                return Err(wrong_tensor(shard, entry, expected, described(entry)));
            }
            let length = entry.range.len() / n_parts;
            let start = entry.range.start + i * length;
            let new = TensorEntry { name: name.clone(), range: start..start + length, ..old.clone() };
            table.tensors.insert(name, (from, new));
        }
    }
    Ok(())
}

/// The names under which the model has this tensor: its own, or those of the experts that are stacked in it.
fn parts_in(entry: &TensorEntry, table: &TensorTable, n_layers: usize) -> Option<Vec<String>> {
    let name = &entry.name;
    if is_ignored(name, n_layers) {
        return None;
    }
    if table.tensors.contains_key(name) {
        return Some(vec![name.clone()]);
    }
    let (before, after) = name.split_once(".switch_mlp.")?;
    let experts = (0..).map(|expert| format!("{before}.experts.{expert}.{after}"));
    let experts: Vec<String> = experts.take_while(|name| table.tensors.contains_key(name)).collect();
    (!experts.is_empty()).then_some(experts)
}
