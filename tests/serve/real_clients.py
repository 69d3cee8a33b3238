"""Clients that people use, against a `gemma serve` with pocket: `python -m tests.serve.real_clients [--path FOLDER]`.

Nothing is installed: a client that is not there is reported as missing. FOLDER is searched for programs before PATH:
curl, llm, aider, chromium, and a python with openai and anthropic.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

from tests.cli.helpers.command import SAMPLES
from tests.serve.server import Server, served

COUNT = "Count from 1 to 10."
LIMIT_S = 180

OPENAI = """
import json, sys, openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none")
asked = dict(model="pocket", messages=[{"role": "user", "content": "Count from 1 to 10."}], seed=3)
print("chat:", client.chat.completions.create(**asked).choices[0].message.content)
told = client.chat.completions.create(**asked, stream=True)
print("stream:", "".join(chunk.choices[0].delta.content or "" for chunk in told))
number = {"type": "integer"}
numbers = {"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"]}
add = {"type": "function", "function": {"name": "add", "description": "Add two numbers.", "parameters": numbers}}
question = [{"role": "user", "content": "What is 123 + 456?"}]
called = client.chat.completions.create(model="pocket", messages=question, tools=[add], temperature=0).choices[0]
print("tool:", called.message.tool_calls[0].function.name, called.message.tool_calls[0].function.arguments)
form = {"type": "json_schema", "json_schema": {"name": "c", "schema": {"enum": ["red", "blue"]}}}
print("schema:", client.chat.completions.create(**asked, response_format=form).choices[0].message.content)
print("audio:", client.audio.transcriptions.create(model="pocket", file=open("sentence.wav", "rb")).text)
print("responses:", client.responses.create(model="pocket", input="Count from 1 to 10.").output_text)
"""

ANTHROPIC = """
import sys, anthropic
client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none")
asked = dict(model="pocket", max_tokens=64, messages=[{"role": "user", "content": "Count from 1 to 10."}])
print("message:", client.messages.create(**asked).content[0].text)
with client.messages.stream(**asked) as stream:
    print("stream:", "".join(stream.text_stream))
"""

PAGE = """<!doctype html><title>page</title><pre id=out>nothing</pre><script>
(async () => {
  try {
    const body = JSON.stringify({messages: [{role: "user", content: "Count from 1 to 10."}], seed: 3});
    const headers = {"Content-Type": "application/json", "Authorization": "Bearer none"};
    const answer = await fetch("URL/v1/chat/completions", {method: "POST", headers, body});
    out.textContent = "answered: " + (await answer.json()).choices[0].message.content;
  } catch (error) { out.textContent = "refused: " + error.message; }
})();
</script>
"""

SIMPLE = """<!doctype html><title>page</title><pre id=out>nothing</pre><script>
const body = '{"messages": [{"role": "user", "content": "x"}]}';
fetch("URL/v1/chat/completions", {method: "POST", mode: "no-cors", body})
  .then(a => out.textContent = "opaque: " + a.type, e => out.textContent = "refused: " + e.message);
