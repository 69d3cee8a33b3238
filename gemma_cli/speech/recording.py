"""A sound file of any length: checked completely when opened, then read in segments."""

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
    """A source of segments: a recording or a microphone."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    def pieces(self) -> Iterator[Piece]:
        """Yield the segments in order. Raises InputError."""


@dataclass(frozen=True)
class Recording:
    """An open sound file. duration_s: of the selected part."""

    name: str
    duration_s: float
    part: Part
    file: BinaryIO
    sound: Sound

    def pieces(self) -> Iterator[Piece]:
        """Yield its segments of speech. Raises InputError."""
        return audio.speech(self.sound, self.part)

    def digest(self) -> str:
        """sha-256 of the file's bytes."""
        self.file.seek(0)
        digest = hashlib.sha256()
        while chunk := self.file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()

    def remark(self) -> None:
        """Print remarks about the file on stderr, such as the chosen sound track."""
        for remark in self.sound.findings.remarks:
            notice(f"{self.name}: {remark}")

    def check_whole(self) -> None:
        """Raise DamagedError where part of the file could not be read; the rest has been written by now."""
        findings = self.sound.findings
        if findings.damage:
            raise DamagedError(
                f"{self.name}: {findings.summary()}; only the undamaged parts are transcribed; "
                f"{findings.damage[0].remedy}"
            )


@contextmanager
def survey(path: str, part: Part = WHOLE, quiet: bool = False) -> Iterator[Recording]:
    """Open an input and read it through, so that a bad file is reported at once; that costs little compared with
    transcribing it.

    Raises InputError.
    """
    name = display_name(path)
    with opened(path, quiet) as file:
        sound = audio.survey(file, name, part)
        yield Recording(name, audio.duration(sound, part), part, file, sound)
