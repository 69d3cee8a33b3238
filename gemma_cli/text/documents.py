"""Texts taken apart into what is to be translated and what has to stay as it is, to the byte.

The `source` of all passages joined is the document. Numbers, times, markup and code are never in a `text`, so no model
can change them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePath

from gemma_cli.text.cues import begins_like_subtitles, subtitles
from gemma_cli.text.markdown_passages import markdown
from gemma_cli.text.passages import Passage

LONGEST = 2000
"""Characters in a passage; longer paragraphs are parted between sentences. Models keep to a page better than to ten."""

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])")
_PARAGRAPH = re.compile(r"\S(?:[^\n]|\n(?!\s*(?:\n|\Z)))*")


Splitter = Callable[[str], Iterator[Passage]]


def splitter(name: str, document: str) -> Splitter:
    """How to take apart a document, told by its name or else by how it begins."""
    suffix = PurePath(name).suffix.lower()
    if suffix in (".srt", ".vtt") or begins_like_subtitles(document):
        return subtitles
    if suffix in (".md", ".markdown"):
        return markdown
    return plain


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
