"""The question about every picture or video of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from gemma_cli.core.engine import Engine
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import Audio, Drafting, Part, Request, Sampling, ask
from gemma_cli.text.repetition import loop


@dataclass(frozen=True)
class Task:
    """A question, and how it is answered.

    engine: returns the engine; it is loaded at the first call.
    budget: most soft tokens of a picture; None: the checkpoint's default.
    schema: a JSON schema from json_schema.checked; None: free text.
    """

    engine: Callable[[], Engine]
    instruction: str
    sampling: Sampling
    drafting: Drafting
    budget: int | None = None
    schema: str | None = None

    def request(self, *parts: Part, after: Audio | None = None) -> Request:
        """Return the request: pictures and videos, the question, then sound, in the order of Gemma 4's model card."""
        messages = ask(*parts, self.instruction, *((after,) if after else ()))
        return Request(messages, self.sampling, self.drafting, image_budget=self.budget, schema=self.schema)

    def key(self, inputs: object) -> dict[str, Any]:
        """Return everything except its picture that an answer depends on, and the inputs of the command."""
        info = self.engine().info
        return {
            "inputs": inputs,
            "instruction": self.instruction,
            "sampling": asdict(self.sampling),
            "budget": self.budget,
            "schema": self.schema,
            "model": info.model,
            "device": info.device,
            "dtype": info.dtype,
            "quantize": info.quantize,
            "checkpoint": info.fingerprint,
        }


def loops(_: int, turn: Turn) -> bool:
    """Return whether a reply was truncated while it repeated itself."""
    return turn.finish_reason == "length" and loop(turn.text) is not None
