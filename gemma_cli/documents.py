"""Texts taken apart into what is to be translated and what has to stay as it is, to the byte.

The `source` of all passages joined is the document. Numbers, times, markup and code are never in a `text`, so no model
can change them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePath

from gemma_cli.markdown_passages import markdown
from gemma_cli.passages import Passage

LONGEST = 2000
"""Characters in a passage; longer paragraphs are parted between sentences. Models keep to a page better than to ten."""

_TIMES = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d{2}[,.]\d{3}\s*-->\s*(?:\d+:)?\d{1,2}:\d{2}[,.]\d{3}.*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])")
_PARAGRAPH = re.compile(r"\S(?:[^\n]|\n(?!\s*(?:\n|\Z)))*")
_LEADING_TAGS = re.compile(r"(?:<[^>\n]*>|\{\\[^}\n]*\}|-\s)*\s*")
_TRAILING_TAGS = re.compile(r"(?:\s|</[^>\n]*>)*\Z")


Splitter = Callable[[str], Iterator[Passage]]


def splitter(name: str, document: str) -> Splitter:
    """How to take apart a document, told by its name or else by how it begins."""
    suffix = PurePath(name).suffix.lower()
    if suffix in (".srt", ".vtt") or begins_like_subtitles(document):
        return subtitles
    if suffix in (".md", ".markdown"):
        return markdown
    return plain


def begins_like_subtitles(document: str) -> bool:
    """Whether a text is WebVTT or SubRip; its beginning is enough."""
    lines = [line.strip() for line in document.lstrip("\ufeff\r\n ").splitlines()[:2]]
    return bool(lines) and (lines[0].startswith("WEBVTT") or (len(lines) > 1 and bool(_TIMES.fullmatch(lines[1]))))


def plain(document: str) -> Iterator[Passage]:
    """Paragraphs, long ones in parts; blank lines and indentation stay."""
    position = 0
    for paragraph in _PARAGRAPH.finditer(document):
        if paragraph.start() > position:
            yield Passage(document[position : paragraph.start()])
        yield from _sentences(paragraph[0])
        position = paragraph.end()
    if position < len(document):
        yield Passage(document[position:])


def subtitles(document: str) -> Iterator[Passage]:
    """The texts of SubRip or WebVTT cues; numbers, times, settings, notes and styles stay."""
    held = ""
    cue: list[str] | None = None
    for line in [*document.splitlines(keepends=True), ""]:
        if cue is not None and line.strip():
            cue.append(line)
            continue
        if cue:
            yield Passage(held)
            yield from _cue("".join(cue))
            held = ""
        cue = [] if _TIMES.fullmatch(line.rstrip("\r\n")) else None
        held += line
    if held:
        yield Passage(held)


def times(document: str) -> list[str]:
    """The lines of a document that say when its cues are shown."""
    return [line.strip() for line in document.splitlines() if _TIMES.fullmatch(line)]


def _cue(source: str) -> Iterator[Passage]:
    body = source.rstrip("\r\n")
    before = _LEADING_TAGS.match(body)
    lead = before[0] if before else ""
    after = _TRAILING_TAGS.search(body, len(lead))
    trail = after[0] if after else ""
    text = body[len(lead) : len(body) - len(trail)]
    newline = "\r\n" if "\r\n" in source else "\n"
    if not any(character.isalpha() for character in text):
        yield Passage(source)
    else:
        yield Passage(source, "\n".join(text.splitlines()), lead, trail + source[len(body) :], newline)


def _sentences(paragraph: str) -> Iterator[Passage]:
    """A paragraph in parts of at most LONGEST characters, as few as sentences allow."""
    for part in _parts(paragraph):
        text = part.strip()
        if any(character.isalpha() for character in text):
            start = part.index(text)
            yield Passage(part, text, part[:start], part[start + len(text) :])
        else:
            yield Passage(part)


def _parts(paragraph: str) -> Iterator[str]:
    ends = [match.end() for match in _SENTENCE_END.finditer(paragraph)] + [len(paragraph)]
    start = 0
    for end, following in zip(ends, [*ends[1:], None], strict=True):
        while end - start > LONGEST:  # a sentence of pages: between words, or anywhere
            cut = paragraph.rfind(" ", start, start + LONGEST) + 1 or start + LONGEST
            yield paragraph[start:cut]
            start = cut
        if end > start and (following is None or following - start > LONGEST):
            yield paragraph[start:end]
            start = end
