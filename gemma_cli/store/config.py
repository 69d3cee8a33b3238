"""The configuration file: values for the settings, and presets, which are settings under one name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from gemma_cli.core.errors import UsageError
from gemma_cli.core.records import dataclass
from gemma_cli.core.setting_kinds import Value
from gemma_cli.core.settings import SETTINGS
from gemma_cli.store.bounded_read import read_text
from gemma_cli.store.paths import config_file

PRESETS = "presets"
DESCRIPTION = "description"
"""Key that only presets have."""

Values = Mapping[str, Value]
"""Values by the name of the setting; a missing name is not set."""


@dataclass(frozen=True)
class Config:
    """values: of the file itself; presets: by their names. descriptions: one line on a preset."""

    path: Path | None = field(default=None, compare=False)
    values: Values = field(default_factory=dict)
    presets: Mapping[str, Values] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """The value of a setting that is text."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def preset(self, name: str) -> Values:
        """Raises UsageError with the nearest there is."""
        if name in self.presets:
            return self.presets[name]
        where = f"{self.path or config_file()} has"
        if not self.presets:
            raise UsageError(
                f"no preset is named '{name}': {where} no presets; to add the preset, write a table [{PRESETS}.{name}]"
            )
        near = difflib.get_close_matches(name, self.presets, 1)
        remedy = f"did you mean {near[0]}?" if near else f"{where} the presets {', '.join(self.presets)}"
        raise UsageError(f"no preset is named '{name}': {remedy}")


def load_config(path: Path | None = None) -> Config:
    """The settings in `path`, by default the user's config.toml; no file is no settings.

    Raises UsageError naming the file and the key.
    """
    path = path or config_file()
    try:
        content = read_text(path)
    except FileNotFoundError:
        return Config(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: the file cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})"
        ) from None
    return parsed(content, path)


def parsed(content: str, path: Path) -> Config:
    """The settings in the text of a configuration file. Raises UsageError naming the file and the key."""
    import tomllib

    try:
        tables = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    presets = tables.pop(PRESETS, {})
    if not isinstance(presets, dict) or not all(isinstance(values, dict) for values in presets.values()):
        raise UsageError(f"{path}: {PRESETS} must contain tables, for example [{PRESETS}.brief]")
    descriptions = {name: _description(path, name, values) for name, values in presets.items()}
    return Config(
        path,
        _checked(path, "", tables),
        {name: _checked(path, f"{PRESETS}.{name}.", values) for name, values in presets.items()},
        descriptions,
    )


def _description(path: Path, name: str, values: dict[str, Any]) -> str:
    text = values.pop(DESCRIPTION, "")
    if not isinstance(text, str):
        raise UsageError(f"{path}: {PRESETS}.{name}.{DESCRIPTION} must be text in quotation marks")
    return text


def _checked(path: Path, where: str, table: Mapping[str, object]) -> Values:
    values: dict[str, Value] = {}
    for key, value in table.items():
        if key not in SETTINGS:
            raise UsageError(f"{path}: unknown key '{where}{key}'; {_remedy(key, bool(where))}")
        try:
            values[key] = SETTINGS[key].check(value)
        except UsageError as error:
            raise UsageError(f"{path}: {where}{key} = {value!r}: {error}") from None
    return values


def _remedy(key: str, in_preset: bool) -> str:
    known = [*SETTINGS, DESCRIPTION if in_preset else PRESETS]
    near = difflib.get_close_matches(key.replace("_", "-"), known, 1)
    return f"did you mean {near[0]}?" if near else "gemma config lists the keys"
