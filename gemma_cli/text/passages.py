"""Spans of a document, with their words to translate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Passage:
    """A span of a document; the sources of all passages joined are the document.

    source: the span as it stands in the document. text: the words to translate; None: the span stays as it is.
    before, after: parts of the source that stay around the text. newline: separates the lines of a translation.
    unknown: whether it has words that are neither translated nor known structure, which the user is warned of.
    """

    source: str
    text: str | None = None
    before: str = ""
    after: str = ""
    newline: str = "\n"
    unknown: bool = False

    def translated(self, translation: str) -> str:
        """Return the passage with the translation in place of its text."""
        lines = [line.strip() for line in translation.splitlines()]
        return self.before + self.newline.join(line for line in lines if line) + self.after

    def lost(self, translation: str) -> list[str]:
        """Return the parts of the source that have to be in a translation and are not: it is not used then."""
        return []

    def misplaced(self, translation: str) -> list[str]:
        """Return the markup of the source that has no exact place in the translation."""
        return []
