"""Options declared once: spread over a command line, gathered again, the same for every command that takes them."""

from __future__ import annotations

import inspect
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from gemma_cli.cli import COMMANDS
from gemma_cli.common.batch import Batch
from gemma_cli.common.options import EngineOptions, OutputOptions, SamplingOptions, grouped
from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import GemmaError, InputError, ModelError, UsageError
from gemma_cli.core.messages import Drafting, Sampling
from gemma_cli.repl.settings import KNOBS


def given(*arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What a command with all the groups gets for a command line."""
    got: dict[str, Any] = {}
    app = typer.Typer()

    @app.command()
    @grouped
    def command(
        file: Annotated[str, typer.Argument()],
        engine: EngineOptions,
        sampling: SamplingOptions,
        output: OutputOptions,
        twice: Annotated[bool, typer.Option("--twice")] = False,
    ) -> None:
        got.update(file=file, engine=engine, sampling=sampling, output=output, twice=twice)

    names = ("MODEL", "ASSISTANT", "SEED", "TEMPERATURE", "DTYPE", "QUANTIZE")
    unset = dict.fromkeys(f"GEMMA_{name}" for name in names)
    result = CliRunner().invoke(app, arguments, env=unset | (env or {}))
    if isinstance(result.exception, GemmaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return got


def test_groups_come_together_again() -> None:
    got = given("a.wav", "-m", "e2b", "--quantize", "int4", "--temperature", "0.5", "--seed", "3", "-q", "--twice")
    assert got["file"] == "a.wav"
    assert got["twice"] is True
    assert got["engine"].spec() == EngineSpec(model="e2b", quantize="int4")
    assert got["sampling"].sampling() == Sampling(temperature=0.5, seed=3)
    assert got["output"] == OutputOptions(quiet=True)


def test_defaults_are_those_of_the_contracts() -> None:
    got = given("a.wav")
    assert got["engine"].spec() == EngineSpec()
    assert got["engine"].drafting() == Drafting(adaptive=True)
    drawn = got["sampling"].sampling()
    assert drawn == Sampling(seed=drawn.seed)
    assert got["output"] == OutputOptions()


def test_a_length_that_is_given_is_kept() -> None:
    assert given("a.wav", "--draft-tokens", "6")["engine"].drafting() == Drafting(6)
    assert given("a.wav", "--draft-tokens", "0")["engine"].drafting() == Drafting(0)


def test_the_environment_sets_what_the_command_line_does_not() -> None:
    env = {"GEMMA_MODEL": "12b", "GEMMA_TEMPERATURE": "0.25"}
    got = given("a.wav", "--temperature", "0", env=env)
    assert got["engine"].model == "12b"
    assert got["sampling"].temperature == 0


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """In place of that of the person who runs the tests."""
    path = tmp_path / "config.toml"
    monkeypatch.setattr("gemma_cli.store.config.config_file", lambda: path)
    return path


def test_the_configuration_file_comes_last(configuration: Path) -> None:
    configuration.write_text('device = "cuda:1"\ndtype = "bfloat16"\n')
    assert given("a.wav")["engine"].spec() == EngineSpec(device="cuda:1", dtype="bfloat16")
    assert given("a.wav", "--device", "auto", "--dtype", "float32")["engine"].spec() == EngineSpec(dtype="float32")
    configuration.write_text("device = 1\n")
    with pytest.raises(UsageError, match="device"):
        given("a.wav")


def test_a_seed_is_drawn_where_none_is_given() -> None:
    assert SamplingOptions().sampling().seed != SamplingOptions().sampling().seed
    assert SamplingOptions(seed=0).sampling().seed == 0


def test_thinking_gets_more_room_unless_the_room_is_given() -> None:
    assert SamplingOptions().sampling(thinking=True).max_tokens > SamplingOptions().sampling().max_tokens
    assert SamplingOptions(max_tokens=7).sampling(thinking=True).max_tokens == 7


def test_shared_flags_mean_the_same_in_every_command() -> None:
    """One parameter name, one set of flags, one environment variable, wherever an option occurs."""
    shared = {"drafts", "model", "assistant", "device", "dtype", "as_json", "quiet", "stats", "top_p"}
    seen: dict[str, tuple[Any, ...]] = {}
    for command in COMMANDS:
        for function in functions_of(import_module(f"gemma_cli.commands.{command.replace('-', '_')}").app):
            for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
                option = parameter.annotation.__metadata__[0] if name in shared else None
                if isinstance(option, typer.models.OptionInfo):  # `gemma stop MODEL` has an argument of that name
                    told = (option.default, option.param_decls, option.envvar, option.help)
                    assert seen.setdefault(name, told) == told, (command, name)
    assert set(seen) == shared


def functions_of(app: typer.Typer) -> list[Any]:
    """What an app runs: its commands, and itself if it is one."""
    itself = [app.registered_callback] if app.registered_callback else []
    return [info.callback for info in (*app.registered_commands, *itself)]


def test_a_batch_goes_on_and_tells_at_the_end() -> None:
    batch = Batch(3)
    done = []
    for name in "abc":
        with batch.one():
            if name == "b":
                raise InputError("b: bad")
            done.append(name)
    assert done == ["a", "c"]
    with pytest.raises(GemmaError, match="1 of 3 files failed: b: bad") as failed:
        batch.finish()
    assert failed.value.exit_code == 1


def test_a_single_bad_input_is_told_as_itself() -> None:
    with pytest.raises(InputError) as failed, Batch(1).one():
        raise InputError("a: bad")
    assert failed.value.exit_code == 2


def test_what_is_no_fault_of_an_input_stops_the_batch() -> None:
    with pytest.raises(ModelError, match="no such model"), Batch(3).one():
        raise ModelError("no such model")


def test_every_setting_of_sampling_is_an_option_and_a_knob() -> None:
    """A new one is declared in messages.Sampling and core/settings.py, and nowhere else."""
    declared = {field.name for field in fields(Sampling)}
    assert {field.name for field in fields(SamplingOptions)} == declared
    assert declared <= {knob.setting.field for knob in KNOBS.values()}
