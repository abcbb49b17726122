"""Renders conversations by the committed chat template, with the settings that transformers uses."""

import json

from jinja2.sandbox import ImmutableSandboxedEnvironment

import shape as S

_env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
_env.filters["tojson"] = lambda value, ensure_ascii=False: json.dumps(value, ensure_ascii=ensure_ascii)
_template = _env.from_string((S.ASSETS / "chat_template.jinja").read_text())


def render(messages: list[dict], thinking: bool, prompt: bool = False) -> str:
    # Passed only when off, as clients of the family's template do.
    extra = {} if thinking else {"enable_thinking": False}
    return _template.render(messages=messages, add_generation_prompt=prompt, **extra)
