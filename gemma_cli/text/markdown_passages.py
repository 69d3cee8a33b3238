"""Markdown taken apart: paragraphs, headings, list items and table cells are text; the rest stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

from gemma_cli.text.passages import Passage

_FRONT_MATTER = re.compile(r"---\r?\n.*?^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_KEPT_INLINE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)|(?<=\]\()[^)\s]+|https?://[^\s)>\]]+", re.DOTALL)


def markdown(document: str) -> Iterator[Passage]:
    """Code, HTML, front matter, link targets by reference and all markers stay, to the byte."""
    position = 0
    for start, end in _inline(document):
        if start > position:
            yield Passage(document[position:start])
        source = document[start:end]
        yield Passage(source, _flowing(source), newline=" ")
        position = end
    if position < len(document):
        yield Passage(document[position:])


def kept(text: str) -> list[str]:
    """Code and addresses in a passage, which its translation must hold as well."""
    return sorted(match[0] for match in _KEPT_INLINE.finditer(text))


def _inline(document: str) -> Iterator[tuple[int, int]]:
    """Yield the place of each block's text in the document."""
    from markdown_it import MarkdownIt

    front = _FRONT_MATTER.match(document)
    skipped = front.end() if front else 0
    body = document[skipped:]
    lines = re.findall(r"[^\n]*\n|[^\n]+", body)
    offsets = [skipped, *(skipped + length for length in accumulate(map(len, lines)))]
    position = skipped
    for token in MarkdownIt("commonmark").enable("table").parse(body):
        if token.type != "inline" or token.map is None or not any(c.isalpha() for c in token.content):
            continue
        first, last = token.map
        for start, end in _places(
            document, token.content, max(position, offsets[first]), offsets[min(last, len(lines))]
        ):
            yield start, end
            position = end


def _places(document: str, content: str, start: int, limit: int) -> list[tuple[int, int]]:
    """Where a block's content stands between two places, in one part or, where a line has to end, in several.

    The markers that its lines begin with are not in `content`, so each line is looked for.
    """
    places: list[tuple[int, int]] = []
    broken = True
    for line in content.split("\n"):
        text = line.strip().removesuffix("\\")
        found = document.find(text, start, limit)
        if found < 0:  # a cell with \| in it, say: better untranslated than damaged
            return []
        start = found + len(text)
        places = [*places, (found, start)] if broken else [*places[:-1], (places[-1][0], start)]
        broken = line.endswith(("  ", "\\"))
    return [(first, last) for first, last in places if any(c.isalpha() for c in document[first:last])]


def _flowing(source: str) -> str:
    """Return a paragraph without the markers at the beginning of its lines."""
    first, *others = source.splitlines()
    return "\n".join([first.strip(), *(re.sub(r"^[\s>]+", "", line) for line in others)]).strip()
