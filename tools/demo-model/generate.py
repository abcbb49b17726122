"""Writes work/train.jsonl: conversations made from the topics, the same every time for one seed."""

import argparse
import json
import random

import chats
import phrases
import shape as S
import skills
from overlap import HeldOut

# How often each kind of turn is drawn.
KINDS = [
    ("fact", 80),
    ("small", 2),
    ("unknown", 4),
    ("arithmetic", 1),
    ("copy", 4),
    ("as_json", 1),
    ("summary", 7),
    ("workflow", 7),
    ("in_context", 4),
]
# Topics that newcomers ask about most come round twice as often.
CORE = ("commands", "settings")


class Turns:
    """Draws single question-and-answer turns; facts come round evenly, in a shuffled order."""

    def __init__(self, rng: random.Random):
        self.rng, self.facts, self.queue = rng, phrases.facts(), []

    def fact(self):
        if not self.queue:
            self.queue = self.facts + [f for f in self.facts if f["topic"] in CORE]
            self.rng.shuffle(self.queue)
        fact = self.queue.pop()
        # The first answer only: a model this small learns twice the facts if each has one wording.
        text = phrases.spoken(phrases.question(fact, self.rng), self.rng, tidy=fact.get("plain", False))
        return text, fact["answer"][0], phrases.thought(fact["about"], self.rng)

    def draw(self):
        kind = self.rng.choices([k for k, _ in KINDS], [w for _, w in KINDS])[0]
        return self.fact() if kind == "fact" else getattr(skills, kind)(self.rng)


def system_prompt(rng: random.Random):
    roll = rng.random()
    if roll < 0.7:
        return None
    return phrases.DEFAULT_SYSTEM if roll < 0.92 else rng.choice(phrases.WRAP["system"])


def conversation(turns: Turns, rng: random.Random) -> dict:
    roll = rng.random()
    if roll < 0.66:
        exchange = [turns.draw()]
    elif roll < 0.72:
        exchange = [turns.draw() for _ in range(rng.choice([2, 2, 3]))]
    elif roll < 0.728:
        # Long talks, so that a session of many turns is nothing new.
        exchange = [turns.draw() for _ in range(rng.randint(4, 7))] + chats.recall(rng, turns.draw)
    else:
        exchange = chats.recall(rng, turns.draw)
    # Only the last answer shows its thought. A talk that always ended with its last turn would never teach what to think
    # of the turns before, of a name that is told.
    if rng.random() < 0.4:
        exchange = exchange[: rng.randint(1, len(exchange))]
    messages = []
    if text := system_prompt(rng):
        messages.append({"role": "system", "content": text})
    for asked, answered, _ in exchange:
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": answered})
    # Half of them, because thinking is on unless a request switches it off.
    thinks = rng.random() < 0.5
    if thinks:
        messages[-1]["reasoning_content"] = exchange[-1][2]
    return {"messages": messages, "enable_thinking": thinks}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--count", type=int, default=100000)
    ap.add_argument("--seed", type=int, default=11)
    args = ap.parse_args()
    rng = random.Random(args.seed)
    turns, held_out, dropped = Turns(rng), HeldOut(), 0
    S.WORK.mkdir(exist_ok=True)
    with (S.WORK / "train.jsonl").open("w") as out:
        for _ in range(args.count):
            talk = conversation(turns, rng)
            # The held-out questions stay unseen: whatever shares six words in a row with one is left out.
            if held_out.meets(m["content"] for m in talk["messages"]):
                dropped += 1
                continue
            out.write(json.dumps(talk, ensure_ascii=False) + "\n")
    print(f"wrote {args.count - dropped} conversations, left out {dropped} that met a held-out question")


if __name__ == "__main__":
    main()
