"""Log-probabilities of a reply's tokens, in the two forms that OpenAI's interface has for them."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_cli.core.events import TokenChosen, TokenScore

Fields = dict[str, Any]

LEAST = -9999.0
"""What OpenAI writes for a probability of zero, whose logarithm JSON cannot hold."""


@dataclass(frozen=True)
class PlacedToken:
    """A token of the answer. start: of its text in the answer, in characters."""

    chosen: TokenChosen
    start: int


class TokenLine:
    """Hands out tokens with the text that they begin in: text may be held back, and a stop text drops the rest."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, PlacedToken]] = deque()  # with the byte at which each begins
        self._bytes = self._characters = self._shown = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, chosen: TokenChosen) -> None:
        """Take in a token, whose text follows that of the one before."""
        self._waiting.append((self._bytes, PlacedToken(chosen, self._characters)))
        self._bytes += len(chosen.score.utf8)
        self._characters += len(self._decoder.decode(bytes(chosen.score.utf8)))

    def shown(self, text: str) -> list[PlacedToken]:
        """Return the tokens that begin in `text`, the next of the answer."""
        self._shown += len(text.encode("utf-8", "surrogatepass"))
        found = []
        while self._waiting and self._waiting[0][0] < self._shown:
            found.append(self._waiting.popleft()[1])
        return found

    def rest(self) -> list[PlacedToken]:
        """Return the tokens that are left."""
        found = [token for _, token in self._waiting]
        self._waiting.clear()
        return found


def chat_logprobs(tokens: Sequence[PlacedToken]) -> Fields:
    """Build `logprobs` of a choice of a chat completion."""
    return {
        "content": [
            _scored(token.chosen.score) | {"top_logprobs": [_scored(one) for one in token.chosen.likeliest]}
            for token in tokens
        ],
        "refusal": None,
    }


def raw_logprobs(tokens: Sequence[PlacedToken]) -> Fields:
    """Build `logprobs` of a choice of a raw completion. The chosen token is always one of `top_logprobs`."""
    return {
        "tokens": [_name(token.chosen.score) for token in tokens],
        "token_logprobs": [_finite(token.chosen.score) for token in tokens],
        "top_logprobs": [
            {_name(one): _finite(one) for one in (token.chosen.score, *token.chosen.likeliest)} for token in tokens
        ],
        "text_offset": [token.start for token in tokens],
    }


def _scored(score: TokenScore) -> Fields:
    return {"token": _name(score), "logprob": _finite(score), "bytes": list(score.utf8)}


def _name(score: TokenScore) -> str:
    """The text of a token; a part of a character as OpenAI writes it, bytes:\\xe2."""
    try:
        return bytes(score.utf8).decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in score.utf8)


def _finite(score: TokenScore) -> float:
    return max(score.logprob, LEAST)
