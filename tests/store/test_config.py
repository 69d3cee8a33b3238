import faulthandler
import os

import pytest

from gemma_cli.core.errors import UsageError
from gemma_cli.store.config import Config, load_config
from gemma_cli.store.paths import config_file


def configure(content):
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_bytes(content.encode("utf-8", "surrogateescape"))


def test_no_file_is_no_settings(home):
    assert config_file() == home / "config" / "gemma-cli" / "config.toml"
    assert load_config() == Config()


def test_settings_are_read():
    configure(
        'model = "e4b"\ntop-k = 3\ntemperature = 1\ndraft-tokens = "auto"\nthink = true\ntool = ["a.py:f"]\n'
        '[presets.brief]\ndescription = "One word."\nmax-tokens = 8\n'
    )
    values = {"model": "e4b", "top-k": 3, "temperature": 1.0, "draft-tokens": None, "think": True, "tool": ("a.py:f",)}
    assert load_config() == Config(None, values, {"brief": {"max-tokens": 8}}, {"brief": "One word."})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('modle = "e2b"', "unknown key 'modle'; did you mean model"),
        ('colour = "red"', "unknown key 'colour'; gemma config lists the keys"),
        ("draft_tokens = 2", "unknown key 'draft_tokens'; did you mean draft-tokens"),
        ("[presets.a]\ndraft_tokens = 2", "unknown key 'presets.a.draft_tokens'; did you mean draft-tokens"),
        ("[presets.a]\ntop-p = 2", "presets.a.top-p = 2: top-p takes a number from 0 to 1"),
        ("[presets.a]\ndescription = 2", "presets.a.description must be text"),
        ("presets = 2", "presets must contain tables"),
        ("[presets]\na = 2", "presets must contain tables"),
        ("model = 3", "model = 3: model takes text in quotation marks"),
        ('model = ""', "model = '': model takes text in quotation marks"),
        ('dtype = "float8"', "dtype = 'float8': dtype takes one of auto, float32, bfloat16, float16"),
        ('quantize = "int2"', "quantize = 'int2': quantize takes one of int8, int4"),
        ("model = 1 2", "not TOML.*line 1"),
        ("seed = 1979-05-27", "seed = datetime.date.*: seed takes a whole number from 0 to 4294967295, or random"),
        ("\udcff", r"the file cannot be read \(not UTF-8\)"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(content, complaint):
    configure(content)
    with pytest.raises(UsageError, match=rf"config\.toml: {complaint}") as caught:
        load_config()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "endless device", "loop", "below a file"])
def test_what_is_no_file_in_its_place(kind, tmp_path):
    config_file().parent.mkdir(parents=True)
    match kind:
        case "folder":
            config_file().mkdir()
        case "pipe":
            os.mkfifo(config_file())
        case "device":
            config_file().symlink_to("/dev/tty")
        case "endless device":
            config_file().symlink_to("/dev/zero")
        case "loop":
            config_file().symlink_to(config_file())
        case _:
            config_file().parent.rmdir()
            config_file().parent.touch()
    faulthandler.dump_traceback_later(60, exit=True)  # a pipe would be waited for for ever
    try:
        with pytest.raises(UsageError, match=r"config\.toml: the file cannot be read \(") as caught:
            load_config()
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert "\n" not in str(caught.value)


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "elsewhere.toml").write_text('model = "e2b"')
    config_file().parent.mkdir(parents=True)
    config_file().symlink_to(tmp_path / "elsewhere.toml")
    assert load_config().values == {"model": "e2b"}
