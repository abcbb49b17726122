"""Asks a checkpoint the held-out questions, greedily, and holds the answers against their rules.

A rule is right when the answer has, ignoring case, one alternative of every list in `must` and nothing of `must_not`.
Also scores skills on fresh draws: recall over turns, tables to sentences, goals to plans.
"""

import argparse
import json
import random
import re
from collections import Counter

import mlx.core as mx
import mlx_lm
from mlx_lm.models.cache import make_prompt_cache

import chats
import phrases
import plans
import shape as S
import tables
from render import render


def answer(net, tok, messages, thinking: bool, budget: int = 220) -> str:
    ids = tok.encode(render(messages, thinking, prompt=True), add_special_tokens=False)
    cache, out = make_prompt_cache(net), []
    while len(out) < budget:
        logits = net(mx.array([ids]), cache=cache)[0, -1]
        token = int(mx.argmax(logits))
        if token in S.STOP_IDS:
            break
        out.append(token)
        ids = [token]
    text = tok.decode(out)
    return text.split("</think>")[-1].strip() if thinking else text.strip()


def right(text: str, rule: dict) -> bool:
    text = text.lower()
    has = lambda part: part.lower() in text
    return all(any(has(a) for a in alternatives) for alternatives in rule["must"]) and not any(has(p) for p in rule["must_not"])


def held_out(net, tok, system, thinking, verbose):
    score = 0
    for rule in json.loads((S.HERE / "heldout.json").read_text()):
        first = [{"role": "system", "content": system}] if system else []
        got = answer(net, tok, first + [{"role": "user", "content": rule["question"]}], thinking)
        ok = right(got, rule)
        score += ok
        if verbose and not ok:
            print(f"  wrong {rule['id']}: {rule['question']!r} -> {got!r}")
    return score


def recall(net, tok, rng, thinking, verbose):
    """Two or more turns, asked for the last thing; the answers between are the model's own."""
    filler = lambda: ("What is a webhook?", "", "")
    turns = chats.recall(rng, filler)
    messages = []
    for asked, wanted, _ in turns:
        messages.append({"role": "user", "content": asked})
        got = answer(net, tok, messages, thinking)
        messages.append({"role": "assistant", "content": got})
    if verbose and got != wanted:
        print(f"  recall: {[m['content'] for m in messages]} wanted {wanted!r}")
    return got == wanted


def figures(net, tok, rng, thinking, verbose):
    asked, wanted, _ = tables.summary(rng)
    got = answer(net, tok, [{"role": "user", "content": asked}], thinking)
    numbers = lambda text: Counter(re.findall(r"\d+(?:\.\d+)?", re.sub(r"p\d\d", "", text)))
    if verbose and numbers(got) != numbers(wanted):
        print(f"  figures: wanted {wanted!r} got {got!r}")
    return numbers(got) == numbers(wanted)


def taught(net, tok, rng, thinking, verbose):
    """A fresh wording of a taught question, from the same generator as the training text."""
    fact = rng.choice(phrases.facts())
    asked = phrases.spoken(phrases.question(fact, rng), rng)
    got = answer(net, tok, [{"role": "user", "content": asked}], thinking)
    if verbose and got != fact["answer"][0]:
        print(f"  taught {fact['id']}: {asked!r} got {got!r}")
    return got == fact["answer"][0]


def plan(net, tok, rng, thinking, verbose):
    asked, wanted, _ = plans.workflow(rng)
    got = answer(net, tok, [{"role": "user", "content": asked}], thinking)
    if verbose and got != wanted:
        print(f"  plan: {asked!r} wanted {wanted!r} got {got!r}")
    return got == wanted


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoint", nargs="?", default=str(S.ASSETS))
    ap.add_argument("--verbose", action="store_true")
    ap.add_argument("--draws", type=int, default=50, help="fresh draws for each skill")
    ap.add_argument("--quick", action="store_true", help="thinking off with the default persona only")
    args = ap.parse_args()
    net, tok = mlx_lm.load(args.checkpoint)
    net.set_dtype(mx.float32)
    tok = tok._tokenizer
    for system, thinking in [(phrases.DEFAULT_SYSTEM, False), (None, False), (phrases.DEFAULT_SYSTEM, True), (None, True)]:
        score = held_out(net, tok, system, thinking, args.verbose)
        print(f"held-out, thinking {'on' if thinking else 'off'}, {'persona' if system else 'no system prompt'}: {score} of 50", flush=True)
        if args.quick:
            break
    for name, skill in (("taught", taught), ("recall", recall), ("figures", figures), ("plan", plan)):
        for thinking in (False,) if args.quick else (False, True):
            rng = random.Random(f"evaluate {name}")
            score = sum(skill(net, tok, rng, thinking, args.verbose) for _ in range(args.draws))
            print(f"{name}, thinking {'on' if thinking else 'off'}: {score} of {args.draws}", flush=True)


if __name__ == "__main__":
    main()
