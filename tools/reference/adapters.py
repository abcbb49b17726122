"""Makes the reference adapters, each for one of the reference checkpoints, and records what mlx-lm computes with both.
Called by make.py. See README.md."""

import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters
from mlx_lm.utils import save_config

from recording import find_prompt, forced, load, save_recording
from shapes import SHAPES, Shape


@dataclass
class Adapter:
    """One reference adapter."""

    name: str
    covers: str
    # The reference checkpoint that it is for.
    base: str
    seed: int
    num_layers: int = -1
    rank: int = 8
    scale: float = 20.0
    dropout: float = 0.0
    # None: whatever mlx-lm adapts by itself.
    keys: list[str] | None = None
    # Number format of its tensors.
    dtype: str = "float32"
    # The tensors of a full fine-tuning, by the ends of their names in the last `num_layers` layers.
    full: tuple[str, ...] = field(default_factory=tuple)
    # Also record the model as mlx-lm runs it by itself, without set_dtype(float32).
    also_native: bool = False

    @property
    def shape(self) -> Shape:
        return next(shape for shape in SHAPES if shape.name == self.base)


ADAPTERS = [
    Adapter(
        "default-keys",
        "mlx-lm's default: every linear layer and expert of the last two layers, on 4 bits",
        base="air-4bit",
        seed=101,
        num_layers=2,
        rank=4,
        dropout=0.1,
        also_native=True,
    ),
    Adapter(
        "attention",
        "attention alone in all layers, with and without a bias of the base, layers of 4 bits and one that is not quantised",
        base="mixed-bits",
        seed=102,
        keys=["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
        scale=10.0,
    ),
    Adapter(
        "experts",
        "experts, shared experts and the dense block, bf16, an odd rank, on a base that has its experts one by one",
        base="plain-bf16",
        seed=103,
        num_layers=3,
        rank=5,
        scale=2.5,
        dtype="bfloat16",
        keys=[f"mlp.{block}{name}_proj" for block in ("", "switch_mlp.", "shared_experts.") for name in ("gate", "up", "down")],
    ),
    Adapter(
        "embedding-and-head",
        "embedding, head, and one layer's projection by its whole path, f16",
        base="sharded-4bit-qk-norm",
        seed=104,
        num_layers=1,
        rank=6,
        scale=-4.0,
        dtype="float16",
        keys=["model.embed_tokens", "lm_head", "model.layers.0.mlp.up_proj", "self_attn.v_proj"],
    ),
    Adapter(
        "tied",
        "an embedding that is the head as well",
        base="tied-4bit",
        seed=105,
        rank=8,
        scale=4.0,
        keys=["model.embed_tokens", "self_attn.q_proj"],
    ),
    Adapter(
        "full",
        "a full fine-tuning of the last layer, on a base that has its experts one by one",
        base="plain-bf16",
        seed=106,
        num_layers=1,
        full=("layernorm.weight", "mlp.gate.weight", "v_proj.weight", "v_proj.bias", "switch_mlp.up_proj.weight"),
    ),
]


def write(adapter: Adapter, model, directory: Path) -> None:
    """Adapts `model`, fills the new tensors at random, and saves them as mlx-lm's `lora.py` does."""
    rng = np.random.default_rng(adapter.seed)
    model.freeze()
    config = {
        "model": adapter.base,
        "fine_tune_type": "full" if adapter.full else "lora",
        "num_layers": adapter.num_layers,
        "seed": adapter.seed,
    }
    if adapter.full:
        for layer in model.layers[-max(adapter.num_layers, 0) :]:
            layer.unfreeze()
    else:
        parameters = {"rank": adapter.rank, "dropout": adapter.dropout, "scale": adapter.scale}
        if adapter.keys is not None:
            parameters["keys"] = adapter.keys
        config["lora_parameters"] = parameters
        linear_to_lora_layers(model, adapter.num_layers, parameters)
    tensors = {}
    for name, value in sorted(tree_flatten(model.trainable_parameters())):
        if adapter.full:
            if name.endswith(adapter.full):
                # Something like what a training does: every number moves by a good part of what it is.
                factors = 1 + 0.5 * rng.standard_normal(value.shape)
                tensors[name] = (value.astype(mx.float32) * mx.array(factors.astype(np.float32))).astype(value.dtype)
            continue
        # Both halves together add about as much as a layer gives.
        gain = 1.0 if name.endswith("lora_a") else 1.0 / abs(adapter.scale)
        n_in = value.shape[-1] if "switch_mlp" in name else value.shape[0]
        if "embed_tokens" in name:
            # Rows of a tied embedding are as short as those of any other layer.
            row = adapter.shape.config["hidden_size"] if adapter.shape.config["tie_word_embeddings"] else 1
            n_in = row if name.endswith("lora_a") else adapter.rank
        new = gain * rng.standard_normal(value.shape) / math.sqrt(n_in)
        tensors[name] = mx.array(new.astype(np.float32)).astype(getattr(mx, adapter.dtype))
    mx.save_safetensors(str(directory / "adapters.safetensors"), tensors)
    save_config(config, directory / "adapter_config.json")


def adapted(model, directory: Path, shape: Shape):
    """`model` with the adapter of `directory`, as mlx-lm itself loads it."""
    model = load_adapters(model, str(directory))
    model.eval()
    if shape.config["tie_word_embeddings"]:
        # mlx-lm's GLM-4 MoE always has a head of its own; those of its models that tie use the embedding like this.
        model.lm_head = lambda x: model.model.embed_tokens.as_linear(x)
    return model


def make_adapter(adapter: Adapter, base: Path, root: Path) -> None:
    """Writes one adapter for the checkpoint `base`, and its recording, below `root`."""
    shape, directory = adapter.shape, root / adapter.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    write(adapter, load(base, shape), directory)

    plain = load(base, shape)
    plain.set_dtype(mx.float32)
    model = adapted(load(base, shape), directory, shape)
    native = adapted(load(base, shape), directory, shape) if adapter.also_native else None
    model.set_dtype(mx.float32)
    found = find_prompt(model, shape, adapter.seed)
    # How far the model is from what it was, so that a test can tell that the adapter was not ignored.
    change = np.abs(forced(plain, found.prompt, found.greedy)[0] - found.prompt_logits)
    more = {"base": adapter.base, "largest_change": round(float(change.max()), 4)}
    save_recording(directory, adapter, found, native, more)
