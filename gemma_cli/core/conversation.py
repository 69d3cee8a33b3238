"""A chat as a value: its messages, staged attachments, and the part that the model sees.

Nothing here draws, stores or generates; every method returns a new Conversation. What the model is shown is always
the system prompt and an unbroken run of exchanges that ends with the newest: `left_out` counts the oldest entries it
is not shown any more, and only grows while the chat goes forward, so that a prompt cache stays valid. An entry with
the role "system" is a summary, and stands for all before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gemma_cli.core.errors import InputError
from gemma_cli.core.events import FinishReason, Turn
from gemma_cli.core.messages import (
    SAMPLE_RATE,
    Audio,
    Drafting,
    Image,
    Message,
    Part,
    Request,
    Sampling,
    Text,
    ToolCall,
    ToolResponse,
    Video,
)
from gemma_cli.core.records import dataclass

UNKNOWN = "unknown"
"""The name of a tool that could not be read."""

AUDIO_TOKENS_PER_SECOND = 25
"""Gemma 4's audio encoder makes one token of 40 ms."""

IMAGE_TOKENS = 280
"""The image budget Gemma 4's own processor starts from."""

FRAME_TOKENS = 70 + 8
"""Estimated tokens of a video frame: the smallest image budget and its time stamp."""

BYTES_PER_TOKEN = 3
"""Estimated bytes per token, a cautious guess until the model has counted: English takes about four bytes a token,
Chinese about three."""

SUMMARY_HEADING = "What was said before, in short:"
"""Heading of a summary in the prompt, after the system prompt."""

MESSAGE_TOKENS = 8
"""The turn markers around a message and its role."""


def well_formed(text: str) -> str:
    """`text` with lone surrogates, which neither a tokenizer nor SQLite takes, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass(frozen=True)
class Entry:
    """One message of the history. finish_reason and model are a reply's; tokens is what the model counted it as."""

    message: Message
    finish_reason: FinishReason | None = None
    model: str = ""
    tokens: int | None = None

    @property
    def cut_off(self) -> bool:
        return self.finish_reason in ("interrupted", "length")


def arranged(text: str, attachments: Sequence[Part]) -> tuple[Part, ...]:
    """The order Gemma 4's model card asks for: pictures and video before the text, audio after it."""
    heard = tuple(part for part in attachments if isinstance(part, Audio))
    seen = tuple(part for part in attachments if not isinstance(part, Audio))
    return (*seen, *((Text(text),) if text else ()), *heard)


