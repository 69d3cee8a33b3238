"""A reply that another engine goes on with: what was given of it is not given a second time."""

from __future__ import annotations

from collections.abc import Iterator

from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import Delta, Done, Event, Round


class Given:
    """What has been given of a reply. After a failure the next one has to begin with it."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._left: dict[str, str] = {}
        self._why = ""
        self._rounds = self._again = 0  # since the last text: given, and to come a second time

    def again(self, why: str) -> None:
        """Note that the reply begins anew, and why."""
        self._left, self._why, self._again = dict(self._given), why, self._rounds

    def new(self, event: Event) -> Iterator[Event]:
        """Give what has not been given. Raises GemmaError where the reply is another one."""
        if isinstance(event, Delta):
            left = self._left.get(event.channel, "")
            common = min(len(left), len(event.text))
            if left[:common] != event.text[:common]:
                self._differs()
            self._left[event.channel] = left[common:]
            if text := event.text[common:]:
                self._rounds = self._again = 0
                self._given[event.channel] = self._given.get(event.channel, "") + text
                yield Delta(event.channel, text)
            return
        if isinstance(event, Done) and any(self._left.values()):
            self._differs()
        if isinstance(event, Round):
            if any(self._left.values()):  # its tokens were counted before
                return
            if self._again:
                self._again -= 1
                return
            self._rounds += 1
        yield event

    def _differs(self) -> None:
        raise GemmaError(f"{self._why}, and the new reply differs from the part already shown: send the request again")
