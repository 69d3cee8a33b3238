"""Tables of slash commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gemma_cli.repl.chat import Chat

Action = Callable[[Chat, str], None]
"""Runs a command in a chat, with the rest of its line. Raises GemmaError."""


@dataclass(frozen=True)
class Slash:
    """A slash command.

    takes: its argument, as /help shows it. says: its description there. needs: the modality without which it is not
    offered.
    """

    action: Action
    takes: str
    says: str
    needs: str = ""


class SlashTable(dict[str, Slash]):
    """Slash commands by name, in the order of /help."""

    def add(self, name: str, takes: str, says: str, needs: str = "") -> Callable[[Action], Action]:
        """Return a decorator that adds its function to the table; see `Slash`."""

        def enter(action: Action) -> Action:
            self[name] = Slash(action, takes, says, needs)
            return action

        return enter
