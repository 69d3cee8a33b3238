"""A server with pocket behind `gemma --engine`: what it answers, and 100 files while it is killed and started again.

    python -m tests.serve.real_servers
    python -m tests.serve.real_servers "llama-server -m pocket-f32.gguf --jinja --port {port}" --kills 2
    python -m tests.serve.real_servers "vllm serve gemma_cli/pocket/pocket --dtype float32 --port {port}" --kills 1

The argument starts the server; without one it is `gemma serve`. Every reply is greedy and is compared with that of the
local engine. docs/remote.md tells how the two other servers are set up.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from tests.cli.helpers.command import SAMPLES
from tests.serve.server import program

OWN = shlex.join([program(), "serve", "--model", "pocket", "--port", "{port}"])
READY_S = 600.0
LIMIT_S = 300
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
ANIMALS = ("Hund", "Vogel", "Fisch", "Bär", "Wolf", "Hase", "Fuchs", "Löwe", "Tiger", "Igel")
PLACES = ("dem Tisch", "dem Bett", "dem Baum", "dem Haus", "der Brücke", "dem Stuhl", "der Bank", "dem Auto")


@dataclass
class Report:
    """What was printed, and whether anything failed."""

    name: str
    failed: bool = False

    def add(self, title: str, outcome: str, good: bool = True) -> None:
        """Print one line."""
        self.failed |= not good
        print(f"{self.name}: {title}: {'' if good else 'FAILED: '}{' / '.join(outcome.split(chr(10)))}", flush=True)


@dataclass
class Process:
    """A server that can be killed and started again at the same port."""

    command: str
    log: Path
    port: int = field(default_factory=lambda: free_port())
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for --engine."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, in a group of its own: some servers have processes of their own."""
        with self.log.open("ab") as log:
            command = shlex.split(self.command.format(port=self.port))
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def await_health(self) -> float:
        """Return the seconds until it answers."""
        began = time.monotonic()
        while time.monotonic() - began < READY_S:
            assert self._process
            if self._process.poll() is not None:
                break
            with suppress(OSError), urlopen(f"{self.url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return time.monotonic() - began
            time.sleep(0.1)
        raise SystemExit(f"the server does not answer: {self.log.read_text(errors='replace')[-2000:]}")

    def revive(self) -> bool:
        """Start it again if it has ended by itself; return whether it had."""
        if self._process and self._process.poll() is not None:
            self.kill()  # what is left of its group
            self.start()
            self.await_health()
            return True
        return False

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: str, folder: Path) -> Iterator[Process]:
    """Run a server until the end."""
    server = Process(command, folder / "server.log")
    try:
        server.start()
        yield server
    finally:
        server.kill()


def gemma(*arguments: str, engine: str | None) -> subprocess.CompletedProcess[str]:
    """Run a command, with a server or with the local engine."""
    chosen = ("--engine", engine) if engine else ("--model", "pocket", "--no-server")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GEMMA_")}
    return subprocess.run(
        [program(), *arguments, *chosen],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=SAMPLES,
        env=kept | {"OMP_NUM_THREADS": "1"},
        timeout=LIMIT_S,
        check=False,
    )


