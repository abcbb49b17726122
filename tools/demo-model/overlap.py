"""Checks that no held-out question shares six words in a row with the training text."""

import json
import re

import shape as S

RUN = 6


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9_/.'-]*[a-z0-9]", text.lower())


def runs(text: str):
    w = words(text)
    return (tuple(w[i : i + RUN]) for i in range(len(w) - RUN + 1))


class HeldOut:
    def __init__(self):
        path = S.HERE / "heldout.json"
        questions = json.loads(path.read_text()) if path.exists() else []
        self.runs = {r: q["id"] for q in questions for r in runs(q["question"])}
        self.whole = {tuple(words(q["question"])): q["id"] for q in questions}

    def meets(self, texts):
        """The id of a held-out question that one of the texts shares a run with or repeats whole, or None."""
        for text in texts:
            if found := self.whole.get(tuple(words(text))):
                return found
            for run in runs(text):
                if run in self.runs:
                    return self.runs[run]
        return None


def main():
    held_out, bad = HeldOut(), 0
    with (S.WORK / "train.jsonl").open() as lines:
        for number, line in enumerate(lines, 1):
            talk = json.loads(line)
            if found := held_out.meets(m["content"] for m in talk["messages"]):
                bad += 1
                print(f"line {number} meets held-out question {found}")
    print(f"{number} conversations checked, {bad} meet a held-out question")
    raise SystemExit(bad > 0)


if __name__ == "__main__":
    main()
