"""`gemma chat --receipt FILE`: the answer that a receipt is of, once more, or what differs on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast, get_args

import typer

from gemma_cli.common.notices import notice
from gemma_cli.common.options import EngineOptions, given
from gemma_cli.common.receipts import prompt_hash, receipt_of, text_hash
from gemma_cli.common.text_input import read_text
from gemma_cli.core.engine import EngineInfo, EngineSpec, Quantization
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.core.messages import Request, Sampling
from gemma_cli.media.files import display_name

ESSENTIAL = ("version", "model_sha256", "quantization", "dtype", "device", "kernels")
"""Receipts: everything that a text depends on besides the prompt and the sampling."""

DECIDED = (*(field.name for field in fields(Sampling)), "think", "thinking_budget", "quantize")
"""Parameters of the command line whose values stand in the receipt."""

_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "model": str,
    "seed": int,
    "sampling": dict,
    "think": bool,
    "prompt_sha256": str,
    "text_sha256": str,
}


@dataclass(frozen=True)
class WantedAnswer:
    """The contents of a receipt. name: of its file."""

    name: str
    fields: Mapping[str, Any]

    @property
    def sampling(self) -> Sampling:
        """Return the sampling settings. Raises InputError."""
        try:
            return Sampling(**self.fields["sampling"], seed=self.fields["seed"])
        except TypeError:
            raise _no_receipt(self.name) from None

    @property
    def thinking(self) -> bool:
        """Whether the model thought."""
        return bool(self.fields["think"])

    @property
    def thinking_budget(self) -> int | None:
        """Tokens that a thought could have."""
        found = self.fields.get("thinking_budget")
        return found if isinstance(found, int) else None

    def engine(self, options: EngineOptions) -> EngineOptions:
        """`options` with the receipt's model, where none is given, and its quantization."""
        quantize = self.fields.get("quantization")
        known = cast("Quantization | None", quantize if quantize in get_args(Quantization) else None)
        return replace(options, model=options.model or self.fields["model"], quantize=known)

    def check_prompt(self, request: Request) -> None:
        """Raise UsageError for another prompt than the receipt's."""
        if prompt_hash(request) != self.fields["prompt_sha256"]:
            raise UsageError(
                f"{self.name}: the receipt belongs to another prompt; give the same PROMPT, attachments, --system, "
                "--tool and --schema as for the earlier reply"
            )

    def differences(self, info: EngineInfo, spec: EngineSpec) -> list[str]:
        """List the differences from the machine of the receipt, one phrase each."""
        here = receipt_of(info, spec).engine
        there = {name: self.fields.get(name) for name in ESSENTIAL}
        return [
            f"{name} {_shown(there[name])} is {_shown(here[name])} here"
            for name in ESSENTIAL
            if there[name] != here[name]
        ]

    def check_text(self, text: str, differences: list[str], quiet: bool) -> None:
        """Say that the text is the receipt's. Raises GemmaError where it is not."""
        if text_hash(text) == self.fields["text_sha256"]:
            if not quiet:
                notice(f"the text is the same as in {self.name}")
            return
        why = (
            "; ".join(differences)
            or "the model, settings and machine are the same as in the receipt; this is a bug, please report it"
        )
        raise GemmaError(f"the text differs from {self.name}: {why}")


def wanted_answer(file: str, context: typer.Context) -> WantedAnswer:
    """Read a receipt: a reply of `gemma serve`, what `--json` printed, or the receipt in one. Raises UsageError."""
    if both := given(context, *DECIDED):
        raise UsageError(
            f"--receipt sets the value of --{both[0].replace('_', '-')} already: leave out one of the two options"
        )
    name = display_name(file)
    try:
        value = json.loads(read_text(file))
    except (ValueError, RecursionError):
        raise _no_receipt(name) from None
    found = value if isinstance(value, dict) else {}
    fields = found.get("receipt") or found.get("gemma") or found
    if not isinstance(fields, dict) or not all(isinstance(fields.get(key), kind) for key, kind in _KINDS.items()):
        raise _no_receipt(name)
    if fields.get("stop"):
        raise InputError(
            f"{name}: gemma chat cannot repeat this reply, because the request had stop sequences; use gemma serve"
        )
    return WantedAnswer(name, fields)


def _shown(value: Any) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) == 64 else text


def _no_receipt(name: str) -> InputError:
    return InputError(
        f"{name}: the file has no receipt; give a reply of gemma serve, or the output of gemma chat --json"
    )
