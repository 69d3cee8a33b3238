"""A batch of inputs, of which some may fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gemma_cli.core.errors import GemmaError, InputError, Interrupted, ModelError, UsageError


@dataclass
class Batch:
    """Many inputs, of which some may fail: they do not stop the others and are reported together at the end."""

    size: int
    failures: list[GemmaError] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Catch the failure of one input. The only input of a batch fails as itself, as does the model for all."""
        try:
            yield
        except GemmaError as error:
            if self.size == 1 or _concerns_all(error):
                raise
            self.failures.append(error)

    def finish(self) -> None:
        """Raises GemmaError when any failed."""
        if self.failures:
            reasons = "; ".join(map(str, self.failures))
            raise GemmaError(f"{len(self.failures)} of {self.size} files failed: {reasons}")


def _concerns_all(error: GemmaError) -> bool:
    """Return whether the next input would fail in the same way: the model, the command line, or Ctrl-C."""
    usage = isinstance(error, UsageError) and not isinstance(error, InputError)
    return usage or isinstance(error, ModelError | Interrupted)
