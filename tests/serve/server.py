"""A `gemma serve` process for tests, and requests to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.cli.helpers.warm import Fork

LIMIT_S = 120.0


@dataclass
class Server:
    """A running server. url: where it listens; log: its stderr."""

    process: subprocess.Popen[bytes] | Fork
    url: str
    log: Path

    def client(self) -> httpx2.Client:
        """A plain HTTP client."""
        return httpx2.Client(base_url=self.url, timeout=LIMIT_S, trust_env=False)

    def health(self) -> dict[str, Any]:
        """How many requests run and wait."""
        with self.client() as client:
            found: dict[str, Any] = client.get("/health").json()
        return found

    def reaches(self, seconds: float = 20.0, **wanted: int) -> bool:
        """Whether so many requests run or wait at some moment within that time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if wanted.items() <= self.health().items():
                return True
            time.sleep(0.02)
        return False

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def line_after(self, before: int, seconds: float = 20.0) -> dict[str, Any]:
        """The newest line of the log once it has more than `before`: a response may come before its line."""
        end = time.monotonic() + seconds
        while len(lines := self.lines()) <= before:
            assert time.monotonic() < end, f"no line is written: {self.log.read_text()}"
            time.sleep(0.02)
        return lines[-1]

    def end(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def program() -> str:
    """The command as pip installed it beside this Python."""
    found = shutil.which("gemma", path=sysconfig.get_path("scripts"))
    assert found, "gemma is not installed: pip install -e '.[dev]'"
    return found


@contextmanager
def served(*arguments: str, port: bool = True, model: str = "pocket", forks: Path | None = None) -> Iterator[Server]:
    """A server of its own at a free port. forks: the socket of a process in a fork of which it runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEMMA_", "XDG_"))}
    with tempfile.TemporaryDirectory() as folder:
        own = {"OMP_NUM_THREADS": "1", "XDG_RUNTIME_DIR": folder}
        log = Path(folder) / "log"
        command = ["serve", "--model", model, *(("--port", "0") if port else ()), *arguments]
        process: subprocess.Popen[bytes] | Fork
        with log.open("wb") as written, Path(os.devnull).open() as nothing:
            if forks:
                streams = nothing.fileno(), written.fileno(), written.fileno()
                process = Fork(forks, None, command, kept | own, Path.cwd(), streams)
            else:
                process = subprocess.Popen(
                    [program(), *command], stdin=nothing, stdout=written, stderr=written, env=kept | own
                )
        try:
            yield Server(process, _address(process, log), log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes] | Fork, log: Path) -> str:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("gemma: serving "):
                return line.split(" at ")[1].split(" (")[0]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def chat(text: str, **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"messages": [{"role": "user", "content": text}], "seed": 1, **more}


def events(content: str) -> list[dict[str, Any]]:
    """The objects of a stream, which ended as it should."""
    lines = [line.removeprefix("data: ") for line in content.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def text_of(answer: dict[str, Any]) -> str:
    """The text of a chat completion."""
    text: str = answer["choices"][0]["message"]["content"]
    return text
