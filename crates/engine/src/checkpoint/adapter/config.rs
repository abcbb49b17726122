//! `adapter_config.json`, checked.
//!
//! Source: `load_adapters` and `linear_to_lora_layers` in mlx-lm `tuner/utils.py`; the file is what `lora.py` was called
//! with, so most of its fields say how the adapter was trained, and nothing of them is read here.

use crate::checkpoint::error::{CheckpointError, shown};
use crate::checkpoint::fields::Fields;
use serde_json::Value;
use std::collections::HashSet;

/// Ranks in use are 4 to 256.
const MOST_RANK: usize = 4096;
/// Scales in use are 0.1 to 100.
const MOST_SCALE: f64 = 1e4;

/// Modules that are there and cannot be adapted, by their path in a layer.
const NOT_ADAPTABLE: [&str; 12] = [
    "",
    "input_layernorm",
    "post_attention_layernorm",
    "self_attn",
    "self_attn.q_norm",
    "self_attn.k_norm",
    "self_attn.rope",
    "mlp",
    "mlp.gate",
    "mlp.shared_experts",
    "mlp.switch_mlp",
    "mlp.switch_mlp.activation",
];

/// What an adapter does to the model.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AdapterConfig {
    /// `lora`: adds low-rank products.
    LowRank(LowRankConfig),
    /// `full`: replaces tensors.
    Full,
}

/// `num_layers` and `lora_parameters`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LowRankConfig {
    /// The first adapted layer; all that follow are adapted too.
    pub(super) first_layer: usize,
    pub(super) rank: usize,
    pub(super) scale: f32,
    /// Paths of modules, within a layer or from the model's root; `None` is every one that can be adapted in a layer.
    keys: Option<HashSet<String>>,
}

impl AdapterConfig {
    /// Reads the config of an adapter for a model of `n_layers` layers.
    pub(super) fn of(config: Fields<'_>, n_layers: usize) -> Result<Self, CheckpointError> {
        let unsupported = |field: &str, problem| CheckpointError::UnsupportedAdapter {
            file: config.file.into(),
            field: field.into(),
            problem,
        };
        if config.get("peft_type").is_some() {
            return Err(unsupported(
                "peft_type",
                "an adapter in PEFT's layout cannot be read; expected mlx-lm's, with `adapters.safetensors`",
            ));
        }
        match config.get("fine_tune_type") {
            None => {}
            Some(Value::String(kind)) if kind == "lora" => {}
            Some(Value::String(kind)) if kind == "full" => return Ok(Self::Full),
            Some(Value::String(kind)) if kind == "dora" => {
                return Err(unsupported(
                    "fine_tune_type",
                    "`dora` is not supported; train with `lora`, or fuse the adapter into the model (mlx_lm.fuse)",
                ));
            }
            Some(other) => return Err(config.bad("fine_tune_type", "`lora` or `full`", other)),
        }
        LowRankConfig::of(config, n_layers).map(Self::LowRank)
    }
}

impl LowRankConfig {
    fn of(config: Fields<'_>, n_layers: usize) -> Result<Self, CheckpointError> {
        let n_adapted = n_adapted_layers(config, n_layers)?;
        let Some(object) = config.object("lora_parameters")? else {
            return Err(config.missing("lora_parameters", "an object with `rank` and `scale`"));
        };
        let prefix = format!("{}lora_parameters.", config.prefix);
        let parameters = Fields { file: config.file, prefix: &prefix, object };
        let rank = parameters.count("rank", 1..=MOST_RANK)?;
        let scale = scale(parameters)?;
        // It is switched off outside of training, so all that matters is that it is one.
        if let Some(dropout) = parameters.get("dropout")
            && !dropout.as_f64().is_some_and(|dropout| (0.0..1.0).contains(&dropout))
        {
            return Err(parameters.bad("dropout", "a number from 0 to less than 1", dropout));
        }
        let first_layer = n_layers - n_adapted;
        Ok(Self { first_layer, rank, scale, keys: keys(parameters, first_layer)? })
    }

    /// Whether the module at `path` is adapted, if it can be.
    pub(super) fn asks_for(&self, path: &str) -> bool {
        let in_layers = match in_layer(path) {
            Some((layer, inner)) => {
                layer >= self.first_layer && self.keys.as_ref().is_none_or(|keys| keys.contains(inner))
            }
            None => false,
        };
        in_layers || self.keys.as_ref().is_some_and(|keys| keys.contains(path))
    }
}

