"""Token ids -> text, one token at a time, with no character ever cut in two."""

from __future__ import annotations

import codecs
import functools
import re

from gemma_cli.engines.local.text.tokenizer import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@functools.cache
def token_bytes(piece: str) -> bytes:
    """The UTF-8 of a token as the vocabulary writes it, or the part of a character that it is."""
    byte = _BYTE.fullmatch(piece)
    return bytes.fromhex(byte[1]) if byte else piece.replace("\u2581", " ").encode()


class Detokenizer:
    """Text of tokens as they arrive, control tokens included; constant work per token.

    Gemma's vocabulary is SentencePiece BPE with byte fallback: a piece writes a space as U+2581, and what it has no
    piece for comes as the UTF-8 bytes <0x00>..<0xFF>, which are held until they make a character. Bytes that never do
    become U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._pieces = tokenizer.token_of
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The text that `token` completes; "" while a character is unfinished."""
        piece = self._pieces(token)
        return self.flush() if piece is None else self._bytes.decode(token_bytes(piece))

    def flush(self) -> str:
        """Return the rest of an unfinished character: one U+FFFD or nothing."""
        return self._bytes.decode(b"", final=True)
