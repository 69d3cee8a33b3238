"""Documents split into words to translate and structure that stays as it is, to the byte.

The sources of all passages joined are the document. Numbers, times, markup and code are never in a `text`, so no model
can change them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.text.data_formats import FIELDS, DataFormat, data_format
from gemma_cli.text.markdown_passages import markdown
from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.formats import SUFFIXES, timed_format
from gemma_cli.text.values.value import MalformedError

LONGEST = 2000
"""Characters in a passage; longer paragraphs are cut between sentences. Models are better at a page than at ten."""

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])")
_PARAGRAPH = re.compile(r"\S(?:[^\n]|\n(?!\s*(?:\n|\Z)))*")


@dataclass(frozen=True)
class Document:
    """A document in passages. cues: how many it has, if it is timed text. markdown: whether it is that.

    data: the format of data; its `second` splits what the passages were translated to once more. remarks: about what is
    not translated.
    """

    passages: list[Passage]
    cues: int | None = None
    markdown: bool = False
    data: DataFormat | None = None
    remarks: tuple[str, ...] = ()

    @property
    def has_words(self) -> bool:
        """Whether the document has words to translate."""
        return any(passage.text for passage in self.all_passages)

    @cached_property
    def all_passages(self) -> list[Passage]:
        """Yield all passages, with those of a second split."""
        source = "".join(passage.source for passage in self.passages)
        return [*self.passages, *self.second(source)]

    def second(self, document: str) -> list[Passage]:
        """Split a document once more, of which the passages are translated."""
        return self.data.second(document)[0] if self.data and self.data.second else []


def split(name: str, document: str, suffix: str = "", fields: tuple[str, ...] = ()) -> Document:
    """Split a document by its format, which its content tells, or else its suffix. name: for errors.

    fields: the values of JSON and tables to translate. Raises InputError for a format that cannot be translated, and
    for subtitles without a cue.
    """
    suffix = suffix.lower()
    data = data_format(suffix, document, fields)
    timed = None if fields else timed_format(suffix, document)
    if fields and (data is None or data.name not in FIELDS.split()):
        raise InputError(f"{name}: --field applies only to JSON, CSV and TSV; leave out --field for this file")
    if timed is not None:
        cues = timed.cues(document)
        if not cues and not document.removeprefix("\ufeff").startswith("WEBVTT"):
            raise InputError(
                f"{name}: the file has no {timed.name} cues; if the file is plain text, rename the file to .txt"
            )
        found = Document(list(timed.passages(document)), cues)
    elif suffix in SUFFIXES:
        raise InputError(f"{name}: neither MicroDVD nor SubViewer subtitles; convert the subtitles to srt")
    elif data is not None:
        found = _split_data(name, document, data)
    elif suffix in (".md", ".markdown"):
        found = Document(list(markdown(document)), markdown=True)
    else:
        found = Document(list(plain(document)))
    if "".join(passage.source for passage in found.passages) != document:
        raise GemmaError(
            f"{name}: gemma cannot preserve the structure of this "
            "file, so nothing was translated; please report the file"
        )
    return found


def _split_data(name: str, document: str, data: DataFormat) -> Document:
    if data.split is None:
        raise InputError(f"{name}: gemma cannot translate {data.name}; {data.remedy}")
    try:
        passages, remarks = data.split(document)
    except MalformedError as error:
        raise InputError(f"{name}: {error}") from None
    return Document(passages, data=data, remarks=tuple(remarks))


def suffix_of(name: PurePath) -> str:
    """Return the suffix of a file name in lower case."""
    return name.suffix.lower()


def plain(document: str) -> Iterator[Passage]:
    """Split prose into paragraphs, long ones into parts. Blank lines and indentation stay."""
    position = 0
    for paragraph in _PARAGRAPH.finditer(document):
        if paragraph.start() > position:
            yield Passage(document[position : paragraph.start()])
        yield from sentences(paragraph[0])
        position = paragraph.end()
    if position < len(document):
        yield Passage(document[position:])


def sentences(paragraph: str) -> Iterator[Passage]:
    """Split a paragraph into parts of at most LONGEST characters, as few as sentences allow."""
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
