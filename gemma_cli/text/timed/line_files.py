"""Formats with a cue in a line: SubStation Alpha, LRC lyrics, MicroDVD and MPL2."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gemma_cli.text.timed.blocks import Block, Cue, Structure, lines_of, seconds

_SECTION = re.compile(r"\ufeff?\s*\[([^\]]+)\]\s*")
_EVENT = re.compile(r"(Dialogue\s*:\s*)(.*)", re.DOTALL)
_LYRIC = re.compile(r"\ufeff?\s*((?:\[ *[0-9]+:[0-9]+(?:[.:,][0-9]+)? *\]\s*)+)", re.ASCII)
_LRC_FIELD = re.compile(r"\ufeff?\s*\[[a-zA-Z#][^\]:]*:[^\]]*\]\s*")
_FRAMES = re.compile(r"\ufeff?\s*(?:\{ *[0-9]+ *\}\{ *[0-9]* *\}|\[ *[0-9]+ *\]\[ *[0-9]* *\])")
_FRAME_FIELD = re.compile(r"\ufeff?\s*\{DEFAULT\}\{\}.*", re.DOTALL)
_COLUMNS = 10
_END = re.compile(r"[ \t]*(?:\r\n|\r|\n)?\Z")


def is_substation(document: str) -> bool:
    """Return whether a document begins like SSA or ASS."""
    return document.lstrip("\ufeff \t\r\n")[:13].lower() == "[script info]"


def is_lyrics(document: str) -> bool:
    """Return whether a document begins like LRC."""
    first = [line for line in lines_of(document[:2000]) if line.strip() and not _LRC_FIELD.fullmatch(line)]
    return bool(first and _LYRIC.match(first[0]))


def is_frames(document: str) -> bool:
    """Return whether a document begins like MicroDVD or MPL2."""
    first = [line for line in lines_of(document[:2000]) if line.strip() and not _FRAME_FIELD.fullmatch(line)]
    return bool(first and _FRAMES.match(first[0]))


def substation(document: str) -> Iterator[Block]:
    """Split SSA or ASS into blocks. Only the texts of dialogue lines are cues."""
    section, columns = "", ["start", "end"]
    for line in lines_of(document):
        found = _SECTION.fullmatch(line)
        section = found[1].lower() if found else section
        name, _, value = line.partition(":")
        if section == "events" and name.strip().lower() == "format":
            columns = [column.strip().lower() for column in value.split(",")]
        event = _EVENT.match(line) if section == "events" else None
        yield from _event(event, columns if len(columns) > 2 else _default_columns()) if event else [Structure(line)]


def _default_columns() -> list[str]:
    return ["layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text"]


def _event(event: re.Match[str], columns: list[str]) -> Iterator[Block]:
    fields = event[2].split(",", len(columns) - 1)
    if len(fields) < len(columns) or columns[-1] != "text":
        yield Structure(event[0], unknown=any(map(str.isalpha, event[2])))
        return
    values = dict(zip(columns, fields, strict=True))
    yield Structure(event[0][: len(event[0]) - len(fields[-1])])
    try:
        shown = (seconds(values["start"]), seconds(values["end"]))
    except (KeyError, ValueError):
        shown = (0.0, 0.0)
    voice = f"{values.get('style', '')}/{values.get('name', values.get('actor', ''))}"
    yield from _cue(fields[-1], shown, voice)


def lyrics(document: str) -> Iterator[Block]:
    """Split LRC into blocks. Each line is sung alone."""
    for line in lines_of(document):
        found = _LYRIC.match(line)
        if found is None:
            known = _LRC_FIELD.fullmatch(line) or not any(map(str.isalpha, line))
            yield Structure(line, unknown=not known)
            continue
        yield Structure(found[0])
        yield from _cue(line[found.end() :], (0.0, 0.0), None)


def frames(document: str) -> Iterator[Block]:
    """Split MicroDVD or MPL2 into blocks. Frames are no seconds, so cues share no sentence."""
    for line in lines_of(document):
        found = _FRAMES.match(line)
        if found is None:
            known = _FRAME_FIELD.fullmatch(line) or not any(map(str.isalpha, line))
            yield Structure(line, unknown=not known)
            continue
        yield Structure(found[0])
        yield from _cue(line[found.end() :], (0.0, 0.0), None)


def _cue(rest: str, shown: tuple[float, float], voice: str | None) -> Iterator[Block]:
    """The words in the rest of a line, and its end."""
    end = _END.search(rest)
    length = end.start() if end else len(rest)
    yield from [Cue(rest[:length], shown, voice)] if length else []
    yield from [Structure(rest[length:])] if rest[length:] else []
