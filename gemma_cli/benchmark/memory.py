"""Round efficiency: the share of the machine's memory bandwidth that decoding uses.

    tokens/s * bytes a round / (tokens a round * measured bandwidth)

At batch 1 a round cannot be faster than what it must read, so this tells the engine's part of a speed from the
drafter's luck. The bandwidth is measured beside each run, by reading a buffer several times the last-level cache
with as many threads as decoding has.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from gemma_cli.core.engine import Engine
from gemma_cli.core.events import Turn
from gemma_cli.engines.measure import read_bandwidth, round_bytes


class Memory:
    """The bandwidth of the machine that an engine runs on; knows nothing until `sample` has been called."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._samples: list[float] = []

    def sample(self) -> None:
        """Measure the bandwidth once more, if a round's bytes are known at all."""
        if round_bytes(self._engine, 0, 1) is not None and (found := read_bandwidth(self._engine)) is not None:
            self._samples.append(found)

    @property
    def bandwidth(self) -> float | None:
        """Bytes a second, the median of the samples."""
        return median(self._samples) if self._samples else None

    def efficiency(self, turns: Sequence[Turn]) -> float | None:
        """Compute the efficiency of all rounds of some replies; None if unknown."""
        seconds = sum(turn.timings.decode_s or 0.0 for turn in turns)
        read = [self._read(turn) for turn in turns]
        if not seconds or self.bandwidth is None or any(bytes_ is None for bytes_ in read):
            return None
        return sum(bytes_ or 0 for bytes_ in read) / seconds / self.bandwidth

    def _read(self, turn: Turn) -> int | None:
        """Bytes that the rounds of a reply had to read."""
        length = turn.usage.prompt_tokens + 1
        total = 0
        for passed in turn.speculation.rounds:
            read = round_bytes(self._engine, passed.drafted, length)
            if read is None:
                return None
            total += read
            length += passed.accepted + 1
        return total
