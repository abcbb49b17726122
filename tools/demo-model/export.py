"""Writes the checkpoint under its Hugging Face names and lets mlx-lm convert it to 4 bits into the assets."""

import argparse
import json
import shutil

import jax.numpy as jnp
import mlx_lm
import numpy as np
from safetensors.numpy import save_file

import model
import shape as S
import train

FILES = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def unstacked(p: dict) -> dict:
    """The published layout has one tensor for each expert; mlx-lm stacks them again."""
    out = {}
    for name, w in p.items():
        w = np.ascontiguousarray(np.asarray(w, np.float32))
        if ".switch_mlp." in name:
            for e in range(S.EXPERTS):
                out[name.replace("switch_mlp.", f"experts.{e}.")] = w[e].copy()
        else:
            out[name] = w
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--random", action="store_true", help="fresh weights in place of the trained ones")
    ap.add_argument("--full-only", action="store_true", help="stop before the conversion")
    ap.add_argument("--to", default=str(S.WORK / "mlx-4bit"))
    args = ap.parse_args()
    p = {k: jnp.asarray(v) for k, v in model.init(7).items()} if args.random else train.load()[1]

    full = S.WORK / "hf-f32"
    shutil.rmtree(full, ignore_errors=True)
    full.mkdir(parents=True)
    save_file(unstacked(p), full / "model.safetensors", metadata={"format": "pt"})
    for name, content in (("config.json", S.config()), ("generation_config.json", S.generation_config())):
        (full / name).write_text(json.dumps(content, indent=2) + "\n")
    for name in FILES[3:]:
        shutil.copy(S.ASSETS / name, full / name)
    if args.full_only:
        return
    shutil.rmtree(args.to, ignore_errors=True)
    mlx_lm.convert(str(full), mlx_path=args.to, quantize=True, q_bits=4, q_group_size=64, dtype="bfloat16")


if __name__ == "__main__":
    main()
