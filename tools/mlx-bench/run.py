"""Times steps of boca's MLX backend and of mlx-lm in turns, in one run, and prints the ratios.

    tools/mlx-bench/run.py --config FILE [--rounds N] [--device cpu|gpu] DIR...

See README.md for what it needs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

PROMPTS = (128, 512)
BATCHES = (1, 4)
DEPTH = 64
PREFILLS = 7
STEPS = 60
WARM_UP = 5


def tokens(n, vocab):
    return [i * 7919 % 2**32 % vocab for i in range(n)]


def prefill_seconds(model, ids):
    times = []
    for _ in range(PREFILLS):
        cache = make_prompt_cache(model)
        began = time.perf_counter()
        logits = model(mx.array([ids]), cache=cache)
        mx.eval(mx.argmax(logits[:, -1], axis=-1), [layer.state for layer in cache])
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def decode_seconds(model, ids, n):
    """As mlx-lm generates: the next step is launched before the last token is read."""
    cache = make_prompt_cache(model)

    def best(x):
        return mx.argmax(model(x, cache=cache)[:, -1], axis=-1)

    now = best(mx.array([ids] * n))
    mx.async_eval(now)
    times = []
    for _ in range(WARM_UP + STEPS):
        began = time.perf_counter()
        then = best(now[:, None])
        mx.async_eval(then)
        now.tolist()
        now = then
        times.append(time.perf_counter() - began)
    return statistics.median(times[WARM_UP:])


def theirs(directory):
    model, config = load_model(Path(directory))
    vocab = config["vocab_size"]
    return {
        "prefill": {str(n): prefill_seconds(model, tokens(n, vocab)) for n in PROMPTS},
        "decode": {str(n): decode_seconds(model, tokens(DEPTH, vocab), n) for n in BATCHES},
    }


def ours(binary, directory, device):
    env = dict(os.environ, BOCA_BENCH_MODEL=str(Path(directory).resolve()), BOCA_BENCH_DEVICE=device)
    out = subprocess.run([binary], env=env, check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def bench_binary(config):
    command = ["cargo", "bench", "--no-run", "--package", "boca-engine", "--features", "mlx", "--config", config]
    command += ["--bench", "mlx_step", "--locked", "--message-format", "json"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    messages = [json.loads(line) for line in lines]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "mlx_step")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--config", required=True, help="what tools/mlx-linux/prepare.sh prints")
    parser.add_argument("directories", nargs="+")
    args = parser.parse_args()
    mx.set_default_device(mx.cpu if args.device == "cpu" else mx.gpu)
    binary = bench_binary(args.config)
    library = Path(args.config).parent / "python/mlx/lib"
    os.environ["LD_LIBRARY_PATH"] = str(library)
    print("| checkpoint | what | ours | the other | ratio |\n| --- | --- | --- | --- | --- |")
    for directory in args.directories:
        name = Path(directory).name
        rounds = [(ours(binary, directory, args.device), theirs(directory)) for _ in range(args.rounds)]
        for n in map(str, BATCHES):
            row(name, f"decode, {n} together ÷ mlx-lm", [(o["decode"][n], t["decode"][n]) for o, t in rounds])
        for n in map(str, PROMPTS):
            row(name, f"prefill of {n} ÷ mlx-lm", [(o["prefill"][n], t["prefill"][n]) for o, t in rounds])
        for n in map(str, BATCHES):
            pairs = [(o["decode"][n], o["decode in turn"][n]) for o, _ in rounds]
            row(name, f"decode, {n} together ÷ without launching ahead", pairs)


def row(name, what, pairs):
    ratio = statistics.median(one / other for one, other in pairs)
    one, other = (statistics.median(side) * 1e3 for side in zip(*pairs))
    print(f"| {name} | {what} | {one:.2f} ms | {other:.2f} ms | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