/// The number of a layer and the path of a module in it.
pub(super) fn in_layer(path: &str) -> Option<(usize, &str)> {
    let (layer, inner) = path.strip_prefix("model.layers.")?.split_once('.').or_else(|| {
        // The layer itself.
        Some((path.strip_prefix("model.layers.")?, ""))
    })?;
    Some((layer.parse().ok()?, inner))
}

/// mlx-lm counts from the last layer, takes what is not positive for all, and trains no more than there are.
fn n_adapted_layers(config: Fields<'_>, n_layers: usize) -> Result<usize, CheckpointError> {
    let expected = format!("a whole number from -1 (all layers) to {n_layers} (the model's layers)");
    let Some(value) = config.get("num_layers") else { return Err(config.missing("num_layers", &expected)) };
    match value.as_i64() {
        Some(-1 | 0) => Ok(n_layers),
        Some(n) => match usize::try_from(n) {
            Ok(n) if n <= n_layers => Ok(n),
            _ => Err(config.bad("num_layers", &expected, value)),
        },
        None => Err(config.bad("num_layers", &expected, value)),
    }
}

fn scale(parameters: Fields<'_>) -> Result<f32, CheckpointError> {
    let expected = format!("a number from -{MOST_SCALE} to {MOST_SCALE}");
    match parameters.get("scale") {
        Some(value) => match value.as_f64() {
            Some(scale) if scale.abs() <= MOST_SCALE => Ok(scale as f32),
            _ => Err(parameters.bad("scale", &expected, value)),
        },
        None if parameters.get("alpha").is_some() => {
            Err(parameters
                .missing("scale", &format!("{expected} (`alpha` is not read: scale is alpha / rank)")))
        }
        None => Err(parameters.missing("scale", &expected)),
    }
}

