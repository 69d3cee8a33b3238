"""A tool call out of what the model wrote: as it stands if it stands, else what it must have meant.

A call that Gemma 4's notation does not cover is read again with one fault of one kind mended: commas that are missing,
text without quotes, one quote that is missing, quotes inside one text. Every way to mend it is tried. The call counts
only if all ways that fit what the tool declares give the same arguments; otherwise it is unreadable. So a call with
one such fault is read as it was meant or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gemma_cli.core.messages import ToolCall
from gemma_cli.core.tool_calls.literals import QUOTES, Unclear, Unreadable, next_quote
from gemma_cli.core.tool_calls.schema import Schema, conforms, names, parameters
from gemma_cli.core.tool_calls.syntax import Edit, Reader, ValueStart

MOST_EDITS = 200
"""Ways to mend one call that are tried."""

MOST_WORK = 2_000_000
"""Characters that are read for it: of a long call fewer ways are tried."""

_HEAD = re.compile(r"\s*call:\s*(?P<name>[^\s{}()\[\]<>\"',=]+)(?P<space>\s*)(?P<open>[{(]?)")
_CLOSE = {"{": "}", "(": ")", "": ""}
_ANY_NAME = r"[\w.-]+"


def called_name(body: str) -> str | None:
    """Return the name of the tool that a call is for, even if the rest of it is unreadable; None if it has none."""
    head = _HEAD.match(body)
    return head["name"] if head else None


def parse_call(body: str, tools: Iterable[Mapping[str, Any]] = (), repair: bool = True) -> ToolCall:
    """Return the call in `call:NAME{key:<|"|>text<|"|>,n:3}`. Raises Unreadable.

    tools: OpenAI function declarations, which decide between readings. repair: whether a fault may be mended.
    """
    head = _HEAD.match(body)
    if not head:
        raise Unreadable("the call has no name")
    at, close = head.end(), _CLOSE[head["open"]]
    if not close and (not repair or not (head["space"] or at == len(body))):
        raise Unreadable("the call has no braces")
    schema = parameters(head["name"], tools)
    return ToolCall(head["name"], _arguments(body, at, close, schema, repair))


def _arguments(body: str, at: int, close: str, schema: Schema, repair: bool) -> dict[str, Any]:
    declared = names(schema)
    plain = Reader(body, at, declared)
    failure = Unreadable("the call has more than one possible meaning")
    found: list[tuple[dict[str, Any], bool]] = []
    try:
        arguments = plain.arguments(close, schema)
        if not plain.faults:
            return arguments
        if len(plain.faults) == 1:
            found.append((arguments, True))
    except Unclear:
        raise
    except Unreadable as error:
        failure = error
    if not repair:
        raise failure
    for count, edit in enumerate(_edits(body, plain.places, declared)):
        if count == MOST_EDITS or count * len(body) > MOST_WORK:
            raise failure  # as there may be another way
        reader = Reader(body, at, declared, edit)
        try:
            arguments = reader.arguments(close, schema)
        except Unreadable:
            continue
        if not reader.faults:
            found.append((arguments, edit.sure))
    return _only(found, schema, failure)


def _only(found: list[tuple[dict[str, Any], bool]], schema: Schema, failure: Unreadable) -> dict[str, Any]:
    """The arguments that all readings agree on. Raises `failure` where they do not, or none of them is sure."""
    fitting = [(json.dumps(arguments, sort_keys=True), arguments, sure) for arguments, sure in found]
    fitting = [reading for reading in fitting if conforms(reading[1], schema)]
    if len({text for text, _, _ in fitting}) != 1 or not any(sure for _, _, sure in fitting):
        raise failure
    return fitting[0][1]


def _edits(body: str, places: list[ValueStart], declared: frozenset[str]) -> Iterator[Edit]:
    """Every string of the call read with another end, or with the opening quote that it lacks."""
    for place in places:
        if place.quote:
            yield from _missing_end(body, place)
            yield from _quotes_inside(body, place, declared)
        yield from _missing_start(body, place)


def _missing_end(body: str, place: ValueStart) -> Iterator[Edit]:
    """The string ends before a comma or a closing bracket, without its quote."""
    inner = place.start + len(place.quote)
    limit = next_quote(body, inner, place.quote)
    for mark in _MAY_END.finditer(body, inner, limit if limit >= 0 else len(body)):
        if mark.group(2) == "," and not _BEGINS.match(body, mark.end()):
            continue
        for end in {mark.start(), mark.end(1)}:
            yield Edit(place.start, inner, end, end, place.quote, sure=body[end - 1] != ",")


def _quotes_inside(body: str, place: ValueStart, declared: frozenset[str]) -> Iterator[Edit]:
    """The string goes on beyond a quote to a later one.

    Quotes inside a text come in pairs; apostrophes need not. A single one may as well be a quote too many elsewhere,
    and one that can be the end of the text is, so these readings only make others doubtful.
    """
    if place.end < 0:
        return
    quote, inner, odd, ends = place.quote, place.start + len(place.quote), False, bool(_ENDS.match(body, place.end))
    end = next_quote(body, inner, quote)
    while end >= 0:
        after = end + len(quote)
        if after > place.end and _ENDS.match(body, after):
            if _holds_pair(body[inner:end], quote, declared if place.described else ()):
                return
            yield Edit(place.start, inner, end, after, quote, sure=not (odd or ends))
        apostrophe = quote == "'" and body[end - 1 : end].isalnum() and body[after : after + 1].isalnum()
        odd ^= not apostrophe
        end = next_quote(body, after, quote)


def _missing_start(body: str, place: ValueStart) -> Iterator[Edit]:
    """The value is a string that lacks its opening quote, and goes up to the first quote there is."""
    spaced = place.space < place.start  # and nobody can tell where the text begins
    for quote in QUOTES:
        end = next_quote(body, place.start + (not spaced), quote)
        if end >= 0 and _ENDS.match(body, end + len(quote)):
            yield Edit(place.start, place.space, end, end + len(quote), quote, sure=not spaced)


def _holds_pair(text: str, quote: str, declared: Iterable[str]) -> bool:
    """Whether a string that goes beyond quotes swallows another argument: a quote next to `NAME:`."""
    name = "|".join(map(re.escape, declared)) or _ANY_NAME
    mark, pair = re.escape(quote), rf"\b(?:{name})['\"]?\s*[:=]"
    return re.search(rf"{mark}\W{{,4}}{pair}|[,;]\W{{,4}}{pair}\s*{mark}", text) is not None


_MAY_END = re.compile(r"(?<!\s)(\s*+)(?:([,}\])])|\Z)")
_BEGINS = re.compile(r"""\s*(?:[\w"'<{\[-]|\})""")
_ENDS = re.compile(r"\s*(?:[,}\])]|\Z)")
