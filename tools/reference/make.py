"""Makes the reference checkpoints and records what mlx-lm computes with them. See README.md."""

import argparse
import json
import math
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models import glm4_moe
from mlx_lm.utils import get_total_parameters, quantize_model, save_config

from adapters import ADAPTERS, make_adapter
from recording import find_prompt, load, save_recording
from shapes import SHAPES, Shape

DATA = Path(__file__).resolve().parents[2] / "crates" / "engine" / "tests" / "data"


def random_weights(model, shape: Shape) -> None:
    """Fills the model with numbers that make every part of it matter."""
    rng = np.random.default_rng(shape.seed)
    weights = []
    for name, value in tree_flatten(model.parameters()):
        if name.endswith("e_score_correction_bias"):
            new = shape.bias_mean + 0.2 * rng.standard_normal(value.shape)
        elif "norm" in name:
            new = 1 + 0.2 * rng.standard_normal(value.shape)
        elif name.endswith(".bias"):
            new = 0.5 * rng.standard_normal(value.shape)
        else:
            # Sharp attention and a sharp head: a plain start would give near-equal logits and hide errors.
            gain = 2.0 if any(part in name for part in ("q_proj", "k_proj", "lm_head", "mlp.gate.weight")) else 1.0
            if name == "model.embed_tokens.weight":
                gain = 2.0 if shape.config["tie_word_embeddings"] else math.sqrt(value.shape[-1])
            new = gain * rng.standard_normal(value.shape) / math.sqrt(value.shape[-1])
        weights.append((name, mx.array(new.astype(np.float32))))
    model.update(tree_unflatten(weights))


def build(shape: Shape):
    """The model in its storage format, and its config as mlx-lm would save it."""
    model = glm4_moe.Model(glm4_moe.ModelArgs.from_dict(shape.config))
    random_weights(model, shape)
    dtype = getattr(mx, shape.dtype)
    keeps_f32 = lambda name: not model.cast_predicate(name)
    model.update(
        tree_unflatten(
            [(n, v if keeps_f32(n) else v.astype(dtype)) for n, v in tree_flatten(model.parameters())]
        )
    )
    config = {**shape.config, "torch_dtype": shape.dtype}
    if shape.bits is None:
        return model, config
    predicate = lambda path, module: shape.overrides.get(path, True)
    model, config = quantize_model(model, config, shape.group_size, shape.bits, quant_predicate=predicate)
    # mlx-lm writes objects only; readers must take false and true as well.
    config["quantization"].update({k: v for k, v in shape.overrides.items() if isinstance(v, bool)})
    return model, config


def stored_tensors(model, shape: Shape) -> dict:
    """The tensors as they go into files."""
    tensors = dict(tree_flatten(model.parameters()))
    if shape.config["tie_word_embeddings"]:
        tensors = {n: v for n, v in tensors.items() if not n.startswith("lm_head.")}
    if shape.separate_experts:
        for name in [n for n in tensors if ".switch_mlp." in n]:
            stacked = tensors.pop(name)
            for e in range(stacked.shape[0]):
                tensors[name.replace(".switch_mlp.", f".experts.{e}.")] = stacked[e]
    if shape.nextn_layer:
        prefix = f"model.layers.{shape.config['num_hidden_layers']}"
        hidden = shape.config["hidden_size"]
        tensors[f"{prefix}.enorm.weight"] = mx.ones((hidden,), dtype=mx.float16)
        tensors[f"{prefix}.hnorm.weight"] = mx.ones((hidden,), dtype=mx.float16)
        tensors[f"{prefix}.eh_proj.weight"] = mx.zeros((8, 2 * hidden), dtype=mx.float16)
        tensors[f"{prefix}.self_attn.q_proj.weight"] = mx.zeros((4, hidden), dtype=mx.float16)
    return tensors


def write_weights(directory: Path, tensors: dict, n_shards: int) -> None:
    """`model.safetensors`, or shards with an index, in mlx-lm's names."""
    names = sorted(tensors)
    if n_shards == 1:
        mx.save_safetensors(str(directory / "model.safetensors"), tensors, metadata={"format": "mlx"})
        return
    weight_map = {}
    for i, part in enumerate(np.array_split(np.array(names, dtype=object), n_shards)):
        file = f"model-{i + 1:05}-of-{n_shards:05}.safetensors"
        mx.save_safetensors(str(directory / file), {n: tensors[n] for n in part}, metadata={"format": "mlx"})
        weight_map.update({n: file for n in part})
    index = {"metadata": {"total_size": sum(v.nbytes for v in tensors.values())}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def make(shape: Shape, root: Path) -> None:
    directory = root / shape.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model, config = build(shape)
    save_config(config, directory / "config.json")
    write_weights(directory, stored_tensors(model, shape), shape.n_shards)

    model = load(directory, shape)
    n_parameters = get_total_parameters(model)
    if shape.config["tie_word_embeddings"]:
        n_parameters -= shape.config["vocab_size"] * shape.config["hidden_size"]
    native = None
    if shape.also_native:
        native = load(directory, shape)
    model.set_dtype(mx.float32)
    found = find_prompt(model, shape, shape.seed)
    save_recording(directory, shape, found, native, {"n_parameters": n_parameters})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="names of shapes and adapters; all of them without any")
    parser.add_argument(
        "--out", type=Path, default=DATA, help="where the checkpoints go; adapters go beside it, into OUT-adapters"
    )
    arguments = parser.parse_args()
    mx.set_default_device(mx.cpu)
    known = [one.name for one in (*SHAPES, *ADAPTERS)]
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"unknown names {sorted(unknown)}; there are {known}")
    wanted = lambda one: not arguments.names or one.name in arguments.names
    for shape in filter(wanted, SHAPES):
        make(shape, arguments.out)
    for adapter in filter(wanted, ADAPTERS):
        made = arguments.out / adapter.base
        base = made if made.exists() else DATA / adapter.base
        make_adapter(adapter, base, arguments.out.with_name(arguments.out.name + "-adapters"))


if __name__ == "__main__":
    main()
