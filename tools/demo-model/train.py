"""Trains the demo model on packed token rows; resumable at any saved checkpoint. See README.md."""

import argparse
import json
import math
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import model
import shape as S

# A resumed run then need not compile again.
jax.config.update("jax_compilation_cache_dir", str(S.WORK / "jax-cache"))

STATE = S.WORK / "checkpoint.npz"
LOG = S.WORK / "loss.jsonl"
BIAS_STEP = 0.002
HEAD_SHARE = 0.65


def by_muon(name: str, w) -> bool:
    """Inner matrices take orthogonalised updates; embeddings, head, router, norms and biases take Adam's.

    So do the routed experts: they are most of the matrices, and orthogonalising them costs a third of a step.
    """
    return w.ndim == 2 and "embed" not in name and "lm_head" not in name and ".gate.weight" not in name


def orthogonalise(g):
    """Newton-Schulz iteration towards the nearest matrix with equal singular values (Muon)."""
    wide = g.shape[-2] <= g.shape[-1]
    x = g if wide else jnp.swapaxes(g, -1, -2)
    x = x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + 1e-7)
    for _ in range(5):
        a = x @ jnp.swapaxes(x, -1, -2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x if wide else jnp.swapaxes(x, -1, -2)


def update(p, grads, m, v, loads, lr, step, bias_step):
    """One optimiser step. lr is the schedule's factor in 0..1; the base rates are here."""
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grads.values()))
    clip = jnp.minimum(1.0, 1.0 / (norm + 1e-6))
    new_p, new_m, new_v = {}, {}, {}
    for k, w in p.items():
        g = grads[k] * clip
        if k.endswith("e_score_correction_bias"):
            layer = int(k.split(".")[2]) - S.DENSE_LAYERS
            load = loads[layer].astype(jnp.float32)
            new_p[k], new_m[k], new_v[k] = w + bias_step * jnp.sign(load.mean() - load), m[k], v[k]
        elif by_muon(k, w):
            new_m[k], new_v[k] = 0.95 * m[k] + g, v[k]
            o = orthogonalise(g + 0.95 * new_m[k]) * max(1.0, w.shape[-2] / w.shape[-1]) ** 0.5
            rate = 0.02 * lr
            new_p[k] = w * (1 - 0.05 * rate) - rate * o
        else:
            new_m[k] = 0.9 * m[k] + 0.1 * g
            new_v[k] = 0.98 * v[k] + 0.02 * g * g
            mh, vh = new_m[k] / (1 - 0.9**step), new_v[k] / (1 - 0.98**step)
            rate = lr * (0.01 if "embed" in k else 0.002 if w.ndim == 3 else 0.003)
            new_p[k] = w - rate * mh / (jnp.sqrt(vh) + 1e-8)
    return new_p, new_m, new_v, norm


def make_step(quantised: bool):
    def objective(p, tokens, segments, picks, weights):
        if quantised:
            p = {k: model.fake_quantise(w) if model.is_quantised(k, w) else w for k, w in p.items()}
        return model.loss(p, tokens, segments, picks, weights)

    def step(p, m, v, tokens, segments, picks, weights, lr, count, bias_step):
        (total, (answer, loads, dropped)), grads = jax.value_and_grad(objective, has_aux=True)(
            p, tokens, segments, picks, weights
        )
        p, m, v, norm = update(p, grads, m, v, loads, lr, count, bias_step)
        peak = loads.max() / jnp.maximum(loads.mean(), 1.0)
        return p, m, v, (total, answer, dropped, norm, peak)

    return jax.jit(step, donate_argnums=(0, 1, 2))


def schedule(step: int, total: int) -> float:
    """Warm-up over 60 steps, level to the middle, then a drop and a straight line to nearly nothing.

    The drop is steep because batches are small: orthogonalised updates turn their noise into motion.
    """
    if step < 60:
        return (step + 1) / 60
    left = (total - step) / total
    return 1.0 if left > 0.475 else max(0.01, 0.85 * left)


def save(step, p, m, v):
    STATE.parent.mkdir(exist_ok=True)
    data = {"step": np.asarray(step)}
    for tag, tree in (("p", p), ("m", m), ("v", v)):
        data.update({f"{tag}:{k}": np.asarray(w) for k, w in tree.items()})
    partial = STATE.with_suffix(".partial.npz")
    np.savez(partial, **data)
    os.replace(partial, STATE)


