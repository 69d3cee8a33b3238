"""What is asked about every picture of a command."""

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
    """The question and how it is answered. engine: loaded when there is something to see.

    budget: soft tokens of a picture at most; None: what the checkpoint was made for. schema: as json_schema.checked
    gives it.
    """

    engine: Callable[[], Engine]
    instruction: str
    sampling: Sampling
    drafting: Drafting
    budget: int | None = None
    schema: str | None = None

    def request(self, *parts: Part, after: Audio | None = None) -> Request:
        """Return the question about these parts: pictures and videos stand before the text and sound after it, as Gemma
        4's card says."""
        messages = ask(*parts, self.instruction, *((after,) if after else ()))
        return Request(messages, self.sampling, self.drafting, image_budget=self.budget, schema=self.schema)

    def key(self, inputs: object) -> dict[str, Any]:
        """Return all that an answer depends on beside its picture, and the inputs of the command."""
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
    """Whether a reply was cut off while it repeated itself."""
    return turn.finish_reason == "length" and loop(turn.text) is not None
