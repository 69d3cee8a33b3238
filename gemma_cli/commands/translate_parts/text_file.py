"""A text file: decoded, split, translated, and encoded again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from gemma_cli.common.notices import notice
from gemma_cli.core.errors import InputError
from gemma_cli.media.files import display_name
from gemma_cli.text.documents import Document, split, suffix_of
from gemma_cli.text.encodings import Encoded
from gemma_cli.text.passages import Passage
from gemma_cli.views.sanitize import safe

Translate = Callable[[Iterable[Passage]], Iterator[str]]

_SHOWN = 60
"""Characters of a line in a warning."""


@dataclass(frozen=True)
class TextFile:
    """A text file. name: as errors call it."""

    name: str
    text: Encoded
    document: Document

    def translated(self, translate: Translate) -> Iterator[str]:
        """Yield the document in the other language, passage by passage as they come."""
        passages = self.document.passages
        if self.document.data and self.document.data.second:
            passages = self.document.second("".join(translate(passages)))
        for passage, translation in zip(passages, translate(passages), strict=True):
            if self.document.markdown:
                _check_kept(passage, translation)
            yield translation

    def encoded(self, text: str) -> bytes:
        """Encode a translation as the original was, or in UTF-8 if that encoding lacks some of its characters."""
        try:
            return self.text.encode(text)
        except UnicodeEncodeError as error:
            if self.document.data and self.document.data.references:
                return self.text.mark + text.encode(self.text.encoding, "xmlcharrefreplace")
            lacking = text[error.start : error.start + 1]
            notice(
                f"{self.name}: {self.text.encoding} cannot encode {lacking!r}, so the translation is written in UTF-8"
            )
            return text.encode()

    def print(self, parts: Iterator[str], alone: bool) -> None:
        """Print a translation as it comes; one in another encoding than UTF-8, once it is complete.

        On a terminal it is text without control characters. Elsewhere structure comes as it is, to the byte.
        alone: whether nothing else is printed, so that a text without a last newline stays without it.
        """
        terminal = sys.stdout.isatty()
        if not terminal and self.text.encoding != "utf-8":
            _write_bytes(self.encoded("".join(parts)))
            return
        last = ""
        _write_bytes(b"" if terminal else self.text.mark)
        for part in parts:
            last = part or last
            write_text(part) if terminal else _write_bytes(part.encode())
        if not last.endswith("\n") and (terminal or not alone):
            sys.stdout.write("\n")


def read_document(name: str, path: PurePath, text: Encoded, fields: tuple[str, ...] = ()) -> TextFile:
    """Split a text and warn of what is neither words to translate nor known structure. Raises InputError.

    fields: the values of JSON and tables to translate.
    """
    document = split(name, text.text, suffix_of(path), fields)
    if not document.has_words:
        if document.data:
            notice(f"{name}: no text left to translate, so the file is copied unchanged")
        elif document.cues:
            notice(f"{name}: the cues have no words, so the file is copied unchanged")
        else:
            raise nothing_to_translate(name)
    for remark in document.remarks:
        notice(f"{name}: {remark}")
    what = "cannot be translated" if document.data else "is not part of a subtitle"
    line = 1
    for number, passage in enumerate(document.all_passages):
        if number == len(document.passages):
            line = 1
        if passage.unknown:
            shown = " ".join(passage.source.split())[:_SHOWN]
            notice(f"{name}: line {line}: {shown!r} {what}, so the line is copied unchanged")
        line += passage.source.count("\n") or passage.source.count("\r")
    return TextFile(name, text, document)


def nothing_to_translate(file: str) -> InputError:
    """Return the error for a text without words."""
    return InputError(f"{display_name(file)}: the file has no words to translate")


def write_text(text: str) -> None:
    """Print text without what could drive a terminal; lines end as they did."""
    sys.stdout.write("\r\n".join(map(safe, text.split("\r\n"))))
    sys.stdout.flush()


def _write_bytes(content: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _check_kept(passage: Passage, translation: str) -> None:
    """Warn of code and addresses within a sentence, which the model is given, that come back changed."""
    if passage.text is None:
        return
    from gemma_cli.text.markdown_passages import kept

    lost = [part for part in kept(passage.text) if part not in translation]
    if lost:
        notice(f"the translation lost {', '.join(lost)}: check the translation")
