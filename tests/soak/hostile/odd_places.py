"""Runs commands where folders are full or read-only, and compares what they answer with what they answer elsewhere."""

import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faulty_disk import CAN_PRELOAD, Fault, build, faulty
from tests.soak.outcome import Outcome
from tests.speech.words import pause, record, say

PROMISE = (
    "Where nothing can be written, the answer is the same, with one line on stderr for each thing that is not kept."
)

SAMPLES = Path(__file__).parents[3] / "gemma_cli" / "samples"
GEMMA = [sys.executable, "-m", "gemma_cli"]
LIMIT_S = 600

COUNT = ["chat", "Count from 1 to 7.", "--temperature", "0"]
SOUND = str(SAMPLES / "number-347.wav")
COMMANDS: dict[str, list[str]] = {
    "chat": COUNT,
    "chat --session new": [*COUNT, "--session", "new"],
    "chat --session old": [*COUNT, "--session", "old"],
    "chat --continue": [*COUNT, "--continue"],
    "chat --continue --json": [*COUNT, "--continue", "--schema", "SCHEMA"],
    "transcribe": ["transcribe", SOUND],
    "transcribe -": ["transcribe", "-"],
    "transcribe long": ["transcribe", "LONG"],
    "translate": ["translate", SOUND, "--to", "German"],
    "describe-image": ["describe-image", str(SAMPLES / "star.png"), "--temperature", "0"],
    "models": ["models"],
    "sessions": ["sessions"],
    "sessions show": ["sessions", "show", "old"],
}
LINES = {"chat": 1, "transcribe": 1, "translate": 1, "describe-image": 1, "models": 0, "sessions": 0}
"""How many lines each may write to stderr for one faulty folder."""

FAULTS: tuple[Fault, ...] = ("full", "readonly")


Limit = Callable[[], None] | None
"""What a child does before it runs the command."""


@dataclass(frozen=True)
class World:
    """A home in which everything was used before: kernels, pace, two chats."""

    folder: Path
    library: Path

    def run(self, name: str, extra: dict[str, str], limit: Limit = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with the chats as they were at first."""
        state = self.folder / ".local" / "state"
        if (before := self.folder / "before").exists():
            shutil.rmtree(state)
            shutil.copytree(before, state)
        arguments = COMMANDS.get(name) or [*COUNT, "--session", name]
        files = {"LONG": str(self.folder / "long.wav"), "SCHEMA": str(self.folder / "schema.json")}
        command = [*GEMMA, *(files.get(argument, argument) for argument in arguments)]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GEMMA_", "HF_", "XDG_"))}
        env = kept | {"HOME": str(self.folder), "GEMMA_MODEL": "pocket", "OMP_NUM_THREADS": "1"} | extra
        env["PYTHONDONTWRITEBYTECODE"] = "1"  # modules compiled on a full disk would be cut short, for later runs too
        with Path(SOUND if "-" in arguments else os.devnull).open("rb") as stdin:
            return subprocess.run(
                command,
                stdin=stdin,
                capture_output=True,
                env=env,
                timeout=LIMIT_S,
                check=False,
                text=True,
                preexec_fn=limit,
            )

    def begin(self) -> None:
        """Use everything once, and remember the chats."""
        record(self.folder / "long.wav", *[part for n in range(30) for part in (say([n, n + 1]), pause(1.0))])
        (self.folder / "schema.json").write_text('{"type": "integer"}')
        for name in ("old", "older"):
            self.run(name, {})
        shutil.copytree(self.folder / ".local" / "state", self.folder / "before")

    def faults(self) -> Iterator[tuple[str, dict[str, str], Limit, int]]:
        """What is wrong, how it is brought about, and how many folders are concerned."""
        places = {"state": ".local/state", "cache": ".cache"}
        for (place, folder), fault in itertools.product(places.items(), FAULTS):
            yield f"{place} {fault}", faulty(self.library, self.folder / folder, fault), None, 1
        yield "home readonly", faulty(self.library, self.folder, "readonly"), None, 2
        yield "everything full", {}, _no_file, 2


def _no_file() -> None:
    """From here on no file of this process, wherever it is, can have a byte written to it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def wrong(
    name: str, found: subprocess.CompletedProcess[str], sound: subprocess.CompletedProcess[str], more: int
) -> bool:
    """Whether a command did not do as it does elsewhere, but for so many more lines on stderr."""
    if name == "transcribe -" and "TMPDIR" in found.stderr:  # it has to be stored to be read
        return (found.returncode, found.stdout, found.stderr.count("\n")) != (1, "", 1)
    same = (found.returncode, found.stdout) == (sound.returncode, sound.stdout)
    allowed = sound.stderr.count("\n") + LINES[COMMANDS[name][0]] * more
    return not same or found.stderr.count("\n") > allowed or "internal error" in found.stderr


def trial(scale: float) -> Outcome:
    """Try every command with every fault."""
    if not CAN_PRELOAD:
        return Outcome(0, ["needs gcc and LD_PRELOAD"])
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), build(Path(folder)))
        world.begin()
        failures, tried = [], 0
        for name in list(COMMANDS)[: max(2, round(len(COMMANDS) * scale))]:
            sound = world.run(name, {})
            if sound.returncode:
                failures.append(f"{name}: {sound.returncode} {sound.stderr}")
            for fault, extra, limit, folders in world.faults():
                found = world.run(name, extra, limit)
                tried += 1
                if wrong(name, found, sound, folders):
                    failures.append(
                        f"{name}, {fault}: {found.returncode} {found.stdout[-200:]!r} {found.stderr[-600:]!r}"
                    )
        return Outcome(tried, failures, f"{tried - len(failures)} of {tried} answered as elsewhere")
