"""What pays is remembered from run to run, and nothing goes wrong where it cannot be."""

from __future__ import annotations

import faulthandler
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemma_cli.core.engine import EngineInfo
from gemma_cli.engines.local import device
from gemma_cli.engines.local.decoding.draft_length import AdaptiveDraftLength, to_json
from gemma_cli.engines.local.decoding.draft_length_file import VERSION, SavedDraftLength
from tests.engines.decoding.test_draft_length import run

INFO = EngineInfo("me/secret-project", "me/secret-project-assistant", "cpu", "float32", 2048, frozenset())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def learned(kept: SavedDraftLength) -> None:
    run(kept.pace, 0.9, lambda k: 1.0 + 0.1 * k, rounds=50)
    kept.replied()


def test_the_next_run_begins_where_this_one_ended(cache: Path) -> None:
    kept = SavedDraftLength.of(INFO)
    assert kept.pace == AdaptiveDraftLength()
    learned(kept)
    again = SavedDraftLength.of(INFO)
    assert again.pace.seconds == kept.pace.seconds
    assert 0 < again.pace.tries[0] < kept.pace.tries[0], "what it remembers counts less than what it will see"
    assert SavedDraftLength.of(replace(INFO, dtype="bfloat16")).pace == AdaptiveDraftLength()
    assert SavedDraftLength.of(replace(INFO, assistant="another")).pace == AdaptiveDraftLength()
    assert [path.name for path in cache.rglob("*.part")] == []


def test_no_name_is_kept(cache: Path) -> None:
    kept = SavedDraftLength.of(INFO)
    learned(kept)
    assert "secret" not in str(kept.file) + kept.file.read_text()


def test_it_is_written_less_and_less_often(cache: Path) -> None:
    kept = SavedDraftLength.of(INFO)
    written = []
    for reply in range(1, 20):
        kept.replied()
        if kept.file.exists():
            written.append(reply)
            kept.file.unlink()
    assert written == [1, 2, 4, 8, 16]


GOOD = json.loads(json.dumps({"version": VERSION, **to_json(AdaptiveDraftLength())}))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        b"\xff\xfe",
        GOOD | {"version": VERSION - 1, "tries": [1.0] * 8},
        GOOD | {"version": None, "tries": [1.0] * 8},
        GOOD | {"seconds": [0.1]},
        GOOD | {"seconds": ["fast"] * 9},
        GOOD | {"seconds": [0.0] * 9},
        GOOD | {"seconds": [float("nan")] * 9},
        GOOD | {"seconds": [float("inf")] * 9},
        GOOD | {"seconds": 3},
        GOOD | {"hits": [None] * 8, "tries": [1.0] * 8},
        GOOD | {"hits": [1.5] * 8, "tries": [1.0] * 8},
        GOOD | {"hits": [-1.0] * 8, "tries": [1.0] * 8},
        GOOD | {"tries": [True] * 8},
        GOOD | {"tries": {"0": 1.0}},
        GOOD | {"rounds_to_probe": 10**9, "tries": [1.0] * 8},
        GOOD | {"no such": 1},
    ],
)
def test_what_cannot_be_used_is_forgotten(cache: Path, content: Any) -> None:
    kept = SavedDraftLength.of(INFO)
    kept.file.parent.mkdir(parents=True)
    text = json.dumps(content) if isinstance(content, dict) else content
    kept.file.write_bytes(text if isinstance(text, bytes) else text.encode())
    again = SavedDraftLength.of(INFO)
    assert again.pace == AdaptiveDraftLength()
    learned(again)
    assert SavedDraftLength.of(INFO).pace.seconds == again.pace.seconds


def test_a_folder_that_cannot_be_written_to_is_no_matter(cache: Path) -> None:
    (cache / "gemma-cli").write_text("in the way")
    kept = SavedDraftLength.of(INFO)
    learned(kept)
    assert kept.pace != AdaptiveDraftLength()
    assert SavedDraftLength.of(INFO).pace == AdaptiveDraftLength()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_in_its_place_is_not_waited_for(cache: Path, kind: str) -> None:
    """Neither for what was learned about drafting nor for whether bfloat16 works."""
    for file in (SavedDraftLength.of(INFO).file, cache / "bfloat16.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        match kind:
            case "pipe":
                os.mkfifo(file)
            case "folder":
                file.mkdir()
            case _:
                file.symlink_to("/dev/zero")
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        kept = SavedDraftLength.of(INFO)
        assert kept.pace == AdaptiveDraftLength()
        learned(kept)
        assert device._read(cache / "bfloat16.json") == {}
        device._write(cache / "bfloat16.json", {"here": "works"})
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("text", ["[]", "5", '{"here": 5}', '{"here": ["works"]}', '{"here": null}', "[" * 200_000])
def test_a_verdict_that_is_none_is_not_believed(cache: Path, text: str) -> None:
    (cache / "bfloat16.json").write_text(text)
    assert device._read(cache / "bfloat16.json") == {}
