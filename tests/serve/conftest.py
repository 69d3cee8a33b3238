"""One server for the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.server import Server, served


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server as it comes, but for `--alias whisper-1`."""
    with served("--alias", "whisper-1") as running:
        yield running
