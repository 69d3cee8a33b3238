"""JSON schemas, followed by llguidance over the checkpoint's own vocabulary.

llguidance sees each token as the bytes that Detokenizer makes of it, so the allowed text is the shown text. Control
tokens belong to no grammar.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance import TokenizerWrapper as Wrapper

from gemma_cli.core.errors import ModelError
from gemma_cli.core.json_schema import grammar
from gemma_cli.engines.local.constraints.constraint import Mask
from gemma_cli.engines.local.text.detokenize import token_bytes
from gemma_cli.engines.local.text.tokenizer import Tokenizer


class _Vocabulary:
    """A vocabulary in the form that llguidance expects."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, size: int, stops: Collection[int]) -> None:
        special = set(tokenizer.special)
        pieces = [tokenizer.token_of(token) for token in range(size)]
        self._encode = tokenizer.encode_text
        self.tokens = [b"" if piece is None else token_bytes(piece) for piece in pieces]
        self.special_token_ids = [token for token, piece in enumerate(pieces) if piece is None or piece in special]
        self.eos_token_id = min(stops)

    def __call__(self, text: str) -> list[int]:
        """Return the model's usual tokens for a text where only that text can follow."""
        return self._encode(text)


def vocabulary(tokenizer: Tokenizer, size: int, stops: Collection[int]) -> LLTokenizer:
    """`size` ids as llguidance knows them, of which `stops` (at least one) end a reply; seconds for 262,144 of them."""
    return LLTokenizer(Wrapper(_Vocabulary(tokenizer, size, stops)), eos_token=sorted(stops))


class Grammar:
    """The state of one reply in a schema; constraint.Rules over the tokens of the answer."""

    def __init__(self, words: LLTokenizer, schema: str) -> None:
        """schema: as json_schema.checked gives it. Raises ModelError where this vocabulary cannot write it."""
        self._matcher = LLMatcher(words, grammar(schema), log_level=0)
        self._bytes = (words.vocab_size + 7) // 8
        self._check()

    def allowed(self) -> Mask:
        """Return the allowed tokens; end tokens only where the JSON is complete. Raises ModelError."""
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return mask[: self._bytes]  # the rest fills up a word

    def push(self, token: int) -> bool:
        """Go on by `token`; False, and nothing changed, if it is not allowed. Raises ModelError."""
        followed: bool = self._matcher.try_consume_tokens([token]) == 1
        self._check()
        return followed

    def pop(self, count: int) -> None:
        """Undo the last `count` pushes."""
        self._matcher.rollback(count)

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = " ".join(self._matcher.get_error().split())
            raise ModelError(f"the reply cannot be continued according to the JSON schema: {reason}")
