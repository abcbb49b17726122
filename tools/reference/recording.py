"""Finding a prompt for a model, and recording what mlx-lm computes with both. See README.md."""

import importlib.metadata
import json
import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.models import glm4_moe
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from shapes import Shape

N_PROMPT = 32
N_GREEDY = 16
# A reference is only of use where rounding cannot turn it round: no greedy token and no expert is chosen by less.
LEAST_GREEDY_GAP = 0.05
LEAST_ROUTER_MARGIN = 5e-4
MOST_BYTES = 1 << 20


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


@dataclass
class Found:
    """A prompt and what the model makes of it."""

    prompt: list[int]
    prompt_logits: np.ndarray
    greedy_logits: np.ndarray
    greedy: list[int]
    gap: float
    margin: float
    attempt: int


def find_prompt(model, shape: Shape, seed: int) -> Found:
    """The first random prompt for which no choice is a close call."""
    rng = np.random.default_rng(1000 + seed)
    for attempt in range(1, 20001):
        prompt = rng.integers(0, shape.config["vocab_size"], N_PROMPT).tolist()
        with RouterWatch() as watch:
            prompt_logits, greedy_logits, greedy = record(model, prompt)
        gap = float(top_two_gap(greedy_logits).min())
        varied = len(set(greedy)) >= 4
        if gap >= LEAST_GREEDY_GAP and watch.margin >= LEAST_ROUTER_MARGIN and varied:
            return Found(prompt, prompt_logits, greedy_logits, greedy, gap, watch.margin, attempt)
    raise SystemExit(f"{shape.name}: no prompt with clear choices")


def save_recording(directory: Path, made, found: Found, native, more: dict) -> None:
    """`reference.json` and the logits of what was `made`: a shape or an adapter. `native` is the model in its own format."""
    save_logits(directory / "reference.safetensors", found.prompt_logits, found.greedy_logits)
    reference = {
        "shape": made.name,
        "covers": made.covers,
        "seed": made.seed,
        **more,
        "prompt": found.prompt,
        "greedy": found.greedy,
        "least_greedy_gap": round(found.gap, 6),
        "least_router_margin": None if math.isinf(found.margin) else round(found.margin, 6),
        "logits_standard_deviation": round(float(found.prompt_logits.std()), 4),
        "versions": {p: importlib.metadata.version(p) for p in ("mlx", "mlx-lm", "numpy")},
    }
    note = ""
    if native is not None:
        # The greedy path of the float32 model, so that rows compare.
        native_logits = forced(native, found.prompt, found.greedy)
        save_logits(directory / "reference-bf16.safetensors", *native_logits)
        logits = (found.prompt_logits, found.greedy_logits)
        away = max(float(np.abs(a - b).max()) for a, b in zip(native_logits, logits))
        reference["bf16_largest_difference"] = round(away, 6)
        note = f", bf16 differs by up to {away:.3f}"
    (directory / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")
    size = sum(f.stat().st_size for f in directory.iterdir())
    assert size < MOST_BYTES, f"{made.name}: {size} bytes"
    print(
        f"{made.name}: {size} bytes, logits ±{found.prompt_logits.std():.2f}, greedy gap {found.gap:.3f}, "
        f"router margin {found.margin:.5f}, prompt {found.attempt}{note}",
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
