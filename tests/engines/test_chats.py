"""Chats that share an engine: whatever came before, each reply is that of a fresh engine. The long form of this is
`python -m tests.soak chats`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gemma_cli.core.engine import EngineSpec
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.engine import LocalEngine
from tests.engines.helpers.chats import Walk


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    torch.set_num_threads(1)
    engine = open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32"))
    assert isinstance(engine, LocalEngine)
    return engine


def test_whatever_came_before_each_reply_is_that_of_a_fresh_engine(engine: LocalEngine, tmp_path: Path) -> None:
    walk = Walk(engine, tmp_path, seed=0)
    walk.run(20)
    assert not walk.failures, walk.failures[0]
    assert walk.replies > 12
