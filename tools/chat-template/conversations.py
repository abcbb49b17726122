"""Conversations to render: named ones, and random ones from a seed."""

import random

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather <b>in</b> a \"place\" & its größe",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "where\nexactly"},
                "days": {"type": "integer", "minimum": 0, "default": 1},
                "ratio": {"type": "number", "default": 0.5, "maximum": 1e16, "minimum": -1e-7},
                "units": {"enum": ["°C", "°F", None, True]},
            },
            "required": ["city"],
        },
    },
}
PLAIN_TOOL = {"name": "now", "parameters": {}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def tool(content):
    return {"role": "tool", "content": content}


def call(name, arguments, wrapped=True):
    function = {"name": name, "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function} if wrapped else function


ARGUMENTS = {
    "city": "Köln",
    "days": 3,
    "big": 9223372036854775807,
    "negative": -42,
    "ratio": 0.1,
    "tiny": 1e-07,
    "huge": 1e16,
    "round": 100000.0,
    "yes": True,
    "no": False,
    "nothing": None,
    "list": [1, "two", 3.5, [], {}],
    "nested": {"a": {"b": ["</think>", "<|user|>", "\"quoted\"", "tab\t"]}},
    "text": "line\nbreak <arg_value> \\ 'x'",
    "empty": "",
    "ünï": "日本語 🙂",
}

NAMED = {
    "hello": [user("Hello")],
    "system": [system("You are boca."), user("Hi")],
    "system in the middle": [user("Hi"), system("Be brief."), user("Again")],
    "multi-turn": [user("One"), assistant("Two"), user("Three"), assistant("Four"), user("Five")],
    "ends with assistant": [user("One"), assistant("Two")],
    "only system": [system("alone")],
    "nothing": [],
    "empty texts": [system(""), user(""), assistant(""), user("")],
    "blanks around": [user("  padded \n"), assistant("\n\n  answer \t\n"), user("\n")],
    "python blanks": [user("a"), assistant("\u001c\u001f answer \u0085\u00a0\u2003"), user("b")],
    "already nothink": [user("Hi/nothink"), assistant("ok"), user("Hi /nothink"), user("/nothink ")],
    "inline thinking in history": [
        user("Q"),
        assistant("<think>\nfirst\nthoughts\n</think>\n\nThe answer"),
        user("Q2"),
    ],
    "inline thinking after the question": [user("Q"), assistant("<think>deep\n</think>\nA"), tool("r")],
    "inline thinking twice": [user("Q"), assistant("<think>a</think>b<think>c</think> d </think> e"), user("f")],
    "thinking without end": [user("Q"), assistant("<think>never ends"), user("f")],
    "end without thinking": [user("Q"), assistant("lost</think>found")],
    "thinking as a field": [user("Q"), assistant("A", reasoning_content=" because \n"), user("Q2"), assistant("B", reasoning_content="so")],
    "thinking as an empty field": [user("Q"), assistant("<think>x</think>A", reasoning_content="")],
    "thinking as null": [user("Q"), assistant("<think>x</think>A", reasoning_content=None)],
    "null content": [user("Q"), assistant(None, tool_calls=[call("now", {})]), tool("12:00")],
    "null from the user": [user(None), system(None)],
    "missing content": [{"role": "user"}, {"role": "assistant"}, {"role": "user", "content": "x"}],
    "list content": [
        system([{"type": "text", "text": "part one, "}, "part two"]),
        user([{"type": "text", "text": "see "}, {"type": "image", "url": "x"}, {"type": "text", "text": "this"}]),
        assistant([{"type": "text", "text": "<think>t</think> ok "}]),
        user([]),
    ],
    "list content after a question": [user("Q"), assistant(["<think>a", "</think>", " b "])],
    "special tokens in the text": [
        system("[gMASK]<sop><|system|>"),
        user("<|user|>\n<|assistant|><think></think>"),
        assistant("<|observation|> </think> <|endoftext|>"),
        user("<|us" + "er|> [gMASK] /nothink </think>"),
    ],
    "pieces of special tokens": [user(["<|us", "er|>"]), assistant("|user|><|user|"), user(["<", "/think", ">"])],
    "jinja in the text": [system("{{ 1 + 1 }}"), user("{% raw %}{{ x }}{% endraw %} {# c #} {%- if -%}"), user("}}{{")],
    "unicode": [system("ß ﬁ İ ı"), user("日本語 한국어 العربية עברית"), assistant("🙂👩‍👩‍👧‍👦 e\u0301 \u200b\ufeff"), user("\U0001f1e9\U0001f1ea \u2028 \u0000 \u007f")],
    "private use": [user("\U000f0000\U000f0010 \ue000 \U00100000"), assistant("\U000f0001<think>")],
    "carriage returns": [user("a\r\nb\rc\n"), assistant("\r\nx\r\n"), user("y\r")],
    "tool call": [user("Weather?"), assistant("", tool_calls=[call("get_weather", {"city": "Köln"})]), tool("sunny"), assistant("Sunny.")],
    "tool call with text": [user("Q"), assistant("Let me see.", reasoning_content="need it", tool_calls=[call("now", {})]), tool("12")],
    "tool call unwrapped": [user("Q"), assistant("", tool_calls=[call("now", {"zone": "UTC"}, wrapped=False)]), tool("12")],
    "tool calls": [user("Q"), assistant("", tool_calls=[call("a", {"x": 1}), call("b", {"y": [1.0, 2]})]), tool("1"), tool("2"), user("ok")],
    "tool arguments": [user("Q"), assistant("x", tool_calls=[call("all", ARGUMENTS)]), tool("done")],
    "tool arguments null": [user("Q"), assistant("x", tool_calls=[call("f", None)]), tool("done")],
    "tool arguments as text": [user("Q"), assistant("x", tool_calls=[call("f", "{\"a\": 1}")]), tool("done")],
    "no tool calls": [user("Q"), assistant("x", tool_calls=[]), assistant("y", tool_calls=None)],
    "tool result list": [user("Q"), assistant("", tool_calls=[call("a", {})]), tool([{"output": "one"}, "two", {"output": "</think>"}])],
    "tool result text parts": [user("Q"), tool([{"type": "text", "text": "found"}, {"type": "text", "text": " it"}])],
    "tool result objects": [user("Q"), tool([{"a": 1.0, "b": [None, True, "it's", 'say "x"', "\n\t\\"]}, [1, 2], 3, 1e16, "é"])],
    "tool result object": [user("Q"), tool({"output": "x", "n": 1})],
    "tool results apart": [user("Q"), tool("a"), assistant("b"), tool("c"), tool("d")],
    "tool first": [tool("a"), user("Q")],
    "unknown role": [{"role": "narrator", "content": "once"}, user("Q")],
    "no user": [system("s"), assistant("<think>kept</think>a", reasoning_content="r")],
    "long": [user("word " * 400), assistant("antwort\n" * 200), user("?")],
    "names": [{"role": "user", "content": "Q", "name": "ann"}, {"role": "assistant", "content": "A", "name": "<|user|>"}],
    "number content": [user(3), assistant("x"), user(1.5)],
    "true content": [user(True), system(False)],
    "object content": [user({"a": "it's", "b": 1e16}), system({})],
}

TOOL_SETS = {
    "one tool": [TOOL],
    "two tools": [TOOL, PLAIN_TOOL],
    "special tokens in a tool": [{"name": "<|user|>", "description": "</think>[gMASK] /nothink", "parameters": {"<think>": ["<|assistant|>"]}}],
    "numbers in a tool": [{"name": "n", "v": [0, -1, 1.0, 1e-5, 1.5e300, 123456789012345678, 0.1, True, False, None, [], {}, ""]}],
}

WORDS = [
    "boca", "daemon", "hello", " ", "\n", "\n\n", "<think>", "</think>", "<|user|>", "<|assistant|>", "/nothink",
    "<tool_call>", "</tool_call>", "[gMASK]", "<sop>", "<", ">", "|", "/", "<|", "|>", "think", "{{", "}}", "{%", "%}",
    "é", "日本", "🙂", "'", '"', "\\", "\t", "0", "1.5", "\u001c", "\u00a0", "\u2028", "None", "True",
]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self, most=5):
        return "".join(self.random.choice(WORDS) for _ in range(self.random.randint(0, most)))

    def value(self, depth=0):
        kind = self.random.randint(0, 8 if depth < 2 else 5)
        if kind <= 1:
            return self.text()
        if kind == 2:
            return self.random.choice([0, 1, -7, 2**53, -(2**63), 2**63 - 1, self.random.randint(-10**6, 10**6)])
        if kind == 3:
            return self.random.choice([0.0, -0.5, 1.0, 1e16, 1e-5, 3.14159, 2.5e-300, self.random.random(), self.random.uniform(-1e20, 1e20)])
        if kind == 4:
            return self.random.choice([True, False])
        if kind == 5:
            return None
        if kind == 6:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        return self.object(depth + 1)

    def object(self, depth=0):
        return {self.random.choice(["a", "b", "key", "type", "output", "é", self.text(2)]): self.value(depth) for _ in range(self.random.randint(0, 3))}

    def content(self):
        kind = self.random.randint(0, 9)
        if kind <= 6:
            return self.text(8)
        if kind == 7:
            return None if self.random.random() < 0.3 else ""
        return [self.random.choice([self.text(3), {"type": "text", "text": self.text(3)}, {"type": "image"}]) for _ in range(self.random.randint(0, 3))]

    def message(self):
        role = self.random.choice(["user", "user", "assistant", "assistant", "tool", "system"])
        message = {"role": role, "content": self.content()}
        if role == "assistant":
            if self.random.random() < 0.3:
                message["content"] = f"<think>{self.text()}</think>{self.text()}"
            if self.random.random() < 0.2:
                message["reasoning_content"] = self.text()
            if self.random.random() < 0.3:
                calls = [call(self.random.choice(["now", "f", self.text(2)]), self.object(), self.random.random() < 0.7) for _ in range(self.random.randint(1, 2))]
                message["tool_calls"] = calls
        if role == "tool" and self.random.random() < 0.3:
            message["content"] = [self.random.choice([self.text(3), {"output": self.text(3)}, self.value()]) for _ in range(self.random.randint(1, 3))]
        return message

    def conversation(self):
        return {
            "messages": [self.message() for _ in range(self.random.randint(1, 5))],
            "tools": [self.object() for _ in range(self.random.randint(1, 2))] if self.random.random() < 0.25 else [],
            "add_generation_prompt": self.random.random() < 0.5,
            "enable_thinking": self.random.choice([None, True, False]),
        }


def named():
    for name, messages in NAMED.items():
        for thinking in (None, True, False):
            yield {
                "name": name,
                "messages": messages,
                "tools": [],
                "add_generation_prompt": thinking is not True or name == "hello",
                "enable_thinking": thinking,
            }
    for name, tools in TOOL_SETS.items():
        for thinking in (None, False):
            yield {
                "name": name,
                "messages": NAMED["tool calls"],
                "tools": tools,
                "add_generation_prompt": True,
                "enable_thinking": thinking,
            }


def seeded(seed, count):
    maker = Maker(seed)
    for number in range(count):
        yield {"name": f"random {number}", **maker.conversation()}
