"""`sample:NAME` is a file name wherever a file is read, and nothing outside the samples can be reached by it."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from gemma_cli.common.attachments import attachment
from gemma_cli.common.text_input import read_text
from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import Audio, Image, Text
from gemma_cli.media import samples
from gemma_cli.media.files import open_input
from gemma_cli.media.input_files import sound_files
from gemma_cli.repl.line.mentions import mentions
from gemma_cli.repl.line.parse import Dropped, parse

KINDS = {".wav": Audio, ".png": Image, ".txt": Text, ".py": Text}


def test_all_samples_are_listed() -> None:
    assert {PurePath(name).suffix for name in samples.names()} == set(KINDS)


@pytest.mark.parametrize("name", samples.names())
def test_a_sample_is_read_like_the_file_itself(name: str) -> None:
    with open_input(f"sample:{name}") as file:
        assert file.read() == (samples.FOLDER / name).read_bytes()
    part = attachment(f"sample:{name}")
    assert isinstance(part, KINDS[PurePath(name).suffix])
    assert getattr(part, "name", f"sample:{name}") == f"sample:{name}"


def test_files_made_of_a_sample_have_its_name() -> None:
    (found,) = sound_files(["sample:number-347.wav"])
    assert (found.path, found.relative) == ("sample:number-347.wav", PurePath("number-347.wav"))


@pytest.mark.parametrize(
    "name", ["", "none.png", "../__init__.py", "SHAPES.PNG", ".", "shapes.png/", "__pycache__", "\0"]
)
def test_an_unknown_sample_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown sample; choose one of cat\.en\.wav, .*tools\.py"):
        open_input(f"sample:{name}").__enter__()
    assert not samples.is_file(f"sample:{name}")


def test_a_file_of_that_name_is_reached_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sample:notes.de.txt").write_text("mine")
    assert read_text("./sample:notes.de.txt") == "mine"
    assert "Guten Morgen" in read_text("sample:notes.de.txt")


def test_a_message_in_a_chat_mentions_samples() -> None:
    assert [found.paths for found in mentions("What is in @sample:star.png?")] == [("sample:star.png",)]
    assert [found.paths for found in mentions("Describe sample:star.png.")] == [("sample:star.png",)]
    assert not mentions("Describe sample:none.png.")
    assert parse("sample:star.png") == Dropped(("sample:star.png",))
