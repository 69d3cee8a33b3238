"""Which files an index may name: those of its own folder, and in the Hugging Face cache the blobs they are links to."""

import json
import os
from pathlib import Path

import pytest

from gemma_cli.core.errors import ModelError, UsageError
from gemma_cli.store.models import hub
from gemma_cli.store.models.checkpoints import locate
from gemma_cli.store.models.shards import INDEX, MOST, SINGLE, weight_files


def write_index(folder: Path, *names: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).write_text(json.dumps({"weight_map": {f"t.{i}": name for i, name in enumerate(names)}}))


def test_without_an_index_there_is_one_file(tmp_path):
    assert weight_files(tmp_path) == [tmp_path / SINGLE]


def test_an_index_names_each_file_once(tmp_path):
    write_index(tmp_path, "b.safetensors", "a.safetensors", "b.safetensors", "part/c.safetensors")
    names = ["a.safetensors", "b.safetensors", "part/c.safetensors"]
    assert weight_files(tmp_path) == [tmp_path / name for name in names]


@pytest.mark.parametrize(
    "name",
    [
        *("../model.safetensors", "a/../../b.safetensors", "/etc/passwd", "..", ".", "", "a/..", "//host/share/a"),
        *("..\\a.safetensors", "C:\\a.safetensors", "C:a.safetensors", "a\0b", "a\nb", "x" * 201, "\ud800"),
        *(5, None, True, 1.5, ["a.safetensors"], {"a": "b"}),
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    write_index(tmp_path / "model", "a.safetensors", name)
    with pytest.raises(ModelError, match=r"weight_map\.t\.1 is .*, but must name a file in this folder") as caught:
        weight_files(tmp_path / "model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": []}'])
def test_an_index_that_names_nothing_is_refused(tmp_path, content):
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(ModelError, match="weight_map must be an object with names of files"):
        weight_files(tmp_path)


def test_no_more_files_are_named_than_can_be_open(tmp_path):
    write_index(tmp_path, *(f"{i}.safetensors" for i in range(MOST + 1)))
    with pytest.raises(ModelError, match="names 1025 files, more than the limit of 1024"):
        weight_files(tmp_path)


def test_the_blobs_of_the_cache_are_the_folders_own(tmp_path):
    repository = tmp_path / "hub" / "models--google--gemma"
    folder = repository / "snapshots" / "c0ffee"
    write_index(folder, "1.safetensors", "part/2.safetensors")
    (repository / "blobs").mkdir()
    (repository / "blobs" / "abc").write_bytes(b"x")
    (folder / "1.safetensors").symlink_to("../../blobs/abc")
    (folder / "part").mkdir()
    (folder / "part" / "2.safetensors").symlink_to("../../../blobs/abc")
    assert [file.read_bytes() for file in weight_files(folder)] == [b"x", b"x"]
    (tmp_path / "moved").symlink_to(tmp_path / "hub")
    weight_files(tmp_path / "moved" / "models--google--gemma" / "snapshots" / "c0ffee")
    write_index(tmp_path / "mine", "1.safetensors")
    (tmp_path / "mine" / "1.safetensors").symlink_to(folder / "1.safetensors")
    weight_files(tmp_path / "mine")


@pytest.mark.parametrize("name", ["1.safetensors", SINGLE])
@pytest.mark.parametrize("target", ["../secret", "blobs/secret", "/dev/zero", "1.safetensors", SINGLE])
def test_a_link_out_of_the_folder_is_refused(tmp_path, name, target):
    folder = tmp_path / "snapshots" / "c0ffee"
    if name != SINGLE:
        write_index(folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "secret").touch()
    (folder / name).symlink_to(target.replace("blobs", str(tmp_path / "blobs")))
    if target in ("1.safetensors", SINGLE) and target != name:
        assert weight_files(folder) == [folder / name]  # a link inside the folder, to a file that is missing
        return
    with pytest.raises(ModelError, match="is a link to a file outside the folder; replace the link"):
        weight_files(folder)


def test_a_local_folder_says_what_is_wrong_with_its_index(tmp_path):
    folder = tmp_path / "mine"
    write_index(folder, "../other/model.safetensors")
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"weight_map\.t\.0 is '\.\./other/model\.safetensors'"):
        locate(str(folder))
    write_index(folder, "missing.safetensors")
    with pytest.raises(UsageError, match="not a checkpoint"):
        locate(str(folder))


def test_a_cached_model_with_such_an_index_is_not_complete(cached):
    folder = cached("me/tuned")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert hub.find("me/tuned").model_type is None
    write_index(folder, "../x")
    assert not hub.find("me/tuned").complete
