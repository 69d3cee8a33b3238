"""The seam between a server and an engine that answers several requests at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import Event
from gemma_cli.core.messages import Request

Answered = tuple[int, Event | GemmaError]
"""The key of a request, and an event of the reply to it, or the error that ends it."""


class Scheduler(Protocol):
    """Answers requests, several at once or one by one. Called from one thread."""

    @property
    def busy(self) -> bool:
        """Whether any request is waiting or running."""
        ...

    def add(self, key: int, request: Request) -> None:
        """Take in a request, which is answered under `key`."""
        ...

    def remove(self, key: int) -> None:
        """Forget a request, whatever has become of it."""
        ...

    def step(self) -> Sequence[Answered]:
        """Do one round: what came of it. A request ends with Done or an error. Raises nothing that ends only one."""
        ...

    @property
    def waiting(self) -> Collection[int]:
        """Keys of the requests that have not begun."""
        ...


@runtime_checkable
class Scheduling(Protocol):
    """An engine that can answer several requests at once, in any order, each as `stream` answers it."""

    def scheduler(self, most: int, prefix_bytes: int) -> Scheduler | None:
        """A scheduler of up to `most` requests at once; None where that is not possible on this device.

        prefix_bytes: what may be kept of prompts, for later ones that begin alike.
        """
        ...
