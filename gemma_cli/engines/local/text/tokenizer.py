"""tokenizer.json and the chat template: text <-> token ids, conversations -> token ids.

    load_tokenizer(folder, vocab_size) -> Tokenizer

The `tokenizers` library and jinja2 do the work, as they do in transformers, whose own classes around them take longer
to import than a small model to load. The tests hold prompts to transformers', id by id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from gemma_cli.core.errors import GemmaError, ModelError
from gemma_cli.engines.local.allocator import freed_at_once
from gemma_cli.engines.local.text.bounded_template import open_template
from gemma_cli.engines.local.text.chat_template import Template
from gemma_cli.engines.local.text.tokenizer_files import read_backend, read_settings

VIDEO = "<|video|>"
"""Gemma 4's processor adds it; copies of the tokenizer may lack it."""

TURN = "<|turn>"
TURNS_KEPT = 256
"""Number of turns with cached ids: encoding a long history again takes longer than reading its end."""

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Stand around a control token that somebody spelled. Noncharacters: Unicode keeps them for inside a program, and in
text that comes from outside they are replaced."""


class Tokenizer:
    """control: the tokens that only the template may write. Ids are those of the checkpoint's embedding rows."""

    def __init__(self, backend: Backend, template: Template) -> None:
        self._backend = backend
        self._spelled: dict[str, list[int]] = {}
        self._turn = lru_cache(TURNS_KEPT)(lambda text: tuple(self.encode(text)))
        self.template = template

    @property
    def template(self) -> Template:
        return self._template

    @template.setter
    def template(self, template: Template) -> None:
        self._template = template
        added = self._backend.get_added_tokens_decoder().values()
        self.special = tuple(token.content for token in added if token.special)
        written = "\0".join(template.literals)
        own = (token.content for token in added if not token.special)
        # Templates write line breaks as text, and Gemma 4 has tokens for those.
        self.control = self.special + tuple(token for token in own if not token.isspace() and token in written)
        longest = sorted(self.control, key=len, reverse=True)
        alternatives = "|".join(map(re.escape, longest)) or "(?!)"
        self._control = re.compile(alternatives)
        self._marked = re.compile(f"{_OPEN}({alternatives}){_CLOSE}|[{_OPEN}{_CLOSE}]")

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; control tokens in it become theirs."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_text(self, text: str) -> list[int]:
        """Ids of `text` as the text it is, even where it spells a control token."""
        self._backend.encode_special_tokens = True
        try:
            return self.encode(text)
        finally:
            self._backend.encode_special_tokens = False

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens included."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=False)
        return text

    def id_of(self, token: str) -> int | None:
        """Return the id of a token, or None."""
        found: int | None = self._backend.token_to_id(token)
        return found

    def token_of(self, token_id: int) -> str | None:
        """Return the vocabulary's text of an id, or None."""
        found: str | None = self._backend.id_to_token(token_id)
        return found

    def chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], thinking: bool) -> list[int]:
        """The prompt of a conversation under the chat template.

        Control tokens that stand in messages and tools are encoded as the text they are, but for keys of mappings and
        for pieces that the template itself joins into one. Raises whatever the template raises, and ValueError for a
        control token that plain text cannot spell.
        """
        text = self.template.render(self._mark(messages), self._mark(tools), thinking)
        # Text and spelled tokens take turns; a token is None where a template split a pair of marks.
        pieces = self._marked.split(text)
        ids: list[int] = []
        for plain, token in zip(pieces[::2], [*pieces[1::2], None], strict=True):
            ids += self._encode_turns(plain)
            ids += self._spell(token) if token else []
        return ids

    def _encode_turns(self, text: str) -> list[int]:
        """Encode turn by turn: tokenizers split text at control tokens before anything else."""
        first, *turns = text.split(TURN)
        ids: list[int] = []
        for turn in [first, *(TURN + turn for turn in turns)] if TURN in self.special else [text]:
            ids += self._turn(turn)
        return ids

    def _mark(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value.replace(_OPEN, "\ufffd").replace(_CLOSE, "\ufffd")
            return self._control.sub(f"{_OPEN}\\g<0>{_CLOSE}", value)
        if isinstance(value, Mapping):
            return {key: self._mark(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._mark(item) for item in value]
        return value

    def _spell(self, token: str) -> list[int]:
        """The ids of a control token as text."""
        if token not in self._spelled:
            self._spelled[token] = self.encode_text(token)
            if self.id_of(token) in self._spelled[token]:
                raise ValueError(f"{token!r} cannot be written as text")
        return self._spelled[token]


@freed_at_once()
def load_tokenizer(folder: Path, vocab_size: int | None = None) -> Tokenizer:
    """The tokenizer of a checkpoint folder, with <|video|> known.

    vocab_size: ids the weights know. Raises ModelError where the tokenizer is missing, broken, or gives others.
    """
    backend, settings = read_backend(folder), read_settings(folder)
    if not settings.template:
        raise ModelError(f"{folder}: the checkpoint has no chat template; choose an instruction-tuned checkpoint (-it)")
    backend.add_special_tokens([_special(token) for token in (*settings.named.values(), *settings.extra)])
    try:
        template = open_template(settings.template, settings.named, settings.template_file)
    except GemmaError:
        raise
    except Exception as error:  # jinja2 raises its own, Python's compiler others
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{settings.template_file}: not a chat template ({reason}); download the checkpoint again"
        ) from None
    size = backend.get_vocab_size()
    known = size - (backend.token_to_id(VIDEO) == size - 1)
    if vocab_size is not None and known > vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer has {size} tokens, but the "
            f"weights have {vocab_size}; download the checkpoint again"
        )
    backend.add_special_tokens([_special(VIDEO)])
    return Tokenizer(backend, template)


def _special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)
