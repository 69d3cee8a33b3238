"""Fitting of a chat into the context: the oldest exchanges are left out when it is full.

Tokens are estimated while there is ample space and counted by the tokenizer near the limit, where the engine can count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace

from gemma_cli.core.conversation import BYTES_PER_TOKEN, Conversation
from gemma_cli.core.engine import Counting, Engine
from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import Drafting, Sampling
from gemma_cli.core.records import dataclass

Count = Callable[[Conversation], int]
"""Counts exactly the tokens of the prompt that a chat makes."""


@dataclass(frozen=True)
class Space:
    """The tokens available for a prompt: the context minus the reserve for the reply.

    count: None where the engine cannot count, and estimates have to do.
    """

    context: int
    reserve: int
    count: Count | None = None

    @property
    def room(self) -> int:
        return max(0, self.context - self.reserve)


def space(engine: Engine, sampling: Sampling, thinking: bool) -> Space:
    """Return the space that `engine` has for a prompt; max_tokens are reserved, at most a quarter of the context."""
    context = engine.info.context
    reserve = min(sampling.max_tokens, context // 4)
    if not isinstance(engine, Counting):
        return Space(context, reserve)
    counting = engine
    return Space(context, reserve, lambda chat: counting.prompt_tokens(chat.request(sampling, Drafting(), thinking)))


def fitted(asked: Conversation, space: Space) -> Conversation:
    """Return the chat with as many of the oldest exchanges left out as it takes to fit into `space`.

    A quarter of the room stays free when something has to be left out, so as not to do it again every turn.
    Raises InputError when the newest message does not fit on its own.
    """
    if fits(asked, space):
        return asked
    newest = asked.last_asked()
    starts = [i for i in range(asked.shown_from + 1, newest + 1) if asked.entries[i].message.role == "user"]
    at = bisect_left(starts, True, key=lambda start: _size(asked, start, space) <= space.room * 3 // 4)
    start = starts[at] if at < len(starts) else newest
    needed = _size(asked, start, space)
    if needed > space.room:
        raise InputError(_too_long(asked, needed, space))
    return replace(asked, left_out=start, used=None)


def fits(asked: Conversation, space: Space) -> bool:
    """Return whether an entire chat fits. Counted exactly where even a token for each byte might not."""
    estimate = asked.size()
    if space.count is None:
        return estimate <= space.room
    return estimate * BYTES_PER_TOKEN <= space.room or space.count(asked) <= space.room


def _size(asked: Conversation, start: int, space: Space) -> int:
    """Tokens of the prompt that begins with entry `start`."""
    return space.count(replace(asked, left_out=start, used=None)) if space.count else asked.size_from(start)


def _too_long(asked: Conversation, needed: int, space: Space) -> str:
    about = "" if space.count else "about "
    common = [name for name, there in (("the system prompt", asked.system), ("the tools", asked.tools)) if there]
    with_these = f" with {' and '.join(common)}" if common else ""
    return (
        f"the message is too long: {about}{needed:,} tokens{with_these}, but only "
        f"{space.room:,} fit (the context of {space.context:,} minus {space.reserve:,} "
        "for the reply); shorten the message, attach less, or lower max-tokens"
    )
