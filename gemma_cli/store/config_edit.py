"""Changes to config.toml: one key at a time; comments and layout are preserved."""

from __future__ import annotations

from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.setting_kinds import Value
from gemma_cli.core.settings import setting_named
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.bounded_read import read_text
from gemma_cli.store.config import DESCRIPTION, PRESETS, load_config, parsed
from gemma_cli.store.paths import config_file


def set_key(key: str, text: str) -> None:
    """Write the value of a setting, or of presets.NAME.SETTING. Raises GemmaError."""
    preset, name = _parts(key)
    if name is None:
        raise UsageError(f"{key} is a preset: name a setting of the preset, for example {key}.temperature")
    document = _document()
    table = document
    if preset:
        presets = document.setdefault(PRESETS, tomlkit.table(is_super_table=True))
        table = presets.setdefault(preset, tomlkit.table())
    if name == DESCRIPTION:
        table[name] = text
    else:
        setting = setting_named(name)
        value = setting.parse(text)
        table[setting.name] = text if value is None else _toml(value)
    _write(document)


def unset_key(key: str) -> None:
    """Remove a setting, presets.NAME or presets.NAME.SETTING. Raises GemmaError where it is not set."""
    preset, name = _parts(key)
    document = _document()
    table = document
    if preset:
        table = document.get(PRESETS, {}).get(preset, {})
    if name is None:
        table, name = document.get(PRESETS, {}), preset
    elif name != DESCRIPTION:
        name = setting_named(name).name
    if name not in table:
        raise InputError(f"{key} is not set in {config_file()}: gemma config lists the settings")
    del table[name]
    _write(document)


def _parts(key: str) -> tuple[str, str | None]:
    """(preset, setting) of a key: "" for no preset, None for the preset itself. Raises UsageError."""
    if key != PRESETS and not key.startswith(f"{PRESETS}."):
        return "", key
    preset, dot, name = key.removeprefix(PRESETS).removeprefix(".").rpartition(".")
    if not dot:
        preset, name = name, ""
    if not preset:
        raise UsageError(f"{key} lacks the name of a preset: write {PRESETS}.NAME.SETTING")
    return preset, name or None


def _document() -> tomlkit.TOMLDocument:
    """Read the file, or an empty one if there is none. Raises UsageError for one that is wrong already."""
    load_config()
    try:
        return tomlkit.parse(read_text(config_file()))
    except FileNotFoundError:
        return tomlkit.document()
    except TOMLKitError as error:
        raise UsageError(f"{config_file()}: not TOML: {error}") from None


def _write(document: tomlkit.TOMLDocument) -> None:
    """Write the complete file, but never one that could not be read again. A link stays one."""
    path = Path(config_file()).resolve()
    text = tomlkit.dumps(document)
    parsed(text, path)
    write_whole(path, text)


def _toml(value: Value) -> object:
    return list(value) if isinstance(value, tuple) else value
