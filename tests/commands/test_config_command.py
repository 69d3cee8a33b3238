"""`gemma config`: what holds and where it comes from, and a file that is changed key by key."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gemma_cli.commands import config
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.core.settings import SETTINGS
from gemma_cli.store.config_edit import set_key, unset_key

CONTENT = """\
# my settings
temperature = 0.5  # warm

model = 'e4b' # the large one
assistant = "off"

[presets.brief]  # short
description = "One word."
top-k = 3
system = "@brief.md"
tool = ["tools.py:f", "/opt/tools.py:g"]

[presets.other]
model = "12b"
assistant = "mine"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for setting in SETTINGS.values():
        monkeypatch.delenv(setting.variable or "GEMMA", raising=False)
    path = tmp_path / "gemma-cli" / "config.toml"
    path.parent.mkdir()
    path.write_text(CONTENT)
    return path


def run(*arguments: str, env: dict[str, str] | None = None) -> str:
    done = CliRunner().invoke(config.app, arguments, env=env)
    if isinstance(done.exception, GemmaError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def shown(*arguments: str, env: dict[str, str] | None = None) -> dict[str, tuple[Any, str]]:
    found = json.loads(run(*arguments, "--json", env=env))["settings"]
    return {name: (row["value"], row["source"]) for name, row in found.items()}


def test_each_value_has_its_source(file: Path) -> None:
    env = {"GEMMA_TOP_K": "5", "GEMMA_TOP_P": "0.5", "GEMMA_TEMPERATURE": "2"}
    held = shown("--preset", "brief", "--top-p", "0.25", env=env)
    assert held["top-p"] == (0.25, "option")
    assert held["top-k"] == (3, "preset")
    assert held["temperature"] == (2.0, "environment")
    assert held["model"] == ("e4b", "config.toml")
    assert held["max-tokens"] == (None, "default")
    assert shown(env=env)["top-k"] == (5, "environment")


@pytest.mark.parametrize("variable", ["CI", "AI_AGENT"])
def test_where_no_person_reads_along_it_is_quiet(file: Path, variable: str) -> None:
    assert shown()["quiet"] == (False, "default")
    assert shown(env={variable: "true"})["quiet"] == (True, "environment")
    assert f"environment {variable}" in run("explain", "quiet", env={variable: "1"})
    assert shown(env={variable: "false"})["quiet"] == (False, "default")
    assert shown("--no-quiet", env={variable: "1"})["quiet"] == (False, "option")
    file.write_text("quiet = false\n")
    assert shown(env={variable: "1"})["quiet"] == (False, "config.toml")


def test_auto_on_the_command_line_overrules_a_number_in_the_file(file: Path) -> None:
    file.write_text("draft-tokens = 2\nthink = true\n")
    assert shown()["draft-tokens"] == (2, "config.toml")
    assert shown("--draft-tokens", "auto")["draft-tokens"] == (None, "option")
    assert shown("--no-think")["think"] == (False, "option")


def test_files_are_looked_for_beside_the_configuration(file: Path) -> None:
    held = shown("--preset", "brief")
    assert held["system"] == (f"@{file.parent}/brief.md", "preset")
    assert held["tool"] == ([f"{file.parent}/tools.py:f", "/opt/tools.py:g"], "preset")


def test_the_drafter_of_a_preset_belongs_to_its_model(file: Path) -> None:
    assert shown("--preset", "other")["assistant"] == ("mine", "preset")
    assert shown("--preset", "other", "--model", "pocket")["assistant"] == (None, "default")


def test_an_unknown_preset_is_refused_with_the_nearest(file: Path) -> None:
    with pytest.raises(UsageError, match="no preset is named 'brif': did you mean brief"):
        run("--preset", "brif")
    file.unlink()
    with pytest.raises(
        UsageError, match=r"config.toml has no presets; to add the preset, write a table \[presets.brief\]"
    ):
        run("--preset", "brief")


def test_one_setting_is_explained_with_every_way_to_set_it(file: Path) -> None:
    told = run("explain", "top_k", env={"GEMMA_TOP_K": "7"})
    for words in ("whole number from 0 to 262144", "64", "7 (environment GEMMA_TOP_K)", "--top-k", "/set top-k"):
        assert words in told
    with pytest.raises(UsageError, match="did you mean temperature"):
        run("explain", "temp")


def test_what_is_set_stands_in_the_file_and_comments_stay(file: Path) -> None:
    run("set", "temperature", "0.75")
    run("set", "presets.brief.top-k", "4")
    run("set", "presets.new.system", "Kurz.")
    run("set", "allow-tool", "add, now")
    run("set", "seed", "random")
    text = file.read_text()
    for line in (
        "# my settings",
        "temperature = 0.75  # warm",
        "model = 'e4b' # the large one",
        "[presets.brief]  # short",
    ):
        assert line in text
    held = tomllib.loads(text)
    assert (held["presets"]["brief"]["top-k"], held["presets"]["new"], held["seed"]) == (
        4,
        {"system": "Kurz."},
        "random",
    )
    assert held["allow-tool"] == ["add", "now"]


def test_what_is_unset_has_gone_and_nothing_else(file: Path) -> None:
    run("unset", "temperature")
    run("unset", "presets.other")
    run("unset", "presets.brief.top_k")
    held = tomllib.loads(file.read_text())
    wanted = tomllib.loads(CONTENT)
    del wanted["temperature"], wanted["presets"]["other"], wanted["presets"]["brief"]["top-k"]
    assert held == wanted


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["set", "temperature", "200"], "'200': temperature takes a number from 0 to 100"),
        (["set", "temprature", "1"], "did you mean temperature"),
        (["set", "presets.brief", "1"], "name a setting of the preset"),
        (["set", "presets", "1"], "lacks the name of a preset"),
        (["set", "presets..top-k", "1"], "lacks the name of a preset"),
        (["unset", "top-p"], "top-p is not set in .*config.toml"),
        (["unset", "presets.nobody"], "is not set"),
        (["unset", "presets.nobody.top-k"], "is not set"),
    ],
)
def test_what_cannot_be_set_changes_nothing(file: Path, arguments: list[str], complaint: str) -> None:
    with pytest.raises((UsageError, InputError), match=complaint):
        run(*arguments)
    assert file.read_text() == CONTENT


