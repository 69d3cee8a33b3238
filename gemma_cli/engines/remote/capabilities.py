"""Capabilities of each kind of server, in one table. docs/remote.md has it in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import Request, Sampling

ALL_MEDIA = frozenset({"image", "audio", "video"})
_OPENAI = frozenset({"temperature", "top_p", "seed", "max_tokens"})
_COMMON = _OPENAI | {"top_k", "min_p"}


@dataclass(frozen=True)
class Server:
    """A kind of server.

    thinking: how thinking is switched: by the chat template's argument, by an effort, or not at all.
    sampling: the fields of Sampling that it takes.
    image_budget: whether a request may set the soft tokens of an image.
    budget_and_drafts: whether it may limit the tokens of a thought, and set how many tokens are drafted.
    media: kinds it may take, where it does not say which.
    metrics: prefix of its counters of drafts in /metrics; "" where it has none.
    round_timings: whether each chunk can tell how many tokens were drafted and accepted so far.
    raw: whether it can leave thoughts and calls in the text as the model wrote them, which is safer than its reading.
    extra: fields that every request gets.
    """

    name: str
    thinking: Literal["template", "effort", None] = "template"
    sampling: frozenset[str] = _COMMON
    image_budget: bool = False
    budget_and_drafts: bool = False
    media: frozenset[str] = ALL_MEDIA
    metrics: str = ""
    round_timings: bool = False
    raw: bool = False
    extra: tuple[tuple[str, object], ...] = ()


SERVERS = {
    "gemma": Server("gemma serve", image_budget=True, budget_and_drafts=True, metrics="vllm:"),
    "vllm": Server("vLLM", image_budget=True, metrics="vllm:"),
    "sglang": Server("SGLang"),
    # Its own reading of a template that it does not know gives the whole answer as a thought, and then no schema holds.
    "llamacpp": Server("llama-server", round_timings=True, raw=True, extra=(("timings_per_token", True),)),
    "library": Server("ollama", thinking="effort", sampling=_OPENAI, media=frozenset({"image", "audio"})),
}
"""Servers by `owned_by` in the list of models."""

UNKNOWN = Server("an OpenAI-compatible server", thinking="effort", sampling=_OPENAI)


def server_of(model: Mapping[str, Any]) -> Server:
    """Return the kind of server from its list of models. Only `gemma serve` says whether it is exact."""
    if isinstance(model.get("exact"), bool):
        return SERVERS["gemma"]
    owner = model.get("owned_by")
    return SERVERS.get(owner, UNKNOWN) if isinstance(owner, str) else UNKNOWN


def check_request(server: Server, name: str, media: frozenset[str], request: Request) -> None:
    """Raise InputError for what the server cannot do, before anything is sent. name: of the model."""
    for message in request.messages:
        for part in message.parts:
            kind = type(part).__name__.lower()
            if kind != "text" and kind not in media and not (kind == "video" and "image" in media):
                able = ", ".join(["text", *sorted(media)])
                raise InputError(f"{name} on {server.name} accepts no {kind}, only {able}: choose another --engine")
    if request.raw is not None:
        raise InputError(f"{server.name} accepts only messages, not raw prompts: use a model on this machine")
    if request.thinking_budget is not None and not server.budget_and_drafts:
        raise InputError(f"{server.name} supports no thinking budget: leave out --thinking-budget")
    if request.image_budget is not None and not server.image_budget:
        raise InputError(f"{server.name} sets the image budget when the server starts: leave out --detail")
    for field in fields(Sampling):
        value = getattr(request.sampling, field.name)
        if field.name not in server.sampling and value != field.default:
            option = f"--{field.name.replace('_', '-')}"
            raise InputError(f"{server.name} does not support {option}: leave out {option}")
