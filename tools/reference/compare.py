"""Records what mlx-lm makes of any checkpoint, in the format of crates/engine/tests/data, so that the engine's
parity test can be pointed at it. Meant for the demo model, and for a real GLM-4.5-Air on a machine that holds it."""

import argparse
import importlib.metadata
import json
import math
import shutil
from pathlib import Path

import mlx.core as mx
from mlx_lm.utils import get_total_parameters, load_model
from tokenizers import Tokenizer

from recording import RouterWatch, record, save_logits, top_two_gap

DEFAULT_PROMPT = "[gMASK]<sop><|user|>\nWhat can you do?/nothink<|assistant|>\n<think></think>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a directory with config.json, weights and tokenizer.json")
    parser.add_argument("out", type=Path, help="where the checkpoint's links and the recording go")
    parser.add_argument("--prompt", default=DEFAULT_PROMPT, help="text, special tokens included")
    arguments = parser.parse_args()
    mx.set_default_device(mx.cpu)

    tokenizer = Tokenizer.from_file(str(arguments.checkpoint / "tokenizer.json"))
    prompt = tokenizer.encode(arguments.prompt, add_special_tokens=False).ids
    model = load_model(arguments.checkpoint)[0]
    n_parameters = get_total_parameters(model)
    model.set_dtype(mx.float32)
    with RouterWatch() as watch:
        prompt_logits, greedy_logits, greedy = record(model, prompt)

    shutil.rmtree(arguments.out, ignore_errors=True)
    arguments.out.mkdir(parents=True)
    for file in arguments.checkpoint.iterdir():
        (arguments.out / file.name).symlink_to(file.resolve())
    save_logits(arguments.out / "reference.safetensors", prompt_logits, greedy_logits)
    reference = {
        "shape": arguments.out.name,
        "covers": f"{arguments.checkpoint.name}, prompt {arguments.prompt!r}",
        "seed": 0,
        "n_parameters": n_parameters,
        "prompt": prompt,
        "greedy": greedy,
        "least_greedy_gap": round(float(top_two_gap(greedy_logits).min()), 6),
        "least_router_margin": None if math.isinf(watch.margin) else round(watch.margin, 6),
        "logits_standard_deviation": round(float(prompt_logits.std()), 4),
        "versions": {p: importlib.metadata.version(p) for p in ("mlx", "mlx-lm", "numpy")},
    }
    (arguments.out / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")
    print(f"{len(prompt)} prompt tokens; mlx-lm goes on: {tokenizer.decode(greedy, skip_special_tokens=False)!r}")
    print(f"greedy gap {reference['least_greedy_gap']}, router margin {reference['least_router_margin']}")


if __name__ == "__main__":
    main()
