"""Turns topic files into sentences: alternations such as "(a|b|)" are drawn at random, then roughened a little."""

import random
import re
import tomllib

import shape as S

TOPICS = S.HERE / "topics"
WRAP = tomllib.loads((TOPICS / "wrappers.toml").read_text())
DEFAULT_SYSTEM = "You are boca, a local AI assistant that runs on the user's own machine. Answer clearly and briefly."
SYNONYMS = tomllib.loads((TOPICS / "synonyms.toml").read_text())
INNERMOST = re.compile(r"\(([^()]*\|[^()]*)\)")


def expand(pattern: str, rng: random.Random) -> str:
    """Draws one alternative for every "(a|b|c)", innermost first."""
    while match := INNERMOST.search(pattern):
        pattern = pattern[: match.start()] + rng.choice(match[1].split("|")) + pattern[match.end() :]
    return re.sub(r" +([.,?!:]|$)", r"\1", re.sub(r" +", " ", pattern)).strip()


def facts() -> list[dict]:
    out = []
    for file in sorted(TOPICS.glob("*.toml")):
        if file.stem not in ("wrappers", "extra", "wordings", "synonyms"):
            out += [fact | {"topic": file.stem} for fact in tomllib.loads(file.read_text())["fact"]]
    by_id = {fact["id"]: fact for fact in out}
    assert len(by_id) == len(out), "a fact's id is used twice"
    for file in ("extra.toml", "wordings.toml"):
        for name, more in tomllib.loads((TOPICS / file).read_text()).items():
            for way, phrases in more.items():
                by_id[name].setdefault(way, []).extend(phrases)
    return out


def question(fact: dict, rng: random.Random) -> str:
    """One wording of a fact's question, drawn from the ways that the fact offers."""
    ways = [k for k in ("ask", "what", "how", "does", "case") if fact.get(k)]
    # Hand-written wordings carry the most meaning of their own, so they are drawn more often.
    way = rng.choice(ways + [k for k in ways if k == "ask"])
    phrase = expand(rng.choice(fact[way]), rng)
    if way != "ask":
        phrase = expand(rng.choice(WRAP[way]), rng).replace("X", phrase)
    return reworded(phrase, rng) if rng.random() < 0.75 else phrase


def reworded(text: str, rng: random.Random) -> str:
    """Other words for some of the words, and now and then one word fewer."""
    out = []
    for word in text.split(" "):
        bare = word.rstrip(",.:")
        if bare in SYNONYMS and rng.random() < 0.4:
            word = rng.choice(SYNONYMS[bare]) + word[len(bare) :]
        out.append(word)
    if len(out) > 4 and rng.random() < 0.12:
        out.pop(rng.randrange(len(out)))
    return " ".join(out)


def spoken(text: str, rng: random.Random, tidy: bool = False) -> str:
    """Case, greeting and punctuation as people type them."""
    if not tidy and rng.random() < 0.14:
        text = rng.choice(WRAP["before"]) + text
    if not tidy and rng.random() < 0.08:
        text += rng.choice(WRAP["after"])
    style = rng.random()
    if style < 0.62:
        text = re.sub(r"\bi\b(?!/)", "I", text)
        text = re.sub(r"([.?!] )([a-z])", lambda m: m[1] + m[2].upper(), text)
        # A command or a path at the start keeps its case.
        if not re.match(r"(boca |--|/)", text):
            text = text[:1].upper() + text[1:]
    elif style < 0.64:
        text = text.upper()
    elif style < 0.85:
        text = text.lower()
    asks = re.match(r"(?i)(what|who|how|where|which|why|when|can|could|is|are|do|does|will|would|may|am|whats)\b", text)
    end = rng.random()
    if end < 0.68:
        text += "?" if asks else rng.choice([".", ".", "?", ""])
    elif end < 0.72:
        text += rng.choice(["!", "??", " ?", "..."])
    return text


def thought(about: str, rng: random.Random) -> str:
    return rng.choice([f"The user asks about {about}.", f"This is about {about}."])
