"""Random walks over two chats in one engine of pocket, each reply compared with that of an engine that read nothing."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from gemma_cli.core.engine import EngineSpec
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.engine import LocalEngine
from tests.engines.helpers.chats import Walk
from tests.soak.outcome import Outcome

PROMISE = (
    "Over turns, edits, retries, pictures, recordings, interruptions and restarts of two chats, "
    "each reply is that of a fresh engine."
)

WALKS, STEPS = 100, 60
"""At scale 1."""


def trial(scale: float) -> Outcome:
    """Take walks; a failure is one with a wrong reply, a chat that is not stored as it was, or an exception."""
    torch.set_num_threads(1)
    engine = open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32"))
    assert isinstance(engine, LocalEngine)
    failures: list[str] = []
    replies = 0
    walks = max(1, round(WALKS * scale))
    for seed in range(walks):
        with TemporaryDirectory() as folder:
            walk = Walk(engine, Path(folder), seed)
            try:
                walk.run(STEPS)
            except Exception as error:
                walk.failures.append("\n".join([*walk.log[-12:], f"raised {error!r}"]))
        replies += walk.replies
        failures += [f"seed {seed}: {walk.failures[0]}"] if walk.failures else []
    return Outcome(walks, failures, f"{replies} replies compared.")
