//! Which tensor lies in which file, and the header of each.

use super::shape::TensorSpec;
use serde_json::{Map, Value, json};

/// One file of weights.
pub(super) struct Shard {
    pub(super) name: String,
    pub(super) tensors: Vec<TensorSpec>,
}

impl Shard {
    /// What comes before the numbers. MLX does not pad it, so tensors begin at any byte.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!({ "format": "mlx" }));
        let mut end = 0;
        for tensor in &self.tensors {
            let begin = end;
            end += tensor.n_bytes();
            let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, end] });
            header.insert(tensor.name.clone(), entry);
        }
        let header = Value::Object(header).to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
    }

    pub(super) fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(TensorSpec::n_bytes).sum()
    }
}

/// Begins a new file whenever the next tensor would make one longer than `shard_bytes`.
pub(super) fn spread(tensors: Vec<TensorSpec>, shard_bytes: u64) -> Vec<Shard> {
    let mut parts: Vec<(u64, Vec<TensorSpec>)> = Vec::new();
    for tensor in tensors {
        let n_bytes = tensor.n_bytes();
        match parts.last_mut() {
            Some((filled, part)) if *filled + n_bytes <= shard_bytes => {
                *filled += n_bytes;
                part.push(tensor);
            }
            _ => parts.push((n_bytes, vec![tensor])),
        }
    }
    let n = parts.len();
    let name = |nth: usize| format!("model-{:05}-of-{n:05}.safetensors", nth + 1);
    parts.into_iter().enumerate().map(|(nth, (_, tensors))| Shard { name: name(nth), tensors }).collect()
}

/// `model.safetensors.index.json`.
pub(super) fn index(shards: &[Shard]) -> Value {
    let total: u64 = shards.iter().map(Shard::tensor_bytes).sum();
    let mut places: Vec<(&str, &str)> = shards
        .iter()
        .flat_map(|shard| shard.tensors.iter().map(|tensor| (tensor.name.as_str(), shard.name.as_str())))
        .collect();
    places.sort_unstable();
    let weight_map: Map<String, Value> =
        places.into_iter().map(|(tensor, file)| (tensor.to_owned(), file.into())).collect();
    json!({ "metadata": { "total_size": total }, "weight_map": weight_map })
}
