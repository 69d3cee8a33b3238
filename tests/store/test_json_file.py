"""JSON files that a stranger wrote: read within bounds, or refused in one line that names the file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gemma_cli.core.errors import ModelError
from gemma_cli.store.json_file import DEEPEST, LIMIT, read_bytes, read_object, read_text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def nested(levels: int, opening: str, closing: str) -> str:
    return '{"a":' + opening * levels + "1" + closing * levels + "}"


def test_an_object_is_read(path: Path) -> None:
    path.write_text('{"a": [1, 2.5, true, null, "ä"], "b": {"c": NaN}}', encoding="utf-8")
    values = read_object(path)
    assert values is not None
    assert values["a"] == [1, 2.5, True, None, "ä"]
    assert values["b"]["c"] != values["b"]["c"]


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_object(tmp_path / "none.json") is None
    assert read_text(tmp_path / "none" / "none.txt", 1) is None


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"[]", "has no JSON object"),
        (b"5", "has no JSON object"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8 text"),
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' occurs twice in an object"),
        (b'{"x": {"%s": 1, "%s": 2}}' % (b"k" * 10**6, b"k" * 10**6), f"the key '{'k' * 60}' occurs twice"),
        (nested(200_000, "[", "]").encode(), "is nested more than 64 levels deep"),
        (nested(200_000, '{"a":', "}").encode(), "is nested more than 64 levels deep"),
        (nested(DEEPEST, "[", "]").encode(), "is nested more than 64 levels deep"),
        (b'{"a": "' + b"x" * LIMIT + b'"}', "has more than 4 MiB"),
    ],
)
def test_anything_else_is_refused_in_one_short_line(path: Path, content: bytes, fact: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_object(path)
    message = str(caught.value)
    assert fact in message
    assert message.startswith(str(path))
    assert message.endswith("; download the checkpoint again")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 200


def test_nesting_is_allowed_up_to_there(path: Path) -> None:
    path.write_text(nested(DEEPEST - 1, "[", "]"))
    assert read_object(path) is not None


def test_a_whole_number_of_any_length_is_read(path: Path) -> None:
    """Python refuses 4,301 digits, and with them a file whose other fields are fine."""
    path.write_text(f'{{"short": -12, "forty": {"9" * 40}, "long": {"9" * 41}, "huge": -{"9" * 5000}}}')
    assert read_object(path) == {"short": -12, "forty": int("9" * 40), "long": 1e41, "huge": float("-inf")}


def test_a_key_that_stands_twice_is_found_at_once_among_many(path: Path) -> None:
    path.write_text("{" + ",".join(f'"{i}":0' for i in range(100_000)) + ',"99999":0}')
    began = time.process_time()
    with pytest.raises(ModelError, match="the key '99999' occurs twice"):
        read_object(path)
    assert time.process_time() - began < 3


def test_a_pipe_does_not_block(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ModelError, match="is not a regular file, but a pipe or a device"):
        read_object(path)


def test_a_device_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a regular file"):
        read_bytes(Path("/dev/zero"), 10)
    with pytest.raises(ModelError, match="cannot be read"):
        read_bytes(tmp_path, 10)
    with pytest.raises(ModelError, match="cannot be read"):
        read_bytes(tmp_path / ("x" * 300), 10)
    with pytest.raises(ModelError, match="cannot be read"):
        read_bytes(tmp_path / "a\0b", 10)


def test_a_terabyte_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match="has more than 4 MiB"):
        read_object(path)
