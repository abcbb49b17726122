//! The small files beside the weights: tokenizer, chat template, generation defaults.

use super::config::eos_token_ids;
use super::error::{CheckpointError, shown};
use super::fields::Fields;
use super::files::CheckpointFiles;
use super::tensor::TensorBytes;
use boca_core::SamplingOverrides;
use serde_json::{Map, Value};

const SMALL_FILE_LIMIT_BYTES: u64 = 32 << 20;
const TOKENIZER_LIMIT_BYTES: usize = 256 << 20;
const GENERATION_CONFIG: &str = "generation_config.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";

/// What the checkpoint itself recommends for generating.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Sampling values of `generation_config.json`; `do_sample: false` is temperature 0.
    pub sampling: SamplingOverrides,
    /// Every token that ends a generation: the union of `config.json` and `generation_config.json`.
    pub eos_token_ids: Vec<u32>,
}

/// What turns text into tokens and conversations into text.
#[derive(Debug, Clone)]
pub struct TextFiles {
    /// `tokenizer.json` as it is, in place.
    pub tokenizer_json: TensorBytes,
    /// `tokenizer_config.json`; an empty object when there is none.
    pub tokenizer_config: Value,
    /// `chat_template.jinja`, or the template inside `tokenizer_config.json`.
    pub chat_template: String,
}

impl TextFiles {
    pub(super) fn open(files: &CheckpointFiles) -> Result<Self, CheckpointError> {
        let tokenizer = files
            .map("tokenizer.json")?
            .ok_or_else(|| files.missing("tokenizer.json", "the tokenizer in the format of `tokenizers`"))?;
        let size = tokenizer.len();
        if size > TOKENIZER_LIMIT_BYTES {
            return Err(CheckpointError::Damaged {
                file: files.shown_path("tokenizer.json"),
                tensor: None,
                expected: format!("at most {TOKENIZER_LIMIT_BYTES} bytes"),
                found: format!("{size} bytes"),
            });
        }
        let tokenizer_config = read_object(files, TOKENIZER_CONFIG)?.unwrap_or_default();
        let chat_template = match read_template(files)? {
            Some(template) => template,
            None => template_inside(files, &tokenizer_config)?,
        };
        Ok(Self {
            tokenizer_json: TensorBytes::new(tokenizer, 0..size),
            tokenizer_config: Value::Object(tokenizer_config),
            chat_template,
        })
    }
}

/// A JSON file that holds an object; `None` when there is no such file.
pub(super) fn read_object(
    files: &CheckpointFiles,
    file: &str,
) -> Result<Option<Map<String, Value>>, CheckpointError> {
    let Some(text) = files.read_small(file, SMALL_FILE_LIMIT_BYTES)? else { return Ok(None) };
    let damaged = |found| CheckpointError::Damaged {
        file: files.shown_path(file),
        tensor: None,
        expected: "a JSON object".into(),
        found,
    };
    match serde_json::from_slice(&text) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(other) => Err(damaged(shown(&other.to_string()))),
        Err(e) => Err(damaged(shown(&e.to_string()))),
    }
}

/// Reads `generation_config.json`, if it is there, on top of what `config.json` says.
pub(super) fn read_generation_defaults(
    files: &CheckpointFiles,
    config_eos: &[u32],
    vocab_size: usize,
) -> Result<GenerationDefaults, CheckpointError> {
    let mut defaults =
        GenerationDefaults { sampling: SamplingOverrides::default(), eos_token_ids: config_eos.to_vec() };
    let Some(object) = read_object(files, GENERATION_CONFIG)? else { return Ok(defaults) };
    let file = files.shown_path(GENERATION_CONFIG);
    let fields = Fields { file: &file, prefix: "", object: &object };
    for id in eos_token_ids(fields, vocab_size)? {
        if !defaults.eos_token_ids.contains(&id) {
            defaults.eos_token_ids.push(id);
        }
    }
    defaults.sampling = recommended_sampling(fields)?;
    Ok(defaults)
}

fn recommended_sampling(fields: Fields<'_>) -> Result<SamplingOverrides, CheckpointError> {
    let number = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number as f32)),
            None => Err(fields.bad(name, "a number", value)),
        },
    };
    let mut sampling = SamplingOverrides {
        temperature: number("temperature")?,
        top_p: number("top_p")?,
        // Some files switch it off with -1.
        top_k: number("top_k")?.map(|k| k.max(0.0) as u32),
        min_p: number("min_p")?,
        repetition_penalty: number("repetition_penalty")?,
        ..SamplingOverrides::default()
    };
    if fields.get("do_sample").is_some() && !fields.flag("do_sample", true)? {
        sampling.temperature = Some(0.0);
    }
    sampling.check("").map_err(|e| CheckpointError::BadField {
        file: fields.file.into(),
        field: e.field,
        expected: "a value within its bounds".into(),
        found: e.message,
    })?;
    Ok(sampling)
}

fn read_template(files: &CheckpointFiles) -> Result<Option<String>, CheckpointError> {
    let Some(bytes) = files.read_small(TEMPLATE, SMALL_FILE_LIMIT_BYTES)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|e| CheckpointError::Damaged {
        file: files.shown_path(TEMPLATE),
        tensor: None,
        expected: "a template in UTF-8".into(),
        found: format!("other bytes at {}", e.utf8_error().valid_up_to()),
    })
}

/// `chat_template` of the tokenizer's config: one template, or a list of named ones.
fn template_inside(
    files: &CheckpointFiles,
    tokenizer_config: &Map<String, Value>,
) -> Result<String, CheckpointError> {
    let file = files.shown_path(TOKENIZER_CONFIG);
    let fields = Fields { file: &file, prefix: "", object: tokenizer_config };
    let expected = "a template, or a list of {name, template} with one called `default`";
    match fields.get("chat_template") {
        None => {
            Err(files
                .missing(TEMPLATE, "a chat template, there or as `chat_template` in tokenizer_config.json"))
        }
        Some(Value::String(template)) => Ok(template.clone()),
        Some(Value::Array(named)) => {
            let named: Vec<(&str, &str)> = named
                .iter()
                .filter_map(|entry| Some((entry.get("name")?.as_str()?, entry.get("template")?.as_str()?)))
                .collect();
            let default = named.iter().find(|(name, _)| *name == "default");
            // A list of one leaves no doubt either.
            let template = default.or(if named.len() == 1 { named.first() } else { None });
            template.map(|(_, template)| (*template).to_string()).ok_or_else(|| {
                let names: Vec<_> = named.iter().map(|(name, _)| shown(name)).collect();
                fields.error("chat_template", expected, format!("templates called {names:?}"))
            })
        }
        Some(other) => Err(fields.bad("chat_template", expected, other)),
    }
}
