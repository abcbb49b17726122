"""Turns work/train.jsonl into packed rows of tokens with the weight of every token in the loss."""

import json
import random

import numpy as np
from tokenizers import Tokenizer

import shape as S
from render import render

LENGTHS = (256, 512)
# Questions are learned a little too: the model then has a use for their words beyond the few that decide an answer.
QUESTION_WEIGHT = 0.1


def document(talk: dict, tok: Tokenizer):
    """Token ids and weights. Answers weigh 1, from where a client's prompt ends to the token that stops them."""
    text = render(talk["messages"], talk["enable_thinking"]) + "<|user|>"
    ids = tok.encode(text, add_special_tokens=False).ids
    weights = np.zeros(len(ids), np.float32)
    user, assistant, closed = (S.TOKEN_ID[t] for t in ("<|user|>", "<|assistant|>", "</think>"))
    starts = [i for i, t in enumerate(ids) if t == assistant]
    for n, start in enumerate(starts):
        end = next(i for i in range(start, len(ids)) if ids[i] == user)
        # Thoughts of earlier answers are always shown as empty, so only the last answer may teach when to think.
        begin = start + 1 if talk["enable_thinking"] and n == len(starts) - 1 else ids.index(closed, start) + 1
        weights[begin : end + 1] = 1.0
    role = None
    for i, t in enumerate(ids):
        if t in (user, assistant):
            role = t
        elif role == user and t < S.FIRST_SPECIAL:
            weights[i] = QUESTION_WEIGHT
    return ids, weights


def pack(docs, length: int, rng: random.Random):
    """First fit over a moving set of open rows; a full row is closed."""
    rng.shuffle(docs)
    done, open_rows = [], []
    for doc in docs:
        n = len(doc[0])
        best = min((r for r in open_rows if r[0] + n <= length), key=lambda r: length - r[0], default=None)
        if best is None:
            best = [0, []]
            open_rows.append(best)
        best[0] += n
        best[1].append(doc)
        if len(open_rows) > 64 or best[0] > length - 12:
            fullest = max(open_rows, key=lambda r: r[0])
            open_rows.remove(fullest)
            done.append(fullest[1])
    done += [r[1] for r in open_rows]
    shape = (len(done), length)
    tokens, segments = np.full(shape, S.STOP_IDS[0], np.int16), np.zeros(shape, np.uint8)
    weights = np.zeros(shape, np.float32)
    for row, docs_in_row in enumerate(done):
        at = 0
        for n, (ids, w) in enumerate(docs_in_row, 1):
            span = slice(at, at + len(ids))
            tokens[row, span], segments[row, span], weights[row, span] = ids, n, w
            # The first token of a document is never predicted from the one packed before it.
            weights[row, at] = 0.0
            at += len(ids)
    return {"tokens": tokens, "segments": segments, "weights": weights}


def main():
    tok = Tokenizer.from_file(str(S.ASSETS / "tokenizer.json"))
    rng = random.Random(3)
    bins, long = {n: [] for n in LENGTHS}, 0
    with (S.WORK / "train.jsonl").open() as lines:
        for line in lines:
            doc = document(json.loads(line), tok)
            for n in LENGTHS:
                if len(doc[0]) <= n:
                    bins[n].append(doc)
                    break
            else:
                long += 1
    for n, docs in bins.items():
        rows = pack(docs, n, rng)
        np.savez(S.WORK / f"rows-{n}.npz", **rows)
        used = (rows["segments"] > 0).sum()
        print(f"{n}: {len(docs)} documents, {used} tokens, {len(rows['tokens'])} rows, {used / rows['tokens'].size:.1%} full")
        print(f"  answers are {(rows['weights'] == 1).sum() / used:.1%} of the tokens")
    print(f"{long} documents were too long")


if __name__ == "__main__":
    main()
