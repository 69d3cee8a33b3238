"""A sound file of any length, opened once: known to be whole before anything is written, then heard in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from gemma_cli.common.inputs import opened
from gemma_cli.media.audio import WHOLE, Part, duration, speech
from gemma_cli.media.files import display_name
from gemma_cli.media.segmenter import Piece


class SpeechSource(Protocol):
    """What can be heard piece by piece: a recording, or somebody who speaks."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def pieces(self) -> Iterator[Piece]:
        """What is said, in order. Raises InputError."""


@dataclass(frozen=True)
class Recording:
    """duration_s: of the part that is heard."""

    name: str
    duration_s: float
    part: Part
    file: BinaryIO

    def pieces(self) -> Iterator[Piece]:
        """What is said in it. Raises InputError."""
        return speech(self.file, self.name, self.part)

    def digest(self) -> str:
        """sha-256 of the file's bytes."""
        self.file.seek(0)
        digest = hashlib.sha256()
        while chunk := self.file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()


@contextmanager
def survey(path: str, part: Part = WHOLE, quiet: bool = False) -> Iterator[Recording]:
    """Open what is named and read it through, which costs little beside hearing it: a bad file is told at once.

    Raises InputError.
    """
    name = display_name(path)
    with opened(path, quiet) as file:
        yield Recording(name, duration(file, name, part), part, file)
