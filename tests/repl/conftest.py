from __future__ import annotations

from pathlib import Path

import pytest

from tests.repl.driven_terminal import Driven


@pytest.fixture(scope="session")
def scripts_are_forks(forks: Path | None) -> None:
    """A chat on a terminal starts at once."""
    Driven.forks = forks
