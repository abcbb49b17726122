"""Holds the trainer's forward pass against mlx-lm's on the unquantised checkpoint: same weights, same logits."""

import argparse
import json

import jax.numpy as jnp
import mlx.core as mx
import mlx_lm
import numpy as np

import model
import shape as S
import train


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--random", action="store_true", help="as export.py was called")
    args = ap.parse_args()
    p = model.init(7) if args.random else train.load()[1]
    net, _ = mlx_lm.load(str(S.WORK / "hf-f32"))
    net.set_dtype(mx.float32)
    ids = np.random.default_rng(0).integers(0, S.FIRST_SPECIAL, (1, 96)).astype(np.int32)
    # A capacity that drops nothing: the checkpoint knows no capacity.
    hidden, _, dropped = model.forward(p, jnp.asarray(ids), jnp.ones_like(jnp.asarray(ids)), S.EXPERTS / S.TOP_K)
    ours = np.asarray(hidden @ p["lm_head.weight"].T)
    theirs = np.array(net(mx.array(ids)).astype(mx.float32))
    gap = float(np.abs(ours - theirs).max())
    print(json.dumps({"largest difference": gap, "largest logit": float(np.abs(theirs).max()), "dropped": int(dropped)}))
    raise SystemExit(gap > 1e-3)


if __name__ == "__main__":
    main()
