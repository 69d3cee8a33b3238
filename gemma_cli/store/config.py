"""The configuration file: defaults for the options every command shares."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from gemma_cli.core.errors import UsageError
from gemma_cli.store.bounded_read import read_text
from gemma_cli.store.paths import config_file

_NAMES = {"dtype": ("auto", "float32", "bfloat16"), "quantize": ("int8", "int4")}


@dataclass(frozen=True)
class Config:
    """None: not set. The meaning of each is that of the option of the same name (see engines.EngineSpec)."""

    model: str | None = None
    assistant: str | None = None
    device: str | None = None
    dtype: str | None = None
    quantize: str | None = None


def load_config(path: Path | None = None) -> Config:
    """The settings in `path`, by default the user's config.toml; no file is no settings.

    Raises UsageError naming the file and the key.
    """
    path = path or config_file()
    try:
        settings = tomllib.loads(read_text(path))
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    for key, value in settings.items():
        _check(path, key, value)
    return Config(**settings)


def _check(path: Path, key: str, value: object) -> None:
    known = [field.name for field in fields(Config)]
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"{', '.join(known)} are known"
        raise UsageError(f"{path}: unknown key {key!r}; {hint}")
    if not isinstance(value, str) or not value:
        raise UsageError(f'{path}: {key} must be text in quotes, as in {key} = "..."')
    if key in _NAMES and value not in _NAMES[key]:
        raise UsageError(f"{path}: unknown {key} {value!r}; {', '.join(_NAMES[key])} are known")
