"""Recording of functions as CUDA graphs, and the results of a round that a device has not computed yet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor


class Recorder:
    """Runs functions on the device; on CUDA each, named by a key, is recorded once and then replayed."""

    def __init__(self, device: torch.device) -> None:
        self.records = device.type == "cuda"
        self.failure: str | None = None
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool: Any = None  # of torch's private type; made with the first graph

    def run(self, key: Hashable, function: Callable[[], None], state: Sequence[Tensor]) -> None:
        """Run `function`, recording it first if need be. state: as `record` takes it."""
        if not self.record(key, function, state):
            function()
            return
        self._graphs[key].replay()

    def record(self, key: Hashable, function: Callable[[], None], state: Sequence[Tensor]) -> bool:
        """Record `function` if there is no graph of that key; False where none can be recorded.

        state: what `function` reads and changes, so that a trial run can be undone.
        """
        if self.records and key not in self._graphs:
            try:
                self._graphs[key] = self._record(function, state)
            except RuntimeError as error:  # torch says so in many ways; the functions themselves work
                self.records, self.failure = False, str(error).splitlines()[0]
        return self.records

    def __len__(self) -> int:
        return len(self._graphs)

    def forget(self) -> None:
        """Give back the graphs, whose memory is gone, and their pool: one that no graph uses any more takes none."""
        self._graphs.clear()
        self._pool = None

    def _record(self, function: Callable[[], None], state: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        before = [tensor.clone() for tensor in state]
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            function()  # libraries prepare themselves on a first run, which a graph cannot hold
        torch.cuda.current_stream().wait_stream(aside)
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=self._pool):
            function()
        return graph


@dataclass
class RoundInFlight:
    """A round that was launched: how many tokens were proposed, by whom, and where its results will lie."""

    drafted: int
    copied: bool
    results: Tensor
    began: float | torch.cuda.Event
    ended: float | torch.cuda.Event

    def land(self) -> tuple[list[int], float]:
        """(drafts, choices and the number accepted, one after the other; seconds on the device), waited for."""
        if isinstance(self.began, torch.cuda.Event) and isinstance(self.ended, torch.cuda.Event):
            self.ended.synchronize()
            seconds = self.began.elapsed_time(self.ended) / 1000
        else:
            assert isinstance(self.began, float)
            assert isinstance(self.ended, float)
            seconds = self.ended - self.began
        return self.results.tolist(), seconds


def now(device: torch.device) -> float | torch.cuda.Event:
    """Return a time stamp: on CUDA an event of the current stream."""
    if device.type != "cuda":
        return perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
