"""Discovery of a server's models and properties: /v1/models, /version, and llama-server's /props."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.engines.remote.capabilities import Server, server_of
from gemma_cli.engines.remote.client import Client, Lost, read_object

ASSUMED_CONTEXT = 1 << 17
"""Tokens; the least that a Gemma 4 release reads. A longer prompt than a server takes is for it to refuse."""

_MOST_NAMED = 8


@dataclass(frozen=True)
class ServedModel:
    """A model of a server. version: of the server, "" where it does not say. media: the kinds that it takes.

    exact: whether the server promises the same text for the same seed; None: it says nothing of it.
    """

    name: str
    server: Server
    version: str
    context: int
    media: frozenset[str]
    exact: bool | None = None


def discover(client: Client, wanted: str | None) -> ServedModel:
    """Choose `wanted`, or the only model there is. Raises Lost, UsageError, GemmaError."""
    shown = client.address.shown
    response = client.get("/models")
    listed = read_object(response).get("data")
    models = [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
    models = [model for model in models if isinstance(model.get("id"), str) and model["id"]]
    if not models:
        raise UsageError(
            f"{shown} lists no models at {client.address.api}/models: give the address of an OpenAI-compatible server"
        )
    model = _chosen(shown, models, wanted)
    server = server_of(model)
    facts = _facts(client, server)
    return ServedModel(
        name=model["id"],
        server=server,
        version=_version(facts),
        context=_context(model, facts),
        media=_media(model, facts, server),
        exact=model["exact"] if isinstance(model.get("exact"), bool) else None,
    )


def _chosen(shown: str, models: list[dict[str, Any]], wanted: str | None) -> dict[str, Any]:
    names = [model["id"] for model in models]
    listed = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    if wanted is None:
        if len(models) > 1:
            raise UsageError(f"{shown} has several models: choose a model with --model ({listed})")
        return models[0]
    for model in models:
        if model["id"] == wanted:
            return model
    raise UsageError(f"{shown} has no model {wanted!r}: choose another --model ({listed})")


def _facts(client: Client, server: Server) -> Mapping[str, Any]:
    """Return a server's own description outside the API, or nothing."""
    path = "/props" if server.round_timings else "/version"
    try:
        return read_object(client.get(path, root=True))
    except (Lost, GemmaError):
        return {}


def _version(facts: Mapping[str, Any]) -> str:
    found = facts.get("version") or facts.get("build_info") or ""
    return found[:40] if isinstance(found, str) else ""


def _context(model: Mapping[str, Any], facts: Mapping[str, Any]) -> int:
    settings = facts.get("default_generation_settings")
    told = (
        *(model.get(key) for key in ("max_model_len", "context_length", "context", "context_window")),
        settings.get("n_ctx") if isinstance(settings, dict) else None,
    )
    return next((n for n in told if isinstance(n, int) and not isinstance(n, bool) and n > 0), ASSUMED_CONTEXT)


def _media(model: Mapping[str, Any], facts: Mapping[str, Any], server: Server) -> frozenset[str]:
    """Return the kinds of media that the server lists, else those of its kind of server. Frames of a video go as
    images."""
    architecture = model.get("architecture")
    named = model.get("modalities") or (
        architecture.get("input_modalities") if isinstance(architecture, dict) else None
    )
    props = facts.get("modalities")
    if isinstance(props, dict):
        named = [kind for kind, key in (("image", "vision"), ("audio", "audio")) if props.get(key)]
    if isinstance(named, dict):
        named = [kind for kind, able in named.items() if able]
    if not isinstance(named, list):
        return server.media
    found = {kind for kind in ("image", "audio", "video") if kind in named}
    return frozenset(found | ({"video"} if "image" in found else set()))