def estimated_tokens(message: Message) -> int:
    """About how many tokens a message takes; rather too many than too few."""
    total = MESSAGE_TOKENS
    for part in message.parts:
        match part:
            case Text(text):
                total += text_tokens(text)
            case Image():
                total += IMAGE_TOKENS
            case Audio():
                total += -(-len(part.samples) * AUDIO_TOKENS_PER_SECOND // SAMPLE_RATE)
            case Video():
                total += len(part.frames) * FRAME_TOKENS
    spoken = [call.arguments for call in message.tool_calls] + [answer.response for answer in message.tool_responses]
    return total + sum(MESSAGE_TOKENS + text_tokens(json.dumps(value, ensure_ascii=False)) for value in spoken)


def text_tokens(text: str) -> int:
    """About how many tokens a text takes."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


@dataclass(frozen=True)
class Conversation:
    """entries in the order they were said; used: tokens of the context after the last reply, as the model counted.

    tools: the declarations of what the model may call, which are said with the system prompt.
    """

    system: str = ""
    entries: tuple[Entry, ...] = ()
    staged: tuple[Part, ...] = ()
    left_out: int = 0
    used: int | None = None
    tools: tuple[Mapping[str, Any], ...] = ()

    # What changes it ------------------------------------------------------------------------------------------------

    def staging(self, part: Part) -> Conversation:
        """Return the chat with one more attachment for the next message."""
        return replace(self, staged=(*self.staged, part))

    def dropping(self, index: int | None = None) -> Conversation:
        """Return the chat without staged attachment `index` (from 0), or without any. Raises IndexError for an unknown
        one."""
        if index is None:
            return replace(self, staged=())
        if not 0 <= index < len(self.staged):
            raise IndexError(index)
        return replace(self, staged=self.staged[:index] + self.staged[index + 1 :])

    def instructed(self, system: str) -> Conversation:
        """Return the chat with another system prompt ('' for none); the token count is unknown until the next reply."""
        return replace(self, system=well_formed(system), used=None)

    def saying(self, text: str) -> Conversation:
        """Return the chat with the user's next message: `text` and all staged attachments."""
        message = Message("user", arranged(well_formed(text), self.staged))
        return replace(self, entries=(*self.entries, Entry(message)), staged=())

    def hearing(self, turn: Turn, model: str) -> Conversation:
        """Return the chat with the model's reply. One that was cut off before its first word leaves no entry.

        A call that could not be read stands last, without arguments: what answers it tells the model why.
        """
        calls = (*turn.tool_calls, *(ToolCall(call.name or UNKNOWN, {}) for call in turn.unreadable_calls))
        if not (turn.text or turn.thinking or calls):
            return self
        usage, entries = turn.usage, self.entries
        used = usage.prompt_tokens + usage.completion_tokens - usage.thinking_tokens if usage.prompt_tokens else None
        if usage.prompt_tokens and (self.used is not None or len(entries) == self.left_out + 1):
            before = self._system_tokens() if self.used is None else self.used
            asked = max(1, usage.prompt_tokens - before)
            entries = (*entries[:-1], replace(entries[-1], tokens=asked))
        said = max(0, usage.completion_tokens - usage.thinking_tokens) if used is not None else None
        parts = (Text(well_formed(turn.text)),) if turn.text else ()
        message = Message("assistant", parts, thinking=well_formed(turn.thinking), tool_calls=calls)
        reply = Entry(message, turn.finish_reason, model, said)
        return replace(self, entries=(*entries, reply), used=used)

    def answering(self, responses: tuple[ToolResponse, ...]) -> Conversation:
        """Return the chat with the results of the tools that the last reply called."""
        return replace(self, entries=(*self.entries, Entry(Message("tool", tool_responses=responses))))

    def without_reply(self) -> Conversation:
        """Return the chat ready for another reply to the last message. Raises InputError if it is empty."""
        return self._cut(self.last_asked() + 1)

    def without_exchange(self) -> tuple[Conversation, Message]:
        """Return the chat without the user's last message and everything after it, and that message. Raises InputError
        without one."""
        index = self.last_asked()
        return self._cut(index), self.entries[index].message

    def rewriting(self) -> tuple[Conversation, str]:
        """Return the chat without the last message, and its text; its attachments are staged again."""
        conversation, message = self.without_exchange()
        text = typed(message)
        attached = tuple(part for part in message.parts if part != Text(text))
        return replace(conversation, staged=attached + self.staged), text

    def counted_by(self, model: str) -> Conversation:
        """As `model` counts it: counts of another model's replies do not hold."""
        foreign = any(entry.model not in ("", model) for entry in self.entries)
        return self.recounted() if foreign else self

    def recounted(self) -> Conversation:
        """Return the chat for another model with other tokens: every count is an estimate again."""
        return replace(self, entries=tuple(replace(entry, tokens=None) for entry in self.entries), used=None)

    def before(self, index: int) -> Conversation:
        """Return the chat before entry `index`."""
        return replace(self, entries=self.entries[:index], used=None)

    def summarized(self, index: int, summary: str, model: str) -> Conversation:
        """Return the chat with a summary by `model` of everything before entry `index`."""
        entry = Entry(Message("system", (Text(well_formed(summary)),)), model=model)
        return replace(self, entries=(*self.entries[:index], entry, *self.entries[index:]), used=None)

    def cleared(self) -> Conversation:
        """Return a new chat with the same system prompt and tools."""
        return Conversation(system=self.system, tools=self.tools)

    # What the model sees ---------------------------------------------------------------------------------------------

    @property
    def shown_from(self) -> int:
        """The first entry the model is shown."""
        summaries = (i for i in reversed(range(len(self.entries))) if self.entries[i].message.role == "system")
        return max(self.left_out, next(summaries, 0))

    @property
    def summary(self) -> str:
        """The summary that the model is shown in place of what was said before it; "" if none."""
        first = self.entries[self.shown_from :][:1]
        return first[0].message.text if first and first[0].message.role == "system" else ""

    def size(self) -> int:
        """Tokens of the prompt that `request` would make: counted where the model has counted, estimated elsewhere."""
        if self.used is not None:
            fresh = self.entries[self._last_reply() + 1 :]
            return self.used + sum(estimated_tokens(entry.message) for entry in fresh)
        return self.size_from(self.shown_from)

    def request(self, sampling: Sampling, drafting: Drafting, thinking: bool) -> Request:
        """Return the request's messages: the system prompt and the entries not left out, without earlier thoughts."""
        messages = list(self._shown())
        summary = self.summary and f"{SUMMARY_HEADING}\n{self.summary}"
        if told := "\n\n".join(text for text in (self.system, summary) if text):
            messages.insert(0, Message("system", (Text(told),)))
        return Request(tuple(messages), sampling, drafting, thinking, tools=self.tools)

    def _shown(self) -> Iterator[Message]:
        """Thoughts since the last message asked stay, as they belong to a turn that goes on between tool calls; calls
        that were never answered (the program ended there) go, as no template has a place for them."""
        asked = max((i for i, entry in enumerate(self.entries) if entry.message.role == "user"), default=0)
        for index in range(self.shown_from, len(self.entries)):
            message = self.entries[index].message
            if message.role == "system":
                continue
            if index < asked:
                message = replace(message, thinking="")
            if message.tool_calls and [e.message.role for e in self.entries[index + 1 : index + 2]] != ["tool"]:
                message = replace(message, tool_calls=())
            if message.parts or message.tool_calls or message.tool_responses:
                yield message

    # ----------------------------------------------------------------------------------------------------------------

    def size_from(self, start: int) -> int:
        """About how many tokens the prompt takes that begins with entry `start`."""
        entries = self.entries[start:]
        return self._system_tokens() + sum(entry.tokens or estimated_tokens(entry.message) for entry in entries)

    def _system_tokens(self) -> int:
        said = estimated_tokens(Message("system", (Text(self.system),))) if self.system else 0
        return said + sum(text_tokens(json.dumps(tool, ensure_ascii=False)) for tool in self.tools)

    def last_asked(self) -> int:
        """Return the index of the user's last message. Raises InputError where there is none."""
        asked = (i for i in reversed(range(len(self.entries))) if self.entries[i].message.role == "user")
        index = next(asked, None)
        if index is None:
            raise InputError("the chat has no messages yet")
        return index

    def _last_reply(self) -> int:
        return max((i for i, entry in enumerate(self.entries) if entry.message.role == "assistant"), default=-1)

    def _cut(self, end: int) -> Conversation:
        return replace(
            self, entries=self.entries[:end], left_out=self.left_out if end > self.left_out else 0, used=None
        )


def opening_words(message: Message, limit: int = 40) -> str:
    """Name a message in a notice: by its first words, or by its attachments if it has no text."""
    words = " ".join(typed(message).split())
    if not words:
        words = ", ".join(part.name for part in message.parts if not isinstance(part, Text))
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def typed(message: Message) -> str:
    """The text of a message without the documents that went with it: the last of its texts."""
    return next((part.text for part in reversed(message.parts) if isinstance(part, Text)), "")


def part_name(part: Part) -> str:
    """Name an attachment; the name of a document is in its first line."""
    return part.text.partition("\n")[0].rstrip(":") if isinstance(part, Text) else part.name
