"""Tools that the model may call, by name, and permission for their calls.

A tool never raises what it has not caught: whatever goes wrong in one is an answer the model reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from gemma_cli.core.errors import UsageError
from gemma_cli.core.records import dataclass

ALL = "all"
"""The name that allows every tool."""

TIME_LIMIT_S = 60.0
"""Seconds a call may take."""


@dataclass(frozen=True)
class Tool:
    """name: what the model calls it by; declaration: an OpenAI function declaration of that name.

    run: takes the arguments by name and gives what a JSON document can hold, within the time limit of a call. Raises
    ToolFailed, or KeyboardInterrupt when it was cancelled. source: where it comes from, which tells two tools of one
    name apart.
    """

    name: str
    declaration: Mapping[str, Any]
    run: Callable[[Mapping[str, Any]], Any]
    source: str = ""

    def named(self, name: str) -> Tool:
        """Return the same tool under another name."""
        function = {**self.declaration["function"], "name": name}
        return replace(self, name=name, declaration={**self.declaration, "function": function})


class ToolFailed(Exception):
    """A call failed; the message is for the model and the user."""


def too_late(limit_s: float) -> str:
    """Say that a call took too long."""
    return f"the call was stopped after {limit_s:g} s without an answer (to allow more time, give --tool-timeout)"


@dataclass
class Toolbox:
    """The tools of one chat.

    allowed: the names that are not asked about, to which "always" adds. everything: none is asked about. It is no name
    among the others, because a server may call a tool what it likes.
    """

    tools: Mapping[str, Tool] = field(default_factory=dict)
    allowed: set[str] = field(default_factory=set)
    everything: bool = False

    @property
    def declarations(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(tool.declaration for tool in self.tools.values())

    def allows(self, name: str) -> bool:
        """Return whether a call may run without asking. An unknown name needs no permission: nothing can run."""
        return name not in self.tools or name in self.allowed or self.everything


def toolbox(tools: Iterable[Tool], allowed: Iterable[str]) -> Toolbox:
    """Collect tools with distinct names. Raises UsageError for an allowed name that is unknown."""
    asked_for = set(allowed)
    everything = ALL in asked_for
    box = Toolbox({tool.name: tool for tool in distinct(list(tools))}, asked_for - {ALL}, everything)
    for name in sorted(box.allowed - set(box.tools)):
        names = ", ".join(box.tools) or "none"
        raise UsageError(f"--allow-tool {name}: unknown tool; the tools are {names}")
    return box


def distinct(tools: list[Tool]) -> Iterator[Tool]:
    """Two of one name become SOURCE_NAME each. Raises UsageError where that does not tell them apart."""
    names = [tool.name for tool in tools]
    taken: set[str] = set()
    for tool in tools:
        chosen = tool.named(f"{tool.source}_{tool.name}") if names.count(tool.name) > 1 else tool
        if chosen.name in taken:
            raise UsageError(f"two tools have the name {chosen.name} ({tool.source}): rename one of the tools")
        taken.add(chosen.name)
        yield chosen
