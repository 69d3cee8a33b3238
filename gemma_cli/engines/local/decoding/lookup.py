"""Drafts copied from the context: if the reply repeats earlier text, the continuation of that text is the draft.

Edits, quotes and clean-ups say long stretches of their prompt again, and so does a table its own rows. The last MATCH
tokens are looked up among all that came before; if they stood there and were always followed by the same token, what
followed is proposed. Like a drafter's, such a draft decides only how many tokens come out of a target pass: what is
said is the target's choice (decode.py), and whether a copy is worth a pass is for draft_length.py to say.
"""

from __future__ import annotations

from collections.abc import Sequence

MATCH = 8
"""Tokens that must agree. Shorter matches are found in any prose, and cost more passes than they save."""

_AMBIGUOUS = -1


class Lookup:
    """The tokens of a prompt and its reply so far, and where each run of MATCH tokens was followed by what."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)
        self._following: dict[int, int] = {}  # hash of MATCH tokens -> place of the token after them, or _AMBIGUOUS
        self._indexed = MATCH

    def extend(self, tokens: Sequence[int]) -> None:
        """The reply went on."""
        self._ids += tokens

    def find(self, most: int) -> list[int]:
        """Return the likely continuation, up to `most` tokens; nothing where the last tokens are new, or were followed
        by different ones. A copy that reaches its own end goes round: so repeats itself what repeats itself."""
        self._index()
        last = self._ids[-MATCH:]
        start = self._following.get(hash(tuple(last)), _AMBIGUOUS)
        if start < 0 or self._ids[start - MATCH : start] != last:  # hashes may collide
            return []
        found = self._ids[start : start + most]
        while len(found) < most:
            found += found[: most - len(found)]
        return found

    def _index(self) -> None:
        """Enter what was added. The newest tokens have no successor yet and are not entered."""
        ids, following = self._ids, self._following
        for place in range(self._indexed, len(ids)):
            key = hash(tuple(ids[place - MATCH : place]))
            seen = following.get(key)
            same = seen is None or (seen >= 0 and ids[seen] == ids[place])
            following[key] = place if same else _AMBIGUOUS
        self._indexed = max(self._indexed, len(ids))
