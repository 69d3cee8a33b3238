"""SubRip, WebVTT, SubViewer and SBV: a line of times, and below it the words of a cue.

What players accept is accepted. A line of times begins a cue, with or without a number before it; the next such line
or the end of the file ends it. Blank lines within a cue are layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from gemma_cli.text.timed.blocks import Block, Cue, Structure, lines_of, seconds

_TIME = r"-?[0-9]+ *: *[0-9]{1,2}(?: *: *[0-9]{1,2})?(?: *[,.] *[0-9]+)?"
_ARROW = re.compile(rf"\ufeff?\s*({_TIME})\s*-{{1,2}}>\s*({_TIME})(\s.*|)", re.DOTALL)
_COMMA = re.compile(rf"\ufeff?\s*({_TIME.replace(',.', '.')})\s*,\s*({_TIME.replace(',.', '.')})(\s*)")
_SETTINGS = re.compile(r"\s*(?:[XY][12]:\s*-?[0-9]+\s*|[a-zA-Z-]+:\S+\s*)*")
_NUMBER = re.compile(r"\ufeff?\s*[0-9]+\s*")
_VTT_BLOCK = re.compile(r"\ufeff?(?:NOTE|STYLE|REGION|WEBVTT)(?:\s|\Z)")
_VOICE = re.compile(r"\s*<v[ .\t]([^>\n]*)>")
_HEADER = re.compile(r"\[(?!br\])[A-Za-z ]+\].*", re.DOTALL)


def has_cues(document: str) -> bool:
    """Return whether one of the first lines gives the times of a cue, as in SubRip and WebVTT."""
    first = [line for line in lines_of(document[:2000])[:12] if line.strip()][:2]
    return any(map(_ARROW.fullmatch, first))


def has_comma_cues(document: str) -> bool:
    """Return whether one of the first lines gives the times of a cue, as in SBV and SubViewer."""
    first = [line for line in lines_of(document[:2000])[:30] if line.strip() and not _HEADER.fullmatch(line)]
    return any(_COMMA.fullmatch(line) for line in first[:1])


def subrip(document: str) -> Iterator[Block]:
    """Split SubRip into blocks."""
    return _blocks(document, _ARROW, webvtt=False)


def webvtt(document: str) -> Iterator[Block]:
    """Split WebVTT into blocks. Notes, styles, regions and identifiers are structure."""
    return _blocks(document, _ARROW, webvtt=True)


def subviewer(document: str) -> Iterator[Block]:
    """Split SBV (YouTube) or SubViewer into blocks."""
    return _blocks(document, _COMMA, webvtt=False)


def _blocks(document: str, times: re.Pattern[str], webvtt: bool) -> Iterator[Block]:
    lines = lines_of(document)
    arrow = times is _ARROW
    heads = [place for place, line in enumerate(lines) if times.fullmatch(line) or (arrow and "-->" in line)]
    begins = [*(_begin(lines, head, last + 1, webvtt) for last, head in pairwise([-1, *heads])), len(lines)]
    yield from _preamble(lines[: begins[0]], webvtt)
    for (begin, end), head in zip(pairwise(begins), heads, strict=True):
        if begin < head:
            yield Structure("".join(lines[begin:head]))
        found = times.fullmatch(lines[head])
        known = found is not None and _SETTINGS.fullmatch(found[3]) is not None
        yield Structure(lines[head], unknown=not known)
        shown = (seconds(found[1]), seconds(found[2])) if found else (0.0, 0.0)
        yield from _body(lines[head + 1 : end], shown, webvtt, joined=found is not None)


def _begin(lines: list[str], head: int, lowest: int, webvtt: bool) -> int:
    """Return where a cue begins: at its number or identifier, or else at its times."""
    if head > lowest:
        before = lines[head - 1]
        if _NUMBER.fullmatch(before):
            return head - 1
        apart = head - 1 == lowest or not lines[head - 2].strip()
        if webvtt and before.strip() and apart and not (lowest == 0 and head == 1) and not _VTT_BLOCK.match(before):
            return head - 1
    place = head
    while place > lowest and not lines[place - 1].strip():
        place -= 1
    if (
        lowest < place < head
        and _NUMBER.fullmatch(lines[place - 1])
        and (place - 1 == lowest or not lines[place - 2].strip())
    ):
        return place - 1
    return head


def _preamble(lines: list[str], webvtt: bool) -> Iterator[Block]:
    """Return the text before the first cue: in WebVTT a header, notes and styles, in SubViewer a header."""
    known = True
    for place, line in enumerate(lines):
        if webvtt and (place == 0 or not lines[place - 1].strip()):
            known = bool(_VTT_BLOCK.match(line))
        words = any(map(str.isalpha, line)) and not (known and webvtt) and not _HEADER.fullmatch(line)
        yield Structure(line, unknown=words)


def _body(lines: list[str], shown: tuple[float, float], webvtt: bool, joined: bool) -> Iterator[Block]:
    """The words of a cue; in WebVTT a note, a style or another header may follow after a blank line."""
    end = len(lines)
    if webvtt:
        starts = [
            place
            for place, line in enumerate(lines)
            if _VTT_BLOCK.match(line) and (place == 0 or not lines[place - 1].strip("\r\n"))
        ]
        end = starts[0] if starts else end
    last = end
    while last and not lines[last - 1].strip():
        last -= 1
    first = 0
    while first < last and not lines[first].strip():
        first += 1
    if first:
        yield Structure("".join(lines[:first]))
    if first == last:
        yield Cue("", shown, None)
    else:
        source = "".join(lines[first:last])
        ending = source[len(source.rstrip("\r\n")) :]
        voice = _VOICE.match(source)
        yield Cue(source[: len(source) - len(ending)], shown, (voice[1] if voice else "") if joined else None)
        yield from [Structure(ending)] if ending else []
    if last < end:
        yield Structure("".join(lines[last:end]))
    yield from _preamble(lines[end:], webvtt) if end < len(lines) else []
