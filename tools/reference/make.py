"""Makes the reference checkpoints and records what mlx-lm computes with them. See README.md."""

import argparse
import importlib.metadata
import json
import math
import shutil
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models import glm4_moe
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import get_total_parameters, load_model, quantize_model, save_config

from shapes import SHAPES, Shape

DATA = Path(__file__).resolve().parents[2] / "crates" / "engine" / "tests" / "data"
N_PROMPT = 32
N_GREEDY = 16
# A reference is only of use where rounding cannot turn it round: no greedy token and no expert is chosen by less.
LEAST_GREEDY_GAP = 0.05
LEAST_ROUTER_MARGIN = 5e-4
MOST_BYTES = 1 << 20


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


def load(directory: Path, shape: Shape):
    """The written checkpoint, read back by mlx-lm.

    mlx-lm always wants a head. A tied checkpoint is given a copy of its embedding, in a temporary directory.
    """
    if not shape.config["tie_word_embeddings"]:
        return load_model(directory)[0]
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "tied"
        shutil.copytree(directory, copy)
        tensors = mx.load(str(copy / "model.safetensors"))
        head = {n.replace("model.embed_tokens", "lm_head"): v for n, v in tensors.items() if "embed_tokens" in n}
        mx.save_safetensors(str(copy / "model.safetensors"), {**tensors, **head}, metadata={"format": "mlx"})
        return load_model(copy)[0]


class RouterWatch:
    """Notes how clearly every choice of experts was made."""

    def __init__(self):
        self.margin = math.inf
        self._select = glm4_moe.group_expert_select

    def __enter__(self):
        glm4_moe.group_expert_select = self._watched
        return self

    def __exit__(self, *_):
        glm4_moe.group_expert_select = self._select

    def _watched(self, gates, bias, top_k, n_group, topk_group, scaling, norm):
        scores = np.array(mx.sigmoid(gates.astype(mx.float32)) + bias, dtype=np.float64)
        scores = scores.reshape(-1, scores.shape[-1])
        if n_group > 1:
            grouped = scores.reshape(len(scores), n_group, -1)
            sums = np.sort(grouped, axis=-1)[..., -2:].sum(-1)
            ranked = np.sort(sums, axis=-1)
            if topk_group < n_group:
                self._note(ranked[:, n_group - topk_group] - ranked[:, n_group - topk_group - 1])
            closed = np.argsort(sums, axis=-1)[:, : n_group - topk_group]
            for row, groups in enumerate(closed):
                grouped[row, groups] = 0.0
            scores = grouped.reshape(len(scores), -1)
        ranked = np.sort(scores, axis=-1)[:, ::-1]
        if top_k < ranked.shape[-1]:
            margins = ranked[:, top_k - 1] - ranked[:, top_k]
            # Experts of closed groups all score 0: which of them is taken is up to the implementation, so a prompt
            # where the border runs between them is of no use, and its margin of 0 says so.
            self._note(margins)
        return self._select(gates, bias, top_k, n_group, topk_group, scaling, norm)

    def _note(self, margins):
        self.margin = min(self.margin, float(margins.min()))


def record(model, prompt: list[int]):
    """Logits of the prompt and of a greedy continuation, by prefill and then one token a step."""
    cache = make_prompt_cache(model)
    prompt_logits = np.array(model(mx.array([prompt]), cache=cache)[0].astype(mx.float32))
    rows, greedy = [prompt_logits[-1]], [int(prompt_logits[-1].argmax())]
    while len(greedy) < N_GREEDY:
        step = np.array(model(mx.array([[greedy[-1]]]), cache=cache)[0, -1].astype(mx.float32))
        rows.append(step)
        greedy.append(int(step.argmax()))
    return prompt_logits, np.stack(rows), greedy


def top_two_gap(logits: np.ndarray) -> np.ndarray:
    best = np.sort(logits, axis=-1)
    return best[..., -1] - best[..., -2]


def find_prompt(model, shape: Shape):
    """The first random prompt for which no choice is a close call."""
    rng = np.random.default_rng(1000 + shape.seed)
    for attempt in range(1, 20001):
        prompt = rng.integers(0, shape.config["vocab_size"], N_PROMPT).tolist()
        with RouterWatch() as watch:
            prompt_logits, greedy_logits, greedy = record(model, prompt)
        gap = float(top_two_gap(greedy_logits).min())
        varied = len(set(greedy)) >= 4
        if gap >= LEAST_GREEDY_GAP and watch.margin >= LEAST_ROUTER_MARGIN and varied:
            return prompt, prompt_logits, greedy_logits, greedy, gap, watch.margin, attempt
    raise SystemExit(f"{shape.name}: no prompt with clear choices")


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
    prompt, prompt_logits, greedy_logits, greedy, gap, margin, attempt = find_prompt(model, shape)

    save_logits(directory / "reference.safetensors", prompt_logits, greedy_logits)
    reference = {
        "shape": shape.name,
        "covers": shape.covers,
        "seed": shape.seed,
        "n_parameters": n_parameters,
        "prompt": prompt,
        "greedy": greedy,
        "least_greedy_gap": round(gap, 6),
        "least_router_margin": None if math.isinf(margin) else round(margin, 6),
        "logits_standard_deviation": round(float(prompt_logits.std()), 4),
        "versions": {p: importlib.metadata.version(p) for p in ("mlx", "mlx-lm", "numpy")},
    }
    note = ""
    if native is not None:
        # The greedy path of the float32 model, so that rows compare.
        native_logits = forced(native, prompt, greedy)
        save_logits(directory / "reference-bf16.safetensors", *native_logits)
        away = max(float(np.abs(native_logits[0] - prompt_logits).max()), float(np.abs(native_logits[1] - greedy_logits).max()))
        reference["bf16_largest_difference"] = round(away, 6)
        note = f", bf16 differs by up to {away:.3f}"
    (directory / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")
    size = sum(f.stat().st_size for f in directory.iterdir())
    assert size < MOST_BYTES, f"{shape.name}: {size} bytes"
    print(
        f"{shape.name}: {size} bytes, logits ±{prompt_logits.std():.2f}, greedy gap {gap:.3f}, "
        f"router margin {margin:.5f}, prompt {attempt}{note}",
        flush=True,
    )


def forced(model, prompt: list[int], greedy: list[int]):
    """Like `record`, along a path that is given."""
    cache = make_prompt_cache(model)
    prompt_logits = np.array(model(mx.array([prompt]), cache=cache)[0].astype(mx.float32))
    rows = [prompt_logits[-1]]
    for token in greedy[:-1]:
        rows.append(np.array(model(mx.array([[token]]), cache=cache)[0, -1].astype(mx.float32)))
    return prompt_logits, np.stack(rows)


def save_logits(path: Path, prompt_logits: np.ndarray, greedy_logits: np.ndarray) -> None:
    tensors = {"prompt_logits": mx.array(prompt_logits), "greedy_logits": mx.array(greedy_logits)}
    mx.save_safetensors(str(path), tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", help="names of shapes; all of them without any")
    parser.add_argument("--out", type=Path, default=DATA, help="where the checkpoints go")
    arguments = parser.parse_args()
    mx.set_default_device(mx.cpu)
    unknown = set(arguments.shapes) - {shape.name for shape in SHAPES}
    if unknown:
        parser.error(f"unknown shapes {sorted(unknown)}; there are {[shape.name for shape in SHAPES]}")
    for shape in SHAPES:
        if not arguments.shapes or shape.name in arguments.shapes:
            make(shape, arguments.out)


if __name__ == "__main__":
    main()
