"""A reply that has to be a call: it is held to a schema of the call, and read as one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from gemma_cli.core.json_schema import checked
from gemma_cli.serve.api.fields import DeclaredFunction

ANY = {"type": "object"}


class ForcedCall:
    """Which functions a reply may call. It calls one of them.

    Of one function the reply is the arguments, and they are passed on as they come. Of several it is an object
    {"name", "arguments"}, which is read when it is complete.
    """

    def __init__(self, functions: Sequence[DeclaredFunction]) -> None:
        self._names = [function.name for function in functions]
        self._schema = _schema(functions)
        self._text = ""
        self._begun = False

    @property
    def schema(self) -> str:
        """What the reply is held to. Raises InputError."""
        return checked(json.dumps(self._schema), "tools")

    def feed(self, text: str) -> Iterator[tuple[str, str]]:
        """Give (name, arguments) of the call after one more piece of the reply; no name where it had begun."""
        if len(self._names) == 1:
            if text or not self._begun:
                yield ("" if self._begun else self._names[0]), text
                self._begun = True
            return
        self._text += text
        try:
            call = json.loads(self._text)
        except ValueError:
            return
        if not self._begun:
            self._begun = True
            yield call["name"], json.dumps(call["arguments"], ensure_ascii=False)


def _schema(functions: Sequence[DeclaredFunction]) -> dict[str, Any]:
    if len(functions) == 1:
        return _parameters(functions[0])
    return {"anyOf": [_named(function) for function in functions]}


def _parameters(function: DeclaredFunction) -> dict[str, Any]:
    """The schema of the arguments, with no others than it names."""
    declared = function.parameters or ANY
    return {"additionalProperties": False, **declared} if "properties" in declared else declared


def _named(function: DeclaredFunction) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": function.name}, "arguments": _parameters(function)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
