"""Subtitle and data files with random oddities: an engine that returns the words unchanged changes nothing else."""

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
from tests.text.timed import odd_files
from tests.text.values import odd_data

PROMISE = (
    "translating subtitles and data changes nothing but their words: unchanged words give the same file, byte for "
    "byte, in PO and XLIFF with the missing translations filled in"
)

FILES = 500
"""Files of each format at scale 1."""

KINDS = (*odd_files.FORMATS, *odd_data.FORMATS)


def trial(scale: float) -> Outcome:
    """Translate folders of files of each format with `gemma translate`, and compare each with what it should be."""
    count = max(1, round(FILES * scale))
    failures: list[str] = []
    requests = 0
    for kind in KINDS:
        failed, asked = of_format(kind, range(count))
        failures += failed
        requests += asked
    return Outcome(count * len(KINDS), failures, f"{len(KINDS)} formats, {requests} requests.")


def of_format(kind: str, numbers: range) -> tuple[list[str], int]:
    """Translate the files of a format with these numbers. Returns the failures and how often the engine was asked."""
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        files = {f"{number:04}.{kind}": _file(kind, random.Random(f"{kind}{number}")) for number in numbers}
        for name, (before, _) in files.items():
            (source / name).write_bytes(before)
        engine = WordEngine()
        arguments = [part for field in odd_data.FIELDS.get(kind, ()) for part in ("--field", field)]
        naming = ("-o", str(target), "--output-template", "{stem}.{format}")
        errors = _translate(engine, str(source), "--to", "en", *naming, *arguments)
        for name, (before, after) in files.items():
            written = target / name
            if not written.exists():
                failures.append(f"{name}: not written; {errors[-300:]}")
            elif written.read_bytes() != after:
                failures.append(f"{name}: {before!r} became {written.read_bytes()!r}")
        return failures, len(engine.requests)


def _file(kind: str, dice: random.Random) -> tuple[bytes, bytes]:
    """A file, and what it becomes."""
    if kind in odd_data.FORMATS:
        return odd_data.odd_data(kind, dice)
    content = odd_files.odd_file(kind, dice)
    return content, content


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
