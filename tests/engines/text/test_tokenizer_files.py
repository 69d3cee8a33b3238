"""The tokenizer's files as strangers write them: one line that names file and field, never a hang or a panic."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma_cli.core.errors import ModelError
from gemma_cli.core.messages import Message, Request, Text
from gemma_cli.engines.local.text import tokenizer_files
from gemma_cli.engines.local.text.prompt import PromptWriter
from gemma_cli.engines.local.text.tokenizer import load_tokenizer
from gemma_cli.engines.local.text.tokenizer_files import SETTINGS, TEMPLATE, TOKENIZER, read_backend, read_settings

POCKET = Path(__file__).parents[3] / "gemma_cli" / "pocket" / "pocket"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (TOKENIZER, SETTINGS, TEMPLATE):
        shutil.copyfile(POCKET / name, tmp_path / name)
    return tmp_path


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads((folder / name).read_text())
    change(values)
    (folder / name).write_text(json.dumps(values))


BACKTRACKS = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Removed", "invert": False}
LONGER = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v.update(pre_tokenizer=BACKTRACKS), "pre_tokenizer must be"),
        (lambda v: v.update(normalizer=LONGER), "normalizer must be"),
        (lambda v: v.update(normalizer={"type": "Sequence", "normalizers": [LONGER] * 3}), "normalizer must be"),
        (lambda v: v.update(normalizer={"type": "NFC"}), "normalizer must be"),
        (lambda v: v.update(normalizer=5), "not a tokenizer of Gemma 4"),
        (lambda v: v.update(added_tokens={}), "not a tokenizer of Gemma 4"),
        (lambda v: v.update(model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}), "WordLevel, not BPE"),
        (lambda v: v["model"].update(dropout=0.5), "model.dropout is 0.5"),
        (lambda v: v["model"].update(dropout=7), "not a tokenizer of Gemma 4"),
        (lambda v: v["model"].update(unk_token="nope"), 'model.unk_token "nope" is not in'),
        (lambda v: v["model"].update(vocab=[]), "not a tokenizer of Gemma 4"),
        (lambda v: v["model"].update(merges=[["a", "no such token"]]), "not a tokenizer of Gemma 4"),
        (lambda v: v["model"].update(merges=[[]] * 5), "not a tokenizer of Gemma 4"),
        (lambda v: v["model"]["vocab"].update(a=-1), "not a tokenizer of Gemma 4"),
        (lambda v: v["model"]["vocab"].update(a=2**40), "not a tokenizer of Gemma 4"),
        (lambda v: v.pop("model"), "not a tokenizer of Gemma 4"),
    ],
)
def test_a_tokenizer_of_another_form_is_refused(folder: Path, change: Callable[[Any], Any], says: str) -> None:
    edit(folder, TOKENIZER, change)
    with pytest.raises(ModelError, match=says) as caught:
        load_tokenizer(folder)
    assert str(folder / TOKENIZER) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_many_small_values_is_not_parsed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_files, "MOST_VALUES", 1000)
    with pytest.raises(ModelError, match="the file has more than 1000 values"):
        read_backend(folder)


def test_a_pipe_in_place_of_a_file_does_not_block(folder: Path) -> None:
    for name in (TOKENIZER, SETTINGS, TEMPLATE):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(ModelError, match=rf"{name}: the file is not a regular file"):
            load_tokenizer(folder)
        (folder / name).unlink()
        shutil.copyfile(POCKET / name, folder / name)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("bos_token", 5, "bos_token is 5, but a string of 1 to 200 characters is required"),
        ("bos_token", "", 'bos_token is "", but a string'),
        ("eos_token", {"content": ["x"]}, r'eos_token\.content is \["x"\], but a string'),
        ("eos_token", {}, r"eos_token\.content is null, but a value is required"),
        ("sot_token", ["<|turn>"], r'sot_token is \["<|turn>"\], but an object is required'),
        ("model_specific_special_tokens", 5, "model_specific_special_tokens is 5, but an object is required"),
        ("model_specific_special_tokens", {"a": 1}, r"model_specific_special_tokens\.a is 1, but a string"),
        ("extra_special_tokens", 5, "extra_special_tokens is 5, but a list"),
        ("extra_special_tokens", ["a", None], r"extra_special_tokens\[1\] is null, but a string"),
        ("extra_special_tokens", ["a"] * 20_000, "extra_special_tokens is a list of 20000, but a list of 0 to 10000"),
        ("additional_special_tokens", {"a": "b"}, "additional_special_tokens is an object, but a list"),
        ("chat_template", 5, "chat_template is 5, but a string"),
        ("chat_template", {"default": "x"}, "chat_template is an object, but a string"),
        ("chat_template", [{"name": "default"}], r"chat_template\[0\]\.template is null"),
    ],
)
def test_a_setting_that_cannot_be_is_named(folder: Path, field: str, value: Any, says: str) -> None:
    edit(folder, SETTINGS, lambda values: values.update({field: value}))
    with pytest.raises(ModelError, match=rf"{SETTINGS}: {says}"):
        read_settings(folder)


def test_settings_that_say_something_else_are_left_alone(folder: Path) -> None:
    named = read_settings(folder).named
    more = {"add_bos_token": True, "num_image_token": 256, "cls_token": None, "model_max_length": 10**30}
    edit(folder, SETTINGS, lambda values: values.update(more))
    assert read_settings(folder).named == named


def test_named_tokens_in_the_older_form_are_named(folder: Path) -> None:
    edit(folder, SETTINGS, lambda values: values.update(extra_special_tokens={"image_token": {"content": "<img>"}}))
    settings = read_settings(folder)
    assert settings.named["image_token"] == "<img>"
    assert settings.extra == ()


def test_a_template_may_stand_in_the_settings(folder: Path) -> None:
    (folder / TEMPLATE).unlink()
    edit(folder, SETTINGS, lambda values: values.update(chat_template="{{ bos_token }}"))
    assert read_settings(folder).template == "{{ bos_token }}"
    both = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "y"}]
    edit(folder, SETTINGS, lambda values: values.update(chat_template=both))
    assert (read_settings(folder).template, read_settings(folder).template_file) == ("y", folder / SETTINGS)


def test_an_id_the_weights_do_not_have_is_refused_before_it_is_looked_up(folder: Path) -> None:
    """Its count of tokens fits, its ids do not."""
    edit(folder, TOKENIZER, lambda values: values["model"]["vocab"].update(H=3_000_000))
    writer = PromptWriter(
        load_tokenizer(folder, 2048), model="mine", context=100, modalities=frozenset({"image"}), vocab=2048
    )
    fine = Request((Message("user", (Text("a"),)),))
    assert writer.write(fine, lambda *_: 0).ids
    with pytest.raises(
        ModelError, match="mine: the tokenizer has token id 3000000, but the weights have only 2048 tokens"
    ):
        writer.write(Request((Message("user", (Text("H"),)),)), lambda *_: 0)
