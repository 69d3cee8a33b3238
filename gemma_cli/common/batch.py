"""A batch of inputs, of which some may fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gemma_cli.core.errors import GemmaError, InputError


@dataclass
class Batch:
    """Many inputs, of which some may be bad: they do not stop the others and are told together at the end."""

    size: int
    failures: list[InputError] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around the work on one input; a single one fails as itself."""
        try:
            yield
        except InputError as error:
            if self.size == 1:
                raise
            self.failures.append(error)

    def finish(self) -> None:
        """Raises GemmaError when any failed."""
        if self.failures:
            reasons = "; ".join(map(str, self.failures))
            raise GemmaError(f"{len(self.failures)} of {self.size} files failed: {reasons}")
