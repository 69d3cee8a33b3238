"""A piece of a document, with what is to be translated of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Passage:
    """source: as it stands in the document. text: what is to be translated of it; None: it stays.

    before, after: what of the source stays around the text. newline: what parts the lines of a translation.
    """

    source: str
    text: str | None = None
    before: str = ""
    after: str = ""
    newline: str = "\n"

    def translated(self, translation: str) -> str:
        """The passage with that in place of its text."""
        lines = [line.strip() for line in translation.splitlines()]
        return self.before + self.newline.join(line for line in lines if line) + self.after
