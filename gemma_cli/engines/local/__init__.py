"""Checkpoints on this machine, and synthetic models of their sizes, run by torch and our own kernels.

This module is the backend's side of `gemma_cli.engines.Backend`; it imports torch only to load a model.
"""

from __future__ import annotations

from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.store.models.checkpoints import resolve


def model_name(spec: EngineSpec) -> str:
    """Name the checkpoint. Raises NotOnDisk where it would have to be downloaded, UsageError for an unknown name."""
    return resolve(spec.model, spec.assistant).name


def foretell(spec: EngineSpec) -> str:
    """Describe where the model would run, in which format, and how much memory it needs."""
    from gemma_cli.engines.local.loading.memory.planning import foretell as planned

    return planned(spec)


def open_engine(spec: EngineSpec) -> Engine:
    """Load the checkpoint."""
    from gemma_cli.engines.local.opening import open_local

    return open_local(spec)