def requests(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """One command line of each kind."""
    schema = folder / "colour.json"
    schema.write_text(json.dumps(COLOUR))
    greedy = ["--temperature", "0", "-q"]
    yield "chat", ["chat", "Count from 1 to 20.", *greedy]
    yield "thinking", ["chat", "What is 12 + 30?", "--think", "--json", *greedy]
    yield "schema", ["chat", "Pick a colour.", "--schema", str(schema), *greedy]
    yield "tool call", ["chat", "What is 123 + 456?", "--tool", "tools.py:add", "--allow-tool", "add", *greedy]
    yield "image", ["describe-image", "star.png", *greedy]
    yield "audio", ["transcribe", "sentence.wav", "-q"]
    yield "speech translated", ["translate", "cat.en.wav", "--to", "German", "-q"]


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command answered, without white space in JSON; of --json the thought and the text."""
    if not done.stdout.startswith("{"):
        return done.stdout.strip()
    answer = json.loads(done.stdout)
    if "usage" not in answer:  # held to a schema, with whatever white space
        return json.dumps(answer)
    return f"({(answer['thinking'] or '').strip()}) {answer['text']}"


def ask_each(server: Process, report: Report, folder: Path, exact: bool) -> None:
    """Compare every kind of request with the local engine. exact: whether all media and equal texts are demanded."""
    for title, arguments in requests(folder):
        local, remote = (gemma(*arguments, engine=engine) for engine in (None, server.url))
        assert local.returncode == 0, local.stderr
        if remote.returncode:
            refused = "accepts no" in remote.stderr and remote.stderr.count("\n") == 1
            report.add(title, remote.stderr.strip(), good=refused and not exact and not remote.stdout)
            if server.revive():
                report.add(title, "the server ended, and was started again", good=False)
        elif said(local) == said(remote):
            report.add(title, f"as the local engine: {said(remote)}")
        else:
            report.add(title, f"{said(remote)}, the local engine: {said(local)}", good=not exact)


def translate_while_killed(server: Process, report: Report, folder: Path, kills: int, count: int) -> None:
    """Translate files, 8 at once, while the server is killed and started again; each has the local engine's text."""
    sources, local, remote = (folder / name for name in ("sources", "local", "remote"))
    sources.mkdir()
    for number in range(count):
        animal, place = ANIMALS[number % len(ANIMALS)], PLACES[number // len(ANIMALS) % len(PLACES)]
        (sources / f"{number:03}.txt").write_text(f"Der {animal} schläft unter {place}. Nummer {number}.\n")
    paths = [str(path) for path in sorted(sources.iterdir())]
    done = gemma("translate", *paths, "--to", "English", "-q", "-o", str(local), engine=None)
    assert done.returncode == 0, done.stderr
    assert len(_files(local)) == count
    restarted: list[str] = []
    with subprocess.Popen(
        _translating(paths, remote, server.url), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as command:
        for kill in range(kills):
            _await_files(command, remote, (kill + 1) * count // (kills + 1))
            if command.poll() is None:
                server.kill()
                restarted.append(str(len(_files(remote))))
                server.start()
        complaint = command.communicate(timeout=READY_S + LIMIT_S)[1]
    lost = sorted(set(_files(local)) - set(_files(remote)))
    differ = [name for name in _files(remote) if (remote / name).read_text() != (local / name).read_text()]
    good = (command.returncode, lost, len(restarted)) == (0, [], kills)
    report.add(
        f"{count} files, killed after {' and '.join(restarted) or 'none'}",
        f"exit code {command.returncode}, {len(lost)} lost, {len(differ)} differ from the local engine's {complaint}",
        good=good and not differ,
    )


def _translating(paths: Sequence[str], output: Path, url: str) -> list[str]:
    asked = [program(), "translate", *paths, "--to", "English", "-q", "-o", str(output)]
    return [*asked, "--engine", url, "--concurrency", "8"]


def _await_files(command: subprocess.Popen[str], folder: Path, count: int) -> None:
    while command.poll() is None and len(_files(folder)) < count:
        time.sleep(0.02)


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.txt"))


def main() -> int:
    """Start the server and ask it everything."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("command", nargs="?", default=OWN, help="starts the server; {port} stands for its port")
    options.add_argument("--kills", type=int, default=2, help="how often the server is killed")
    options.add_argument("--files", type=int, default=100)
    options.add_argument("--only-files", action="store_true", help="leave out the requests of each kind")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(given.command, folder) as server:
            report = Report(Path(shlex.split(given.command)[0]).name)
            report.add("ready", f"after {server.await_health():.0f} s")
            if not given.only_files:
                ask_each(server, report, folder, exact=given.command == OWN)
            translate_while_killed(server, report, folder, given.kills, given.files)
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
