"""Backends meet here, at one door (`open_engine`) and behind it at one method (`stream`).

The scheme of the engine's address, else of the model's name, chooses the backend: a new one is one module and one line
of `BACKENDS`.
Closing the iterator (`contextlib.closing`) stops generation at once and leaves the engine fit for the next request.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.store.models.checkpoints import named

LOCAL = "gemma_cli.engines.local"
REMOTE = "gemma_cli.engines.remote"

BACKENDS = {
    "synthetic": LOCAL,
    "scripted": "gemma_cli.engines.scripted",
    "http": REMOTE,
    "https": REMOTE,
    "unix": REMOTE,
}
"""The module for each scheme. Model names without one of these schemes are checkpoints on this machine."""


class Backend(Protocol):
    """Interface of a backend's module."""

    def model_name(self, spec: EngineSpec) -> str:
        """Name what would run. Takes no time: it comes before libraries are imported. Raises UsageError."""
        ...

    def foretell(self, spec: EngineSpec) -> str:
        """Describe in one line what would run, and where. Raises what `open_engine` would raise early."""
        ...

    def open_engine(self, spec: EngineSpec) -> Engine:
        """Load the model, or connect to it. Raises GemmaError subclasses only."""
        ...


def backend(spec: EngineSpec) -> Backend:
    """Return the backend for the address in `spec`, else for the model that it, the environment or the configuration
    names."""
    if spec.url:
        return cast("Backend", import_module(BACKENDS.get(spec.url.strip().partition(":")[0].lower(), REMOTE)))
    scheme, colon, _ = (named(spec.model) or "").strip().partition(":")
    return cast("Backend", import_module(BACKENDS.get(scheme, LOCAL) if colon else LOCAL))


def model_name(spec: EngineSpec) -> str:
    """See Backend.model_name."""
    return backend(spec).model_name(spec)


def foretell(spec: EngineSpec) -> str:
    """See Backend.foretell."""
    return backend(spec).foretell(spec)


def open_engine(spec: EngineSpec) -> Engine:
    """Load the model that `spec` names; torch is imported here and not before, and only for a local model."""
    return backend(spec).open_engine(spec)
