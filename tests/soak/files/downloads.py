"""A download that is interrupted again and again: by SIGKILL, by Ctrl-C and by connections that break."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

from tests.soak.outcome import Outcome
from tests.store.models.fake_hub import Hub, serving

PROMISE = (
    "A pull of 100 MB that is interrupted at 30 random moments fetches at most 1.05 times the bytes and gets the right "
    "digest; Ctrl-C is answered within a second."
)
SIZE = 100_000_000
MOMENTS = 30
RATE = (
    8e6  # bytes a second: at higher ones a busy machine reads late, and what it has not read is lost with the process
)
LIMIT_S = 120.0


def trial(scale: float) -> Outcome:
    """Interrupt a pull of SIZE * scale bytes at MOMENTS * scale moments, at least one of each kind."""
    size, moments = int(SIZE * scale), max(3, round(MOMENTS * scale))
    random_ = random.Random(11)
    kinds = [("kill", "Ctrl-C", "drop")[i % 3] for i in range(moments)]
    random_.shuffle(kinds)
    plan = list(zip(sorted(random_.randrange(size) for _ in kinds), kinds, strict=True))
    weights = b"".join(hashlib.sha256(b"%d" % block).digest() for block in range(size // 32 + 1))[:size]
    with serving() as hub, tempfile.TemporaryDirectory() as home:
        hub.rate = RATE
        hub.repositories["me/big"] = {"config.json": b'{"model_type": "gemma4"}', "model.safetensors": weights}
        failures, answers = _interrupted(hub, Path(home), plan)
        blob = Path(home) / "hub/models--me--big/blobs" / hashlib.sha256(weights).hexdigest()
        if not blob.is_file() or hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name:
            failures.append("the file is not there, or has another digest")
        times = hub.sent / size
    if times > 1.05:
        failures.append(f"{times:.3f} times the bytes were fetched")
    slowest = max(answers)
    if slowest > 1.0:
        failures.append(f"Ctrl-C was answered after {slowest:.2f} s")
    return Outcome(moments, failures, f"{times:.4f} times the bytes, Ctrl-C answered in at most {slowest:.2f} s.")


def _interrupted(hub: Hub, home: Path, plan: list[tuple[int, str]]) -> tuple[list[str], list[float]]:
    """Pull to the end through every interruption (byte position, kind); failures, and seconds of each Ctrl-C."""
    failures, answers = [], []
    process = pull(hub, home)
    for position, kind in plan:
        if not _reached(position, home, process):
            process.kill()
            return [*failures, f"{position:,} bytes were not reached: {_error(process)}"], [0.0]
        if kind == "drop":
            hub.dropped.set()
            continue
        began = time.monotonic()
        process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGINT)
        process.wait()
        if kind == "Ctrl-C":
            answers.append(time.monotonic() - began)
            error = _error(process)
            if process.returncode != 130 or "gemma models pull me/big continues" not in error or error.count("\n") != 1:
                failures.append(f"Ctrl-C: exit code {process.returncode}, {error!r}")
        process = pull(hub, home)
    if process.wait(LIMIT_S):
        failures.append(f"exit code {process.returncode}: {_error(process)}")
    return failures, answers or [0.0]


def pull(hub: Hub, home: Path) -> subprocess.Popen[bytes]:
    """Start `gemma models pull me/big` with a cache of its own."""
    program = shutil.which("gemma", path=sysconfig.get_path("scripts"))
    assert program, "gemma is not installed: pip install -e '.[dev]'"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "GEMMA_"))}
    return subprocess.Popen(
        [program, "models", "pull", "me/big"],
        env=environment | {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "no_proxy": "*"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def _reached(position: int, home: Path, process: subprocess.Popen[bytes]) -> bool:
    """Wait until so many bytes are on disk."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if any(path.stat().st_size > position for path in home.glob("hub/models--me--big/blobs/*.incomplete")):
                return True
        time.sleep(0.002)
    return False


def _error(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr
    return process.stderr.read().decode()
