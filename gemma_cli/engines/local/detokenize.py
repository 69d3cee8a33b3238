"""Token ids -> text, one token at a time, with no character ever cut in two."""

from __future__ import annotations

import codecs
import re
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Detokenizer:
    """The text of each token as it comes, control tokens included; constant work per token.

    Gemma's vocabulary is SentencePiece BPE with byte fallback: a piece writes a space as U+2581, and what it has no
    piece for comes as the UTF-8 bytes <0x00>..<0xFF>, which are held until they make a character. Bytes that never do
    become U+FFFD.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._pieces = tokenizer.convert_ids_to_tokens
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The text that `token` completes; "" while a character is unfinished."""
        piece: str | None = self._pieces(token)
        if piece is None:
            return self.flush()
        if byte := _BYTE.fullmatch(piece):
            return self._bytes.decode(bytes.fromhex(byte[1]))
        return self.flush() + piece.replace("\u2581", " ")

    def flush(self) -> str:
        """What is left of an unfinished character: one U+FFFD or nothing."""
        return self._bytes.decode(b"", final=True)