/// Paths that name nothing are let pass, as in mlx-lm: a list may be meant for models of several kinds.
fn keys(parameters: Fields<'_>, first_layer: usize) -> Result<Option<HashSet<String>>, CheckpointError> {
    let expected = "a list of paths of linear layers or embeddings";
    let Some(value) = parameters.get("keys") else { return Ok(None) };
    let list = value.as_array().ok_or_else(|| parameters.bad("keys", expected, value))?;
    let mut keys = HashSet::with_capacity(list.len());
    for key in list {
        let path = key.as_str().ok_or_else(|| parameters.bad("keys", expected, key))?;
        let inner = in_layer(path).map_or(path, |(_, inner)| inner);
        if NOT_ADAPTABLE.contains(&inner) || matches!(path, "model" | "model.norm") {
            let found = format!("`{}`, which is neither", shown(path));
            return Err(parameters.error("keys", expected, found));
        }
        keys.insert(path.to_owned());
    }
    let twice = keys.iter().find(|path| {
        in_layer(path).is_some_and(|(layer, inner)| layer >= first_layer && keys.contains(inner))
    });
    match twice {
        Some(path) => {
            let found = format!("`{}` by its whole path and by that in its layer", shown(path));
            Err(parameters.error("keys", "every module once", found))
        }
        None => Ok(Some(keys)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: &Value) -> Result<LowRankConfig, String> {
        let fields = Fields { file: "FILE", prefix: "", object: config.as_object().unwrap() };
        match AdapterConfig::of(fields, 4).map_err(|error| error.to_string())? {
            AdapterConfig::LowRank(config) => Ok(config),
            AdapterConfig::Full => panic!("full"),
        }
    }

    fn with(field: &str, value: Value) -> Result<LowRankConfig, String> {
        let mut config =
            json!({"num_layers": 2, "lora_parameters": {"rank": 8, "scale": 20.0, "dropout": 0.0}});
        let (object, field) = match field.split_once('.') {
            Some((outer, field)) => (&mut config[outer], field),
            None => (&mut config, field),
        };
        object[field] = value;
        read(&config)
    }

    #[test]
    fn the_last_layers_are_adapted_and_not_positive_is_all() {
        let config = with("num_layers", json!(2)).unwrap();
        assert_eq!((config.first_layer, config.rank, config.scale), (2, 8, 20.0));
        assert!(config.asks_for("model.layers.2.self_attn.q_proj"));
        assert!(!config.asks_for("model.layers.1.self_attn.q_proj"));
        assert!(!config.asks_for("lm_head"));
        for all in [-1, 0, 4] {
            assert_eq!(with("num_layers", json!(all)).unwrap().first_layer, 0, "{all}");
        }
    }

    #[test]
    fn keys_are_paths_within_a_layer_or_whole_ones() {
        let keys = json!(["self_attn.q_proj", "lm_head", "model.layers.0.mlp.up_proj", "of.another.model"]);
        let config = with("lora_parameters.keys", keys).unwrap();
        for asked in ["model.layers.3.self_attn.q_proj", "lm_head", "model.layers.0.mlp.up_proj"] {
            assert!(config.asks_for(asked), "{asked}");
        }
        for not_asked in [
            "model.layers.1.self_attn.q_proj",
            "model.layers.3.self_attn.k_proj",
            "model.layers.3.mlp.up_proj",
        ] {
            assert!(!config.asks_for(not_asked), "{not_asked}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_bound() {
        let layers = "FILE: `num_layers`: expected a whole number from -1 (all layers) to 4 (the model's layers), found";
        let keys =
            "FILE: `lora_parameters.keys`: expected a list of paths of linear layers or embeddings, found";
        let scale = "FILE: `lora_parameters.scale`: expected a number from -10000 to 10000, found";
        let rank = "FILE: `lora_parameters.rank`: expected a whole number from 1 to 4096, found";
        for (field, value, told) in [
            ("num_layers", json!(5), format!("{layers} 5")),
            ("num_layers", json!(-2), format!("{layers} -2")),
            ("num_layers", json!(1.5), format!("{layers} 1.5")),
            ("num_layers", Value::Null, format!("{layers} no such field")),
            ("lora_parameters.rank", json!(0), format!("{rank} 0")),
            ("lora_parameters.rank", json!(1_000_000), format!("{rank} 1000000")),
            ("lora_parameters.rank", json!("8"), format!("{rank} \"8\"")),
            ("lora_parameters.scale", json!(1e300), format!("{scale} 1e+300")),
            ("lora_parameters.scale", json!("20"), format!("{scale} \"20\"")),
            ("lora_parameters.scale", Value::Null, format!("{scale} no such field")),
            (
                "lora_parameters.dropout",
                json!(1.0),
                "FILE: `lora_parameters.dropout`: expected a number from 0 to less than 1, found 1.0".into(),
            ),
            ("lora_parameters.keys", json!("lm_head"), format!("{keys} \"lm_head\"")),
            ("lora_parameters.keys", json!([7]), format!("{keys} 7")),
            ("lora_parameters.keys", json!(["mlp.gate"]), format!("{keys} `mlp.gate`, which is neither")),
            ("lora_parameters.keys", json!(["model.norm"]), format!("{keys} `model.norm`, which is neither")),
            (
                "lora_parameters.keys",
                json!(["model.layers.2"]),
                format!("{keys} `model.layers.2`, which is neither"),
            ),
            (
                "lora_parameters.keys",
                json!(["model.layers.1.self_attn"]),
                format!("{keys} `model.layers.1.self_attn`, which is neither"),
            ),
            (
                "lora_parameters.keys",
                json!(["self_attn.q_proj", "model.layers.3.self_attn.q_proj"]),
                "FILE: `lora_parameters.keys`: expected every module once, found `model.layers.3.self_attn.q_proj` by \
                 its whole path and by that in its layer"
                    .into(),
            ),
            (
                "lora_parameters",
                Value::Null,
                "FILE: `lora_parameters`: expected an object with `rank` and `scale`, found no such field".into(),
            ),
            (
                "fine_tune_type",
                json!("dora"),
                "FILE: `fine_tune_type`: `dora` is not supported; train with `lora`, or fuse the adapter into the model \
                 (mlx_lm.fuse)"
                    .into(),
            ),
            (
                "fine_tune_type",
                json!("ia3"),
                "FILE: `fine_tune_type`: expected `lora` or `full`, found \"ia3\"".into(),
            ),
            (
                "peft_type",
                json!("LORA"),
                "FILE: `peft_type`: an adapter in PEFT's layout cannot be read; expected mlx-lm's, with \
                 `adapters.safetensors`"
                    .into(),
            ),
        ] {
            assert_eq!(with(field, value.clone()).unwrap_err(), told, "{field} {value}");
        }
        let alpha = read(&json!({"num_layers": 1, "lora_parameters": {"rank": 8, "alpha": 16}})).unwrap_err();
        assert!(alpha.contains("`alpha` is not read: scale is alpha / rank"), "{alpha}");
    }
}
