"""Renders conversations as transformers does: the expected texts of the engine's template tests.

    python render.py TEMPLATE OUT [--seed N] [--count N]

OUT becomes a JSON list of cases, each a conversation with `expected` (the text), `refused` (why the template does
not render it) or `crashed` (the name of an exception of Python's own, such as a loop over None: no text to compare).
"""

import argparse
import json
from datetime import datetime
from pathlib import Path

import jinja2
import jinja2.ext
import jinja2.sandbox

import conversations


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def compiled(source):
    """The environment that transformers sets up for chat templates."""
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = to_json
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return env.from_string(source)


def outcome(template, case):
    variables = {} if case["enable_thinking"] is None else {"enable_thinking": case["enable_thinking"]}
    try:
        text = template.render(
            messages=case["messages"],
            tools=case["tools"] or None,
            documents=None,
            add_generation_prompt=case["add_generation_prompt"],
            **variables,
        )
    except jinja2.exceptions.TemplateError as error:
        return {"refused": error.message}
    except Exception as error:
        return {"crashed": type(error).__name__}
    return {"expected": text}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("template", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--count", type=int, default=320)
    options = parser.parse_args()
    template = compiled(options.template.read_text(encoding="utf-8"))
    cases = [*conversations.named(), *conversations.seeded(options.seed, options.count)]
    lines = [json.dumps({**case, **outcome(template, case)}, ensure_ascii=False) for case in cases]
    options.out.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print(f"{len(cases)} cases in {options.out}")


if __name__ == "__main__":
    main()
