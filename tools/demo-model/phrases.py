"""Turns topic files into sentences: alternations such as "(a|b|)" are drawn at random, then roughened a little."""

import random
import re
import tomllib

import shape as S

TOPICS = S.HERE / "topics"
WRAP = tomllib.loads((TOPICS / "wrappers.toml").read_text())
DEFAULT_SYSTEM = "You are boca, a local AI assistant that runs on the user's own machine. Answer clearly and briefly."
INNERMOST = re.compile(r"\(([^()]*\|[^()]*)\)")


def expand(pattern: str, rng: random.Random) -> str:
    """Draws one alternative for every "(a|b|c)", innermost first."""
    while match := INNERMOST.search(pattern):
        pattern = pattern[: match.start()] + rng.choice(match[1].split("|")) + pattern[match.end() :]
    return re.sub(r" +([.,?!:]|$)", r"\1", re.sub(r" +", " ", pattern)).strip()


def facts() -> list[dict]:
    out = []
    for file in sorted(TOPICS.glob("*.toml")):
        if file.stem != "wrappers":
            out += tomllib.loads(file.read_text())["fact"]
    return out


def question(fact: dict, rng: random.Random) -> str:
    """One wording of a fact's question, drawn from the ways that the fact offers."""
    ways = [k for k in ("ask", "what", "how") if fact.get(k)]
    # Hand-written wordings carry the most meaning of their own, so they are drawn twice as often.
    way = rng.choice(ways + [k for k in ways if k == "ask"])
    phrase = expand(rng.choice(fact[way]), rng)
    if way != "ask":
        phrase = expand(rng.choice(WRAP[way]), rng).replace("X", phrase)
    return phrase


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
    return expand(
        rng.choice(
            [
                f"The user asks about {about}. I answer (briefly|in a sentence or two|clearly).",
                f"This is about {about}. (I know this.|I can answer that.|A short answer is best.)",
                f"The (question|message) is about {about}. (I know this.|I answer briefly.|I keep it short.)",
            ]
        ),
        rng,
    )
