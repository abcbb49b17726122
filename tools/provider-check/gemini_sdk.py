"""Points the official google-genai client at boca's fake provider: the fake must speak the real dialect.

    gemini_sdk.py FAKE_PROVIDER_BINARY
"""

import subprocess
import sys
from contextlib import contextmanager

from google import genai
from google.genai import errors, types

KEY = "AIzaSyKeyOfTheCheck"
TEXT = "The capital of Latvia is Riga."


@contextmanager
def fake(*options):
    command = [sys.argv[1], "--key", KEY, "--text", TEXT, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        if not url.startswith("http://"):
            sys.exit(f"the fake did not start: {url!r}")
        yield url
    finally:
        process.terminate()
        process.wait()


def client(url, version="v1beta", key=KEY):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url, api_version=version))


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: expected {wanted!r}, found {found!r}")
    print(f"  {what}")


def fails(what, code, status, call):
    try:
        call()
    except errors.APIError as error:
        expect(what, (error.code, error.status), (code, status))
        return error
    sys.exit(f"{what}: it did not fail")


def good():
    config = types.GenerateContentConfig(
        system_instruction="be brief", temperature=0.2, top_k=40, max_output_tokens=50, stop_sequences=["X"], seed=7,
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="LOW"),
    )
    with fake("--reasoning", "Capitals I know.") as url:
        for version in ("v1beta", "v1"):
            api = client(url, version)
            response = api.models.generate_content(model="gemini-3.8-flash", contents="Riga?", config=config)
            expect(f"{version}: a whole answer", response.text, TEXT)
            expect(f"{version}: its finish reason", response.candidates[0].finish_reason, types.FinishReason.STOP)
            expect(f"{version}: its thinking", response.usage_metadata.thoughts_token_count, 3)
            chunks = list(api.models.generate_content_stream(model="gemini-3.8-flash", contents="Riga?", config=config))
            expect(f"{version}: a streamed answer", "".join(c.text or "" for c in chunks), TEXT)
            expect(f"{version}: it comes in pieces", len(chunks) > 5, True)
            expect(f"{version}: its usage", chunks[-1].usage_metadata.candidates_token_count, 6)
            counted = api.models.count_tokens(model="gemini-3.8-flash", contents="one two three")
            expect(f"{version}: a count of tokens", counted.total_tokens >= 3, True)
            names = [model.name for model in api.models.list()]
            expect(f"{version}: the list of models", names, ["models/fake-model"])


def ask(url, key=KEY):
    api = client(url, key=key)
    return api.models.generate_content(model="m", contents="hi")


def stream(url):
    # The client must outlive the stream.
    api = client(url)
    return list(api.models.generate_content_stream(model="m", contents="hi"))


def bad():
    with fake() as url:
        fails("a bad key", 400, "INVALID_ARGUMENT", lambda: ask(url, "wrong"))
    with fake("--model", "another") as url:
        fails("an unknown model", 404, "NOT_FOUND", lambda: ask(url))
    with fake("--fault", "rate-limited:30") as url:
        error = fails("too many requests", 429, "RESOURCE_EXHAUSTED", lambda: ask(url))
        kinds = {d["@type"].rsplit(".", 1)[-1] for d in error.details["error"]["details"]}
        expect("its details", kinds, {"QuotaFailure", "RetryInfo"})
    with fake("--fault", "daily-quota") as url:
        error = fails("a spent quota", 429, "RESOURCE_EXHAUSTED", lambda: ask(url))
        violation = error.details["error"]["details"][0]["violations"][0]
        expect("its name", "PerDay" in violation["quotaId"], True)
    with fake("--fault", "status:503") as url:
        fails("an overloaded server", 503, "UNAVAILABLE", lambda: ask(url))
    with fake("--fault", "safety:0") as url:
        response = ask(url)
        expect("a blocked prompt", response.prompt_feedback.block_reason, types.BlockedReason.SAFETY)
        expect("no candidates", response.candidates, None)
    with fake("--fault", "safety:2") as url:
        chunks = stream(url)
        expect("a blocked answer", chunks[-1].candidates[0].finish_reason, types.FinishReason.SAFETY)
    with fake("--fault", "error:2:The model is overloaded.") as url:
        fails("an error in mid-stream", 503, "UNAVAILABLE", lambda: stream(url))


if __name__ == "__main__":
    good()
    bad()
    print("the official client takes the fake for the real thing")
