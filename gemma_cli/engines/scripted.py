"""An engine that replays texts: for demonstrations, and for tests that need no model.

It keeps the seam's rules (Deltas and Rounds as they happen, then one Done; closing the stream stops it) and says the
same whatever is drafted, as every engine must. A token is a word with the space before it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path

from gemma_cli.core.engine import Engine, EngineInfo, EngineSpec
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Delta, Done, Event, Round, Timings, Usage
from gemma_cli.core.messages import Request
from gemma_cli.store.bounded_read import read_text
from gemma_cli.store.models.checkpoints import named

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
    """The reply to one request; thoughts appear only if the request asks for thinking."""

    text: str
    thinking: str = ""


def model_name(spec: EngineSpec) -> str:
    """Name the file of replies as it was given, `scripted:FILE`."""
    return (named(spec.model) or "").strip()


def foretell(spec: EngineSpec) -> str:
    """Describe what would run. Raises InputError for a file that holds no replies."""
    name = model_name(spec)
    return f"{name}, {len(read_replies(_file(name)))} replies in turn"


def open_engine(spec: EngineSpec) -> Engine:
    """Read the replies of `scripted:FILE`. Raises InputError."""
    name = model_name(spec)
    return ScriptedEngine(read_replies(_file(name)), info=replace(INFO, model=name))


def read_replies(path: Path) -> tuple[Reply, ...]:
    """Read JSON lines of {"text": "...", "thinking": "..."}, thinking optional. Raises InputError."""
    form = 'each line must be {"text": "...", "thinking": "..."}'
    try:
        lines = [line for line in read_text(path).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: the file cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'}); {form}"
        ) from None
    if not lines:
        raise InputError(f"{path}: no replies; {form}")
    return tuple(_reply(line, f"{path}:{number}", form) for number, line in enumerate(lines, start=1))


def _file(name: str) -> Path:
    return Path(name.partition(":")[2])


def _reply(line: str, where: str, form: str) -> Reply:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    texts = {"thinking": "", **fields} if isinstance(fields, dict) else {}
    if set(texts) != {"text", "thinking"} or not all(isinstance(text, str) for text in texts.values()):
        raise InputError(f"{where}: not a reply; {form}")
    return Reply(**texts)


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
