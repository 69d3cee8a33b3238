"""Commands with a model that a server holds and without, and servers that are killed while they answer."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.cli.helpers.command import SAMPLES
from tests.cli.helpers.command_lines import MANY, NOTICE, said
from tests.serve.server import program
from tests.soak.outcome import Outcome

PROMISE = "A command says the same whoever holds the model, and loses nothing when a server dies"

KILLED = ["chat", "Count from 1 to 60.", "--temperature", "0", "--draft-tokens", "0", "-q"]


def trial(scale: float) -> Outcome:
    """Run every command line both ways, kill 20 servers while they answer, and wait for one to end unasked."""
    lines = MANY[: max(4, round(len(MANY) * scale))]
    kills = max(1, round(20 * scale))
    with tempfile.TemporaryDirectory(prefix="gemma") as folder:
        cold = _environment(Path(folder) / "cold")
        warm = _environment(Path(folder) / "warm")
        _run(["serve", "--background"], b"", warm)
        failures = [f"{line[0]}: {found}" for line in lines if (found := _difference(line, cold, warm))]
        _run(["stop"], b"", warm)
        text = _run(KILLED, b"", cold).stdout
        failures += [f"kill {number}: {found}" for number in range(kills) if (found := _killed(number, text, warm))]
        failures += _left_alone(warm)
    return Outcome(len(lines) + kills + 1, failures)


def _environment(home: Path) -> dict[str, str]:
    for name in ("run", "state"):
        (home / name).mkdir(mode=0o700, parents=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEMMA_", "XDG_"))}
    own = {"XDG_RUNTIME_DIR": str(home / "run"), "XDG_STATE_HOME": str(home / "state"), "GEMMA_MODEL": "pocket"}
    return kept | own | {"OMP_NUM_THREADS": "1"}


def _run(arguments: list[str], stdin: bytes, environment: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [program(), *arguments], input=stdin, capture_output=True, cwd=SAMPLES, env=environment, check=False
    )


def _difference(line: tuple[list[str], bytes], cold: Mapping[str, str], warm: Mapping[str, str]) -> str:
    """How the command differs with a server; "" where it does not."""
    arguments, stdin = line
    alone, served = _run(arguments, stdin, cold), _run(arguments, stdin, warm)
    if alone.returncode != served.returncode:
        return f"exit code {served.returncode}, not {alone.returncode}: {served.stderr.decode()}"
    if said(alone.stdout.decode()) != said(served.stdout.decode()):
        return f"{served.stdout.decode()!r}, not {alone.stdout.decode()!r}"
    told = served.stderr.decode().replace(NOTICE, "")
    if "--stats" not in arguments and told != alone.stderr.decode():
        return f"on stderr {told!r}, not {alone.stderr.decode()!r}"
    return ""


def _killed(number: int, text: bytes, environment: Mapping[str, str]) -> str:
    """Kill the server somewhere in a reply; what is wrong with the reply."""
    _run(["serve", "--background"], b"", environment)
    (path,) = (Path(environment["XDG_RUNTIME_DIR"]) / "gemma").glob("*.sock")
    with subprocess.Popen(
        [program(), *KILLED], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=SAMPLES, env=environment
    ) as command:
        assert command.stdout
        begun = command.stdout.read(1 + 5 * number)
        os.kill(int(path.stem), signal.SIGKILL)
        found = begun + command.stdout.read()
    path.unlink(missing_ok=True)
    return "" if (found, command.returncode) == (text, 0) else f"{found!r} ({command.returncode}), not {text!r}"


def _left_alone(environment: Mapping[str, str]) -> list[str]:
    """A server ends by itself, and not before its time."""
    _run(["serve", "--background", "--idle-timeout", "4"], b"", environment)
    (path,) = (Path(environment["XDG_RUNTIME_DIR"]) / "gemma").glob("*.sock")
    asked = time.monotonic()
    while time.monotonic() - asked < 60 and path.exists():
        time.sleep(0.1)
    if path.exists():
        return ["the idle server is still there"]
    return [] if time.monotonic() - asked > 3 else ["the server ended too early"]
