"""Checks that no held-out question shares six words in a row with the training text."""

import json
import re

import shape as S

RUN = 6
# Short questions have no run of six words, so a text with nearly the same set of words counts as well.
ALIKE = 0.75


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
        self.whole = {q["id"]: frozenset(words(q["question"])) for q in questions}

    def meets(self, texts):
        """The id of a held-out question that one of the texts shares a run with or nearly repeats, or None."""
        for text in texts:
            for run in runs(text):
                if run in self.runs:
                    return self.runs[run]
            said = frozenset(words(text))
            for name, asked in self.whole.items():
                if len(said & asked) >= ALIKE * len(said | asked):
                    return name
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