</script>
"""
"""A request that browsers send without asking first; the page cannot read the answer, but it must do nothing either."""


@contextmanager
def pages(folder: Path) -> Iterator[str]:
    """Serve a folder at a port of its own; gives the origin."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def run(*command: str, cwd: Path = SAMPLES, **environment: str) -> str:
    """What a program prints, or how it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | environment,
        timeout=LIMIT_S,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else f"FAILED ({done.returncode}): {done.stderr.strip()[-500:]}"


def in_python(program: str, server: Server, _folder: Path, *, code: str) -> str:
    """Run a script with a client library."""
    return run(program, "-c", code, server.url)


def with_curl(program: str, server: Server, _folder: Path) -> str:
    """A chat, and subtitles of a recording."""
    body = json.dumps({"messages": [{"role": "user", "content": COUNT}], "seed": 3})
    chat = run(program, "-s", f"{server.url}/v1/chat/completions", "-d", body)
    form = ("-F", "file=@sentence.wav", "-F", "response_format=srt")
    said = run(program, "-s", f"{server.url}/v1/audio/transcriptions", *form)
    return f"chat: {json.loads(chat)['choices'][0]['message']['content']}\nsrt: {' / '.join(said.split(chr(10)))}"


def with_llm(program: str, server: Server, folder: Path) -> str:
    """`llm` with a model in extra-openai-models.yaml, streamed and not."""
    own = folder / "llm"
    own.mkdir()
    models = f"- model_id: pocket\n  model_name: pocket\n  api_base: {server.url}/v1\n  api_key_name: none\n"
    (own / "extra-openai-models.yaml").write_text(models)
    asked = (program, "-m", "pocket", COUNT, "--key", "none", "-o", "seed", "3")
    streamed = run(*asked, LLM_USER_PATH=str(own))
    return f"stream: {streamed}\nwhole: {run(*asked, '--no-stream', LLM_USER_PATH=str(own))}"


def with_aider(program: str, server: Server, folder: Path) -> str:
    """`aider` asked about a file, in a folder of its own."""
    place = folder / "aider"
    place.mkdir()
    (place / "count.py").write_text("print(1)\n")
    options = (
        "--model",
        "openai/pocket",
        "--no-git",
        "--yes-always",
        "--no-check-update",
        "--no-show-model-warnings",
        "--no-show-release-notes",
    )
    quiet = ("--no-analytics", "--no-pretty", "--edit-format", "ask", "--map-tokens", "0")
    said = run(
        program,
        *options,
        *quiet,
        "--message",
        COUNT,
        cwd=place,
        OPENAI_API_BASE=f"{server.url}/v1",
        OPENAI_API_KEY="none",
        HOME=str(place),
    )
    return said if said.startswith("FAILED") else said.partition("Repo-map: disabled")[2].strip() or said[-300:]


def with_chromium(program: str, server: Server, folder: Path, *, origin: str, page: str) -> str:
    """A page of `origin` that asks the server."""
    (folder / "page.html").write_text(page.replace("URL", server.url))
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=60000",
        f"--user-data-dir={folder}/c",
    )
    found = run(program, *flags, "--dump-dom", f"{origin}/page.html")
    return found.partition('<pre id="out">')[2].partition("</pre>")[0] or found[-300:]


def main() -> int:
    """Run every client that is there."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--path", type=Path, help="a folder of programs")
    path = options.parse_args().path
    search = os.pathsep.join(filter(None, (str(path) if path else "", os.environ.get("PATH", ""))))
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with pages(folder) as allowed, pages(folder) as other, served("--allowed-origin", allowed) as server:
            clients: list[tuple[str, str, Callable[[str, Server, Path], str]]] = [
                ("openai", "python3", partial(in_python, code=OPENAI)),
                ("anthropic", "python3", partial(in_python, code=ANTHROPIC)),
                ("curl", "curl", with_curl),
                ("llm", "llm", with_llm),
                ("aider", "aider", with_aider),
                ("chromium, an allowed page", "chromium", partial(with_chromium, origin=allowed, page=PAGE)),
                ("chromium, another page", "chromium", partial(with_chromium, origin=other, page=PAGE)),
                ("chromium, another page, unasked", "chromium", partial(with_chromium, origin=other, page=SIMPLE)),
            ]
            for title, program, client in clients:
                found = shutil.which(program, path=search)
                said = client(found, server, folder) if found else f"missing: no {program} here"
                failed |= said.startswith("FAILED")
                print("\n".join(f"{title}: {line}" for line in said.splitlines()), flush=True)
            statuses = sorted({(line["path"], line["status"]) for line in server.lines()}, key=str)
            print("statuses:", ", ".join(f"{path} {status}" for path, status in statuses))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
