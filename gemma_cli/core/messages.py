"""Requests to an engine: frozen values, decoded and within limits, with nothing left to look up.

Media are compared and hashed by `digest` (the sha-256 of what was decoded), never by their arrays, so requests
are comparable and a cache can tell whether two prompts hold the same picture.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from gemma_cli.core.records import dataclass

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16_000
"""Samples per second of every `Audio`: what Gemma 4's feature extractor takes (model card)."""

MAX_AUDIO_S = 30
"""Seconds of an `Audio` at most: 750 tokens of 40 ms. Gemma 4's feature extractors silently cut off or overrun what is
longer."""

IMAGE_BUDGETS = (70, 140, 280, 560, 1120)
"""The soft-token budgets Gemma 4's image processor accepts."""

FRAME_BUDGET = 70
"""Soft tokens of a frame at most: the default of Gemma 4's video processor."""

DETAILS = (("low", 70), ("medium", 280), ("high", 560), ("max", 1120))
"""Words for them."""

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Image:
    """pixels: uint8 [height, width, 3], RGB, upright."""

    digest: str
    name: str = field(compare=False)
    pixels: np.ndarray = field(compare=False, repr=False)


@dataclass(frozen=True)
class Frame(Image):
    """A picture of a video: scaled as Gemma 4's video processor scales frames, to FRAME_BUDGET soft tokens."""


@dataclass(frozen=True)
class Audio:
    """samples: float32 [n] in [-1, 1], mono, at SAMPLE_RATE, at most MAX_AUDIO_S."""

    digest: str
    name: str = field(compare=False)
    samples: np.ndarray = field(compare=False, repr=False)


@dataclass(frozen=True)
class Video:
    """Frames with the second each was taken at; they reach the model as images under their time stamps."""

    frames: tuple[Frame, ...]
    seconds: tuple[float, ...]
    name: str = field(compare=False)


Part = Text | Image | Audio | Video


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ToolResponse:
    """The result of a tool: a mapping is expanded by key in the prompt, anything else stands under `value`."""

    name: str
    response: Any


@dataclass(frozen=True)
class Message:
    """One turn. `thinking` is kept for display; templates drop it from history."""

    role: Role
    parts: tuple[Part, ...] = ()
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_responses: tuple[ToolResponse, ...] = ()

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True)
class Sampling:
    """Sampling settings. The defaults are Gemma 4's own; temperature 0 decodes greedily."""

    temperature: float = 1.0
    top_k: int = 64  # 0: no limit
    top_p: float = 0.95  # 1.0: no limit
    seed: int = 0
    max_tokens: int = 1024
    min_p: float = 0.0  # drop tokens less likely than this share of the likeliest token's probability; 0: none


GREEDY = Sampling(temperature=0.0)


def random_seed() -> int:
    """Draw a seed, for where none was given."""
    return int.from_bytes(os.urandom(4), "big")


@dataclass(frozen=True)
class Drafting:
    """draft_tokens per round; 0 decodes plainly. adaptive: at most that many, as many as have been paying.

    The text does not depend on either.
    """

    draft_tokens: int = 4
    adaptive: bool = False


@dataclass(frozen=True)
class Request:
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    drafting: Drafting = Drafting()
    thinking: bool = False
    tools: tuple[Mapping[str, Any], ...] = ()  # OpenAI function declarations
    image_budget: int | None = None  # one of IMAGE_BUDGETS; None: what the checkpoint was made for
    thinking_budget: int | None = None  # tokens of thought at most, as Usage counts them; None: any number
    schema: str | None = None  # a JSON schema the answer is held to, as json_schema.checked gives it
    word_times: bool = False  # an Alignment of the reply with its one recording, where the engine can give it
    schema_alone: bool = False  # with a schema: no tool is called in place of the answer
    logprobs: int | None = None  # a TokenChosen for each token of the answer, with so many alternatives; None: none
    raw: str | None = None  # in place of messages: a raw prompt, control tokens included; the reply is text


def ask(*parts: Part | str, system: str | None = None) -> tuple[Message, ...]:
    """Build the messages for one question; a str becomes Text."""
    user = Message("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))
    return (Message("system", (Text(system),)), user) if system else (user,)
