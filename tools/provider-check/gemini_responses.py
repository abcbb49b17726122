"""Holds the documents of crates/providers/tests/data/gemini against the official package's types.

    gemini_responses.py FOLDER

What boca's own decoder makes of them is held by a Rust test; here it is shown that they are what the API sends. Fields
that the types do not know yet are named and left out, because the types refuse them although servers send them.
"""

import json
import pathlib
import sys

from google.genai import types
from pydantic import ValidationError

# Documents that are wrong on purpose.
WRONG_ON_PURPOSE = {"finish-of-the-future.200.json"}
# The API's errors are `google.rpc.Status`.
ERROR_FIELDS = {"code", "message", "status", "details"}


def known_fields(value, model, at, unknown):
    """`value` without the fields that `model` does not know."""
    import typing

    origin, arguments = typing.get_origin(model), typing.get_args(model)
    if origin is typing.Union or str(origin) == "<class 'types.UnionType'>":
        inner = [a for a in arguments if a is not type(None)]
        return known_fields(value, inner[0], at, unknown) if len(inner) == 1 else value
    if origin is list and isinstance(value, list):
        return [known_fields(v, arguments[0], at, unknown) for v in value]
    if isinstance(value, dict) and hasattr(model, "model_fields"):
        by_alias = {(f.alias or n): f for n, f in model.model_fields.items()}
        kept = {}
        for name, inner in value.items():
            if name not in by_alias:
                unknown.add(f"{at}.{name}")
                continue
            kept[name] = known_fields(inner, by_alias[name].annotation, f"{at}.{name}", unknown)
        return kept
    return value


def bodies(path):
    text = path.read_bytes().decode()
    if path.suffix == ".json":
        value = json.loads(text)
        return value if isinstance(value, list) else [value]
    frames = text.replace("\r\n", "\n").split("\n\n")
    return [json.loads(f.removeprefix("data: ")) for f in frames if f.startswith("data: ")]


def check(path, unknown):
    n = 0
    for body in bodies(path):
        n += 1
        if "error" in body:
            strange = set(body["error"]) - ERROR_FIELDS
            if strange or not isinstance(body["error"].get("code"), int):
                raise ValueError(f"no google.rpc.Status: {body}")
            continue
        known = known_fields(body, types.GenerateContentResponse, "", unknown)
        types.GenerateContentResponse.model_validate(known)
    return n


def main():
    failures, n_bodies, unknown = 0, 0, set()
    paths = sorted(p for p in pathlib.Path(sys.argv[1]).iterdir() if p.suffix in {".json", ".sse"})
    for path in paths:
        if path.name in WRONG_ON_PURPOSE:
            continue
        try:
            n_bodies += check(path, unknown)
        except (ValueError, ValidationError) as problem:
            failures += 1
            print(f"{path.name}: {problem}")
    print(f"{len(paths)} documents, {n_bodies} bodies, {failures} wrong; unknown to the types: {sorted(unknown)}")
    if n_bodies < 40:
        sys.exit("too few documents")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
