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
    configure('model = "e4b"\nassistant = "off"\ndevice = "cpu"\ndtype = "float32"\nquantize = "int8"\n')
    assert load_config() == Config("e4b", "off", "cpu", "float32", "int8")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('modle = "e2b"', "unknown key 'modle'; did you mean model"),
        ('colour = "red"', "unknown key 'colour'; model, assistant, device, dtype, quantize are known"),
        ("model = 3", "model must be text in quotes"),
        ('model = ""', "model must be text in quotes"),
        ('dtype = "float16"', "unknown dtype 'float16'; auto, float32, bfloat16"),
        ('quantize = "int2"', "unknown quantize 'int2'; int8, int4 are known"),
        ("model = 1 2", "not TOML.*line 1"),
        ("\udcff", r"cannot be read \(not UTF-8\)"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(content, complaint):
    configure(content)
    with pytest.raises(UsageError, match=rf"config\.toml: {complaint}") as caught:
        load_config()
    assert "\n" not in str(caught.value)


def test_a_directory_in_its_place():
    config_file().mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be read"):
        load_config()
