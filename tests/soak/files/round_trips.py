"""Subtitle files with random oddities: an engine that returns the words unchanged gives the same file."""

from __future__ import annotations

import contextlib
import io
import os
import random
import tempfile
from pathlib import Path
from unittest import mock

from gemma_cli.cli import run
from gemma_cli.common import opening
from tests.soak.outcome import Outcome
from tests.speech.words import WordEngine
from tests.text.timed.odd_files import FORMATS, odd_file

PROMISE = "translating a subtitle file changes nothing but its words: unchanged words give the same file, byte for byte"

FILES = 500
"""Files of each format at scale 1."""


def trial(scale: float) -> Outcome:
    """Translate folders of files of each format with `gemma translate`, and compare each file with its translation."""
    count = max(1, round(FILES * scale))
    failures: list[str] = []
    cues = 0
    for kind in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in"), Path(folder, "out")
            source.mkdir()
            originals = {
                f"{number:04}.{kind}": odd_file(kind, random.Random(f"{kind}{number}")) for number in range(count)
            }
            for name, content in originals.items():
                (source / name).write_bytes(content)
            engine = WordEngine()
            errors = _translate(
                engine, str(source), "--to", "en", "-o", str(target), "--output-template", "{stem}.{format}"
            )
            cues += len(engine.requests)
            for name, content in originals.items():
                written = target / name
                if not written.exists():
                    failures.append(f"{name}: not written; {errors[-300:]}")
                elif written.read_bytes() != content:
                    failures.append(f"{name}: {content!r} became {written.read_bytes()!r}")
    return Outcome(count * len(FORMATS), failures, f"{len(FORMATS)} formats, {cues} requests.")


def _translate(engine: WordEngine, *arguments: str) -> str:
    errors = io.StringIO()
    environment = {"GEMMA_MODEL": "pocket", "HOME": tempfile.gettempdir()}
    with (
        mock.patch.object(opening, "open_engine", return_value=engine),
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stderr(errors),
    ):
        run(["translate", *arguments])
    return errors.getvalue()
