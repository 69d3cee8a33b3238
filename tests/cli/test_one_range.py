"""A value is accepted and means the same wherever it is set: by an option, config.toml, or /set in a chat."""

from __future__ import annotations

import inspect
import json
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.common.options import settings_of
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import Drafting, Sampling
from gemma_cli.core.setting import ENGINES
from gemma_cli.core.setting_kinds import Number, Switch, Whole
from gemma_cli.core.settings import SETTINGS
from gemma_cli.repl.settings import KNOBS, Settings, changed
from gemma_cli.store.config import parsed
from tests.cli.test_options import functions_of

REFUSED = object()
NUMBERS = [name for name, setting in SETTINGS.items() if isinstance(setting.kind, Number | Whole)]
TEXTS = st.one_of(
    st.integers(-3, 20).map(str),
    st.sampled_from(["0", "1", "0.5", "-0.1", "1.5", "100", "101", "1e400", "nan", "inf", "262144", "262145"]),
    st.sampled_from(["4294967295", "4294967296", "70", "140", "71", "auto", "random", "none", "true", ""]),
    st.floats(-2, 200).map(repr),
)


@cache
def command(name: str) -> Any:
    app = import_module(f"gemma_cli.commands.{name.replace('-', '_')}").app
    return typer.main.get_command(app)


def by_option(name: str, text: str) -> object:
    setting = SETTINGS[name]
    arguments = [] if setting.commands[0] == "bench" else ["a.wav"]
    try:
        made = command(setting.commands[0]).make_context("gemma", [f"--{name}", text, *arguments])
    except typer.TyperException:
        return REFUSED
    return made.params[setting.field]


def by_file(name: str, text: str) -> object:
    try:
        tomllib.loads(f"a = {text}")
        literal = text
    except tomllib.TOMLDecodeError:
        literal = json.dumps(text)
    try:
        return parsed(f"{name} = {literal}", Path("config.toml")).values[name]
    except UsageError:
        return REFUSED


def by_text(name: str, text: str) -> object:
    """As `gemma config set` and an environment variable have it."""
    try:
        return SETTINGS[name].parse(text)
    except UsageError:
        return REFUSED


@pytest.mark.parametrize("name", NUMBERS)
@settings(max_examples=12, deadline=None)
@given(text=TEXTS)
def test_one_range_wherever_a_value_is_set(name: str, text: str) -> None:
    expected = by_text(name, text)
    assert by_option(name, text) == expected
    assert by_file(name, text) == expected
    if name in KNOBS:
        before = Settings(Sampling(seed=5), Drafting())
        try:
            after = changed(before, name, text)
        except UsageError:
            assert expected is REFUSED
        else:
            value = KNOBS[name].get(after)
            assert expected is not REFUSED
            assert value == expected or expected is None


@pytest.mark.parametrize("name", ENGINES)
def test_each_command_takes_the_settings_that_the_table_says(name: str) -> None:
    (function,) = functions_of(import_module(f"gemma_cli.commands.{name.replace('-', '_')}").app)
    taken = settings_of(inspect.signature(function, eval_str=True).parameters.values())
    assert {setting.name for setting in taken.values()} == {
        setting.name for setting in SETTINGS.values() if name in setting.commands
    }
    for parameter, setting in taken.items():
        default = inspect.signature(function).parameters[parameter].default
        assert default == setting.default, setting.name
        assert parameter == setting.field


def test_gemma_config_takes_every_setting() -> None:
    from gemma_cli.commands import config

    taken = settings_of(inspect.signature(config.config, eval_str=True).parameters.values())
    assert sorted(setting.name for setting in taken.values()) == sorted(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_a_default_is_in_its_own_range(setting: Any) -> None:
    if setting.default is not None:
        assert setting.check(setting.default) == setting.default
    else:
        assert setting.unset
    if isinstance(setting.kind, Switch):
        assert "/" in setting.options[0]
