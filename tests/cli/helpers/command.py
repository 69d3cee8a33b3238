"""What a run of the command leaves behind, and what must hold when it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "gemma_cli" / "samples"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def refuses(self, *words: str, code: int = 2) -> None:
        """Nothing on stdout, one line on stderr that holds these words, no traceback."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.startswith("gemma: "), self
        assert self.err.count("\n") == 1, self
        assert "Traceback" not in self.err, self
        for word in words:
            assert word in self.err, self


Gemma = Callable[..., Outcome]