def test_a_file_that_is_wrong_is_not_written_to(file: Path) -> None:
    file.write_text("temprature = 1\n")
    with pytest.raises(UsageError, match="unknown key 'temprature'"):
        run("set", "temperature", "1")
    assert file.read_text() == "temprature = 1\n"


def test_a_file_is_made_where_there_is_none(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()
    run("set", "presets.brief.max-tokens", "8")
    assert tomllib.loads(file.read_text()) == {"presets": {"brief": {"max-tokens": 8}}}


def test_a_link_stays_one(file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles.toml"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    run("set", "top-k", "9")
    assert file.is_symlink()
    assert tomllib.loads(elsewhere.read_text())["top-k"] == 9


VALUES = {
    "temperature": ["0", "0.5", "100"],
    "seed": ["1", "random"],
    "think": ["on", "off"],
    "tool": ["a.py:f,b.py:g"],
}
WHERE = ("", "presets.brief.", "presets.a b.")
CHANGES = st.lists(
    st.sampled_from([(f"{where}{name}", text) for name in VALUES for where in WHERE for text in (*VALUES[name], None)]),
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_any_changes_leave_a_file_that_says_so(file: Path, changes: list[tuple[str, str | None]]) -> None:
    file.write_text(CONTENT)
    wanted = tomllib.loads(CONTENT)
    for key, text in changes:
        where, _, name = key.rpartition(".")
        table = wanted["presets"].setdefault(where.removeprefix("presets."), {}) if where else wanted
        if text is not None:
            set_key(key, text)
            value = SETTINGS[name].parse(text)
            table[name] = list(value) if isinstance(value, tuple) else text if value is None else value
        elif name in table:
            unset_key(key)
            del table[name]
        else:
            with pytest.raises(InputError):
                unset_key(key)
    wanted["presets"] = {name: values for name, values in wanted["presets"].items() if values}
    written = tomllib.loads(file.read_text())
    written["presets"] = {name: values for name, values in written["presets"].items() if values}
    assert written == wanted
    for comment in ("# my settings", "# the large one", "# short"):
        assert comment in file.read_text()
