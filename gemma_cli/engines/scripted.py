"""An engine that replays texts: for demonstrations, and for tests that need no model.

It keeps the seam's rules (Deltas and Rounds as they happen, then one Done; closing the stream stops it) and says the
same whatever is drafted, as every engine must. A token is a word with the space before it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.events import Delta, Done, Event, Round, Timings, Usage
from gemma_cli.core.messages import Request

INFO = EngineInfo(
    model="scripted",
    assistant=None,
    device="cpu",
    dtype="float32",
    context=8192,
    modalities=frozenset({"image", "audio", "video"}),
)


@dataclass(frozen=True)
class Reply:
    """What is said to one request; the thoughts only when the request asks for thinking."""

    text: str
    thinking: str = ""


@dataclass
class ScriptedEngine:
    """Says `replies` in turn, and again from the first.

    accepted: how many drafts each round keeps, from the first again after the last. pause: seconds a target pass takes.
    """

    replies: Sequence[Reply]
    accepted: Sequence[int] = (0,)
    pause: float = 0.0
    info: EngineInfo = INFO
    requests: list[Request] = field(default_factory=list)

    def stream(self, request: Request) -> Generator[Event, None, None]:
        reply = self.replies[len(self.requests) % len(self.replies)]
        self.requests.append(request)
        spoken = _tokens(reply, request.thinking)
        kept = spoken[: request.sampling.max_tokens]
        asked = time.perf_counter()
        time.sleep(self.pause)
        yield from kept[:1]  # the first token is the prefill's
        first = time.perf_counter()
        for drafted, tokens in self._rounds(kept[1:], request.drafting.draft_tokens):
            time.sleep(self.pause)
            yield Round(drafted, accepted=len(tokens) - 1)
            yield from tokens
        yield Done(
            finish_reason="stop" if len(kept) == len(spoken) else "length",
            usage=Usage(
                prompt_tokens=sum(len(_words(message.text)) for message in request.messages),
                completion_tokens=len(kept),
                thinking_tokens=sum(token.channel == "thinking" for token in kept),
            ),
            timings=Timings(ttft_s=first - asked, decode_s=time.perf_counter() - first),
        )

    def _rounds(self, tokens: Sequence[Delta], draft_tokens: int) -> Iterator[tuple[int, Sequence[Delta]]]:
        """(drafted, the tokens of the round) until they are used up; the last draft is no longer than what is left."""
        for wanted in cycle(self.accepted):
            if not tokens:
                return
            drafted = min(draft_tokens, len(tokens) - 1)
            took = min(wanted, drafted) + 1
            yield drafted, tokens[:took]
            tokens = tokens[took:]


def _tokens(reply: Reply, thinking: bool) -> list[Delta]:
    thoughts = [Delta("thinking", word) for word in _words(reply.thinking)] if thinking else []
    return thoughts + [Delta("answer", word) for word in _words(reply.text)]


def _words(text: str) -> list[str]:
    """Words with the space before them; joined they are the text again."""
    return re.findall(r"\s*\S+|\s+\Z", text)
