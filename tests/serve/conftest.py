"""One server for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.server import Server, served


@pytest.fixture(scope="session")
def server(forks: Path | None) -> Iterator[Server]:
    """A server as it comes, but for another name of the model and an origin of pages that may use it."""
    with served("--alias", "whisper-1", "--allowed-origin", "https://pages.example/", forks=forks) as running:
        yield running
