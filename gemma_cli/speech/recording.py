"""A sound file of any length, opened once: known to be whole before anything is written, then heard in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from gemma_cli.common.inputs import opened
from gemma_cli.common.notices import notice
from gemma_cli.core.errors import DamagedError
from gemma_cli.media import audio
from gemma_cli.media.audio import WHOLE, Part
from gemma_cli.media.files import display_name
from gemma_cli.media.segmenter import Piece
from gemma_cli.media.sound.reader import Sound


class SpeechSource(Protocol):
    """What can be heard piece by piece: a recording, or somebody who speaks."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def pieces(self) -> Iterator[Piece]:
        """What is said, in order. Raises InputError."""


@dataclass(frozen=True)
class Recording:
    """An open sound file. duration_s: of the part that is heard."""

    name: str
    duration_s: float
    part: Part
    file: BinaryIO
    sound: Sound

    def pieces(self) -> Iterator[Piece]:
        """What is said in it. Raises InputError."""
        return audio.speech(self.sound, self.part)

    def digest(self) -> str:
        """sha-256 of the file's bytes."""
        self.file.seek(0)
        digest = hashlib.sha256()
        while chunk := self.file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()

    def remark(self) -> None:
        """Print on stderr what the user should know of the file, such as which of its sound tracks is heard."""
        for remark in self.sound.findings.remarks:
            notice(f"{self.name}: {remark}")

    def check_whole(self) -> None:
        """Raise DamagedError where part of the file could not be read; the rest has been written by now."""
        findings = self.sound.findings
        if findings.damage:
            raise DamagedError(
                f"{self.name}: {findings.summary()}; the rest is transcribed, {findings.damage[0].remedy}"
            )


@contextmanager
def survey(path: str, part: Part = WHOLE, quiet: bool = False) -> Iterator[Recording]:
    """Open what is named and read it through, which costs little beside hearing it: a bad file is told at once.

    Raises InputError.
    """
    name = display_name(path)
    with opened(path, quiet) as file:
        sound = audio.survey(file, name, part)
        yield Recording(name, audio.duration(sound, part), part, file, sound)
