"""Holds every body that boca sends to Gemini against two packages that Google publishes.

    gemini_requests.py REQUESTS.jsonl

Each line is one request: {"path": "...", "body": {...}}. Both checks refuse unknown, misspelt and misplaced fields.
"""

import json
import sys

from google.ai import generativelanguage_v1beta as protos
from google.genai import types
from google.protobuf import json_format
from pydantic import ValidationError

# Fields of a body, and the type of the official package that stands for each.
TOP_LEVEL = {
    "contents": list[types.Content],
    "systemInstruction": types.Content,
    "generationConfig": types.GenerationConfig,
    "tools": list[types.Tool],
}
# The published protocol buffers are older than the API: these fields exist in the newest types alone.
NEWER_THAN_PROTOS = [("generationConfig", "thinkingConfig", "thinkingLevel")]


def check_by_types(body):
    from pydantic import TypeAdapter

    unknown = set(body) - set(TOP_LEVEL)
    if unknown:
        raise ValueError(f"unknown top-level fields {sorted(unknown)}")
    for name, value in body.items():
        adapter = TypeAdapter(TOP_LEVEL[name])
        parsed = adapter.validate_python(value)
        # What was parsed must say the same when it is written again: nothing may have been dropped or bent.
        again = adapter.dump_python(parsed, by_alias=True, exclude_none=True, mode="json")
        if normal(again) != normal(value):
            raise ValueError(f"{name} changed: {value} became {again}")


def normal(value):
    """Without what is written in several ways: base64 alphabets, numbers, nulls."""
    if isinstance(value, dict):
        return {k: normal(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [normal(v) for v in value]
    if isinstance(value, str):
        return value.replace("-", "+").replace("_", "/").rstrip("=")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return round(float(value), 4)
    return value


def check_by_protos(body, message):
    body = json.loads(json.dumps(body))
    for *parents, name in NEWER_THAN_PROTOS:
        place = body.get("generateContentRequest", body)
        for parent in parents:
            place = place.get(parent, {})
        place.pop(name, None)
    json_format.ParseDict(body, message)


def main():
    lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
    failures = 0
    for number, request in enumerate(lines, 1):
        path, body = request["path"], request["body"]
        try:
            if path.endswith(":countTokens"):
                inner = dict(body["generateContentRequest"])
                if not inner.pop("model").startswith("models/"):
                    raise ValueError("the model's collection is missing")
                check_by_protos(body, protos.CountTokensRequest.pb()())
                check_by_types(inner)
            else:
                check_by_types(body)
                check_by_protos(body, protos.GenerateContentRequest.pb()())
        except (ValueError, ValidationError, json_format.ParseError) as problem:
            failures += 1
            print(f"request {number} ({path}): {problem}\n  {json.dumps(body)}")
    seen = set()
    for request in lines:
        collect_fields(request["body"], "", seen)
    print(f"{len(lines)} requests, {len(seen)} different fields, {failures} refused")
    # A check of nothing proves nothing.
    if len(lines) < 20 or len(seen) < 30:
        sys.exit("too few requests or fields were dumped")
    sys.exit(1 if failures else 0)


def collect_fields(value, at, seen):
    if isinstance(value, dict):
        for name, inner in value.items():
            seen.add(f"{at}.{name}")
            collect_fields(inner, f"{at}.{name}", seen)
    elif isinstance(value, list):
        for inner in value:
            collect_fields(inner, at, seen)


if __name__ == "__main__":
    main()