def load():
    data = np.load(STATE)
    trees = {"p": {}, "m": {}, "v": {}}
    for key in data.files:
        if ":" in key:
            tag, name = key.split(":", 1)
            trees[tag][name] = jnp.asarray(data[key])
    return int(data["step"]), trees["p"], trees["m"], trees["v"]


def total_steps(asked: int) -> int:
    """The length of the run; a number in work/steps changes it, and with it the schedule, while the run goes on."""
    file = S.WORK / "steps"
    return int(file.read_text()) if file.exists() else asked


class Rows:
    """Packed rows of one length, in an order fixed by the seed, each pass in another order."""

    def __init__(self, path: Path, batch_tokens: int, seed: int):
        data = np.load(path)
        self.tokens, self.segments, self.weights = data["tokens"], data["segments"], data["weights"]
        self.batch = max(1, batch_tokens // self.tokens.shape[1])
        self.seed = seed

    def __len__(self):
        return len(self.tokens) // self.batch

    def get(self, i: int):
        epoch, i = divmod(i, len(self))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.tokens))
        rows = order[i * self.batch : (i + 1) * self.batch]
        tokens, segments, weights = self.tokens[rows].astype(np.int32), self.segments[rows].astype(np.int32), self.weights[rows]
        # weights[r, t] is for predicting token t; places are shifted to the token before it. Answers come first,
        # the rest is filled with a sample of the questions, and the number is fixed so that one program fits all.
        shifted = np.concatenate([weights[:, 1:], np.zeros_like(weights[:, :1])], 1).reshape(-1)
        noise = np.random.default_rng([self.seed, epoch, i]).random(shifted.size, np.float32)
        picks = np.argsort(-(shifted + 1e-3 * noise), kind="stable")[: int(HEAD_SHARE * shifted.size)]
        picks = np.sort(picks).astype(np.int32)
        return tokens, segments, picks, shifted[picks]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--steps", type=int, required=True)
    ap.add_argument("--batch-tokens", type=int, default=2048)
    ap.add_argument("--quantise-from", type=float, default=0.85, help="fraction of steps after which weights are fake-quantised")
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--save-every", type=int, default=100)
    ap.add_argument("--fresh", action="store_true", help="start over even if a checkpoint exists")
    args = ap.parse_args()

    packs = [Rows(f, args.batch_tokens, args.seed) for f in sorted(S.WORK.glob("rows-*.npz"))]
    share = np.array([len(r) for r in packs], float)
    share /= share.sum()
    print("rows:", [(r.tokens.shape, len(r)) for r in packs], flush=True)

    if STATE.exists() and not args.fresh:
        start, p, m, v = load()
    else:
        start, p = 0, model.init(args.seed)
        m = {k: jnp.zeros_like(w) for k, w in p.items()}
        v = {k: jnp.zeros_like(w) for k, w in p.items()}
    print("parameters:", sum(w.size for w in p.values()), "from step", start, flush=True)

    steps = {False: make_step(False), True: make_step(True)}
    began, seen = time.time(), 0
    # Which pack a step draws from depends on the step alone, so a resumed run goes on as the first would have.
    choice = np.random.default_rng(args.seed).choice(len(packs), 100_000, p=share)
    drawn = [int((choice[:start] == i).sum()) for i in range(len(packs))]
    with LOG.open("a") as log:
        step = start
        while step < (total := total_steps(args.steps)):
            which = choice[step]
            tokens, segments, picks, weights = packs[which].get(drawn[which])
            drawn[which] += 1
            lr = schedule(step, total)
            quantised = step >= args.quantise_from * total
            bias_step = BIAS_STEP * min(1.0, 4 * lr)
            p, m, v, stats = steps[quantised](p, m, v, tokens, segments, picks, weights, lr, step + 1.0, bias_step)
            seen += int((segments > 0).sum())
            if step % 10 == 0 or step == total - 1:
                loss, answer, dropped, norm, peak = (float(s) for s in stats)
                line = {"step": step, "loss": round(loss, 4), "answer": round(answer, 4), "lr": round(lr, 4)}
                line |= {"dropped": int(dropped), "norm": round(norm, 3), "peak": round(peak, 2), "len": tokens.shape[1]}
                line |= {"s": round(time.time() - began, 1), "tokens": seen, "q": int(quantised)}
                print(json.dumps(line), file=log, flush=True)
                if not math.isfinite(loss):
                    raise SystemExit("the loss is not finite")
            step += 1
            if step % args.save_every == 0 or step == total:
                save(step, p, m, v)


if __name__ == "__main__":
    main()
