"""Backends meet here, at one method: `stream`.

Closing the iterator (`contextlib.closing`) stops generation at once and leaves the engine fit for the next request.
"""

from __future__ import annotations

from gemma_cli.core.engine import Engine, EngineSpec


def open_engine(spec: EngineSpec) -> Engine:
    """Load the model that `spec` names; torch is imported here and not before."""
    from gemma_cli.engines.local.engine import LocalEngine

    return LocalEngine.open(spec)
