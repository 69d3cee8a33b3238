"""Models behind an OpenAI-compatible server: `--engine http://HOST:PORT`, `https://…` or `unix:SOCKET`.

This module is the backend's side of `gemma_cli.engines.Backend`. It never imports torch.
"""

from __future__ import annotations

from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.engines.remote.address import parse_address


def model_name(spec: EngineSpec) -> str:
    """Name the server. Raises UsageError for an address that is not one."""
    return parse_address(spec.url or "").shown


def foretell(spec: EngineSpec) -> str:
    """Describe the server and its model. Raises GemmaError where nothing answers."""
    info = open_engine(spec).info
    return f"{info.model} on {info.device}"


def open_engine(spec: EngineSpec) -> Engine:
    """Connect to the server and choose its model."""
    from gemma_cli.engines.remote.engine import RemoteEngine

    return RemoteEngine.open(spec)
