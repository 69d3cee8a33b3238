"""Temporary files where there is no space for them: the folder is named, and how to choose another."""

from __future__ import annotations

import io
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gemma_cli.core.errors import GemmaError
from gemma_cli.media.files import open_input
from gemma_cli.media.spool import new_spool


@pytest.fixture
def full() -> Iterator[None]:
    """No file may grow beyond a page: as on a full disk, a small one may still be made."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(content), closed=False, isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)


@pytest.mark.parametrize("size", [4097, 100_000, 5_000_000])
def test_what_does_not_fit_is_told(full: None, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Whether it fails when it is written, or when the last of it is."""
    piped(monkeypatch, b"x" * size)
    expected = rf"^{tempfile.gettempdir()}: File too large; set TMPDIR"
    with pytest.raises(GemmaError, match=expected) as failure, open_input("-"):
        pass
    assert failure.value.exit_code == 1


def test_what_fits_is_read(full: None, monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, b"x" * 4096)
    with open_input("-") as file:
        assert file.read() == b"x" * 4096


def test_no_folder_for_temporary_files_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "nowhere")])
    with pytest.raises(GemmaError, match="TMPDIR"):
        new_spool()
