"""Tables of figures and the sentences that say them; every number is copied from the table."""

import random

import words as W
from phrases import expand

# Row label, a drawing of its value, and the sentences that say it; V is the value.
ROWS = [
    ("requests|total requests|requests total", lambda r: str(_count(r)), "There were V requests.|boca answered V requests."),
    ("failed|failures|errors|failed requests", lambda r: str(r.choice([0, r.randint(1, 60)])), "V of them failed.|V requests failed."),
    ("p50|p50 latency|median latency|p50_ms", lambda r: _time(r), "The median latency was V."),
    ("p95|p95 latency|p95_ms", lambda r: _time(r), "The p95 latency was V."),
    ("time to first token|first token|ttft", lambda r: _time(r), "The first token came after V."),
    ("tokens per second|tokens/s|decode speed", lambda r: _decimal(r, 90), "The model wrote V tokens per second."),
    ("tokens in|prompt tokens|input tokens", lambda r: str(_count(r)), "It read V tokens."),
    ("tokens out|completion tokens|output tokens", lambda r: str(_count(r)), "It wrote V tokens."),
    ("cost|cost usd|total cost", lambda r: "$" + _decimal(r, 20, 2), "The cost was V."),
    ("engine restarts|restarts", lambda r: str(r.randint(0, 9)), "The engine restarted V times."),
    ("memory|resident memory|memory used", lambda r: _decimal(r, 99) + r.choice([" GB", " MB", " GiB"]), "Memory use was V."),
    ("sessions|active sessions", lambda r: str(r.randint(1, 400)), "There were V sessions."),
    ("alerts|alerts fired", lambda r: str(r.randint(0, 20)), "V alerts fired."),
    ("cancelled|cancelled requests", lambda r: str(r.randint(0, 40)), "V requests were cancelled."),
    ("cache hits|prefix hits|cached", lambda r: str(r.randint(0, 100)) + "%", "The cache hit rate was V."),
    ("fastest provider|best provider|winner", lambda r: r.choice(["glm", "gemini", "ollama", "local", "openai"]), "V was the best provider."),
    ("uptime", lambda r: f"{r.randint(1, 99)} " + r.choice(["hours", "days"]), "The daemon was up for V."),
    ("workflows|workflows made", lambda r: str(r.randint(0, 60)), "V workflows were made."),
]


def _count(rng):
    return rng.choice([rng.randint(1, 99), rng.randint(100, 999), rng.randint(1000, 99999)])


def _decimal(rng, top, places=1):
    return f"{rng.uniform(0.1, top):.{places}f}"


def _time(rng):
    return rng.choice([f"{rng.randint(20, 9999)} ms", f"{rng.uniform(0.1, 30):.1f} s", f"{rng.uniform(0.1, 9):.2f} s"])


def _layout(rows, rng):
    style = rng.randrange(6)
    if style < 3:
        head = rng.choice(["| metric | value |", "| figure | value |", "| name | value |"])
        return "\n".join([head, "| --- | --- |"] + [f"| {k} | {v} |" for k, v in rows])
    if style == 3:
        return "\n".join(f"{k}: {v}" for k, v in rows)
    if style == 4:
        return "\n".join(f"- {k}: {v}" for k, v in rows)
    return rng.choice(["metric,value\n", "name,value\n", ""]) + "\n".join(f"{k},{v}" for k, v in rows)


ASK = [
    "(summarise|summarize|sum up) (these|the) (figures|numbers|metrics) (in a few sentences|in plain words|in sentences|briefly|)",
    "(write|give me|make) a (short|brief|) summary of (these|the) (figures|numbers|metrics|table)",
    "(describe|explain|report) (these|the) (metrics|figures|numbers) (in words|in sentences|)",
    "(turn|put) (this|the) table into (sentences|words|text)", "what do these (figures|numbers|metrics) say",
    "write the daily summary (from|of) (this|the) table", "(here are|these are) the (figures|metrics) (of today|of yesterday|of the last day|), please summarise them", "summary of (these|the) metrics", "summarise",
]  # fmt: skip


def _providers(rng):
    """A table with a row for each provider."""
    names = rng.sample(["glm", "gemini", "ollama", "local", "openai", "demo"], rng.randint(2, 3))
    rows = [(n, str(_count(rng)), str(rng.randint(0, 30)), _time(rng)) for n in names]
    table = "\n".join(["| provider | requests | failed | p95 |", "| --- | --- | --- | --- |"] + ["| " + " | ".join(r) + " |" for r in rows])
    text = " ".join(f"{n} answered {a} requests with {b} failures and a p95 of {c}." for n, a, b, c in rows)
    return table, text


def _before(rng):
    """A table that also has the period before."""
    rows = rng.sample(["requests", "failures", "tokens out", "sessions", "alerts"], rng.randint(1, 3))
    rows = [(n, rng.randint(1, 999), rng.randint(1, 999)) for n in rows]
    table = "\n".join(["| metric | now | before |", "| --- | --- | --- |"] + [f"| {n} | {a} | {b} |" for n, a, b in rows])
    return table, " ".join(f"{n.capitalize()}: {a}, before {b}." for n, a, b in rows)


def summary(rng: random.Random):
    kind = rng.random()
    if kind < 0.14:
        table, text = _providers(rng)
    elif kind < 0.24:
        table, text = _before(rng)
    else:
        rows, said = [], []
        for labels, value, says in rng.sample(ROWS, rng.randint(2, 6)):
            v = value(rng)
            rows.append((rng.choice(labels.split("|")), v))
            said.append(rng.choice(says.split("|")).replace("V", v, 1))
        table, text = _layout(rows, rng), " ".join(s[:1].upper() + s[1:] if s[0] != "b" else s for s in said)
        text = text.replace("There were 1 requests", "There was 1 request").replace("restarted 1 times", "restarted once (1 time)")
    asked = expand(rng.choice(ASK), rng)
    asked = asked[:1].upper() + asked[1:] + rng.choice([":", ".", ":"])
    message = f"{asked}\n\n{table}" if rng.random() < 0.7 else f"{table}\n\n{asked.rstrip(':.')}."
    return message, text, expand("I say every (row|figure) in a sentence and copy the numbers (exactly|).", rng)
