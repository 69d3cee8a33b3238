"""What doctor finds about what would run, and what models lists where the model that is named is not there."""

from __future__ import annotations

import importlib.metadata
import json
import os
import tomllib
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from gemma_cli import cli
from gemma_cli.commands import doctor
from gemma_cli.commands.doctor_parts import device as device_parts
from gemma_cli.commands.doctor_parts import packages
from gemma_cli.core.errors import UsageError
from gemma_cli.engines.local import device, native
from gemma_cli.engines.local.loading.memory import fit as memory_fit
from gemma_cli.media.sound import microphone
from tests.cli.helpers.command import ROOT


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it."""
    for name in [name for name in os.environ if name.startswith(("GEMMA_", "HF_", "HUGGINGFACE_"))]:
        monkeypatch.delenv(name)
    for kind in ("config", "cache", "state"):
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(tmp_path / kind))
    monkeypatch.setattr(native, "loaded", lambda: None)  # or they would be built
    for module in (device, memory_fit):
        monkeypatch.setattr(module, "bfloat16_on_cpu", lambda: "works")  # or it would be tried
    return tmp_path


def configure(home: Path, text: str) -> Path:
    file = home / "config" / "gemma-cli" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# --- the model that would run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GEMMA_MODEL", "me/absent", "me/absent is not on this machine; gemma models pull me/absent"),
        ("GEMMA_MODEL", "e2b", "gemma models pull e2b fetches it (10.2 GB)"),
        ("GEMMA_MODEL", "e3b", "did you mean"),
        ("GEMMA_MODEL", "/nowhere", "the folder does not exist"),
        ("GEMMA_MODEL", "synthetic:7b", "7b"),
        ("GEMMA_ASSISTANT", "me/absent", "me/absent is not on this machine"),
        ("GEMMA_DEVICE", "cuda:99", "cuda:99"),
        ("GEMMA_DTYPE", "float8", "float8"),
        ("GEMMA_QUANTIZE", "int2", "int2"),
        ("GEMMA_TEMPERATURE", "cold", "GEMMA_TEMPERATURE"),
    ],
)
def test_a_setting_that_no_command_could_run_with_is_wrong(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    check = doctor._model()
    assert check.ok is False
    assert words in check.found
    assert "\n" not in check.found
    if name == "GEMMA_MODEL":
        assert check.remedy == "or change GEMMA_MODEL"


def test_a_model_of_the_configuration_that_is_not_there_is_wrong(home: Path) -> None:
    file = configure(home, 'model = "me/absent"')
    check = doctor._model()
    assert (check.ok, check.remedy) == (False, f"or change {file}")


def test_a_model_that_does_not_fit_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.machine, "available", lambda: 10**6)
    monkeypatch.setattr(memory_fit, "_changes", lambda plan: iter(()))  # each is worked out, which takes its time
    monkeypatch.setattr(memory_fit, "_smaller", lambda name, plan: iter(()))
    check = doctor._model()
    assert check.ok is False
    assert "needs" in check.found


def test_the_model_that_runs_is_named_with_its_form(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._model().found.startswith("pocket with its drafter, float32 on ")
    configure(home, 'model = "pocket"\nassistant = "off"\nquantize = "int8"')
    check = doctor._model()
    assert check.ok
    assert "pocket without a drafter, float32 with weights in int8 on " in check.found
    assert check.found.endswith("(set by " + str(home / "config" / "gemma-cli" / "config.toml") + ")")
    monkeypatch.setenv("GEMMA_MODEL", "pocket")
    assert doctor._model().found.endswith("(set by GEMMA_MODEL)")


@pytest.mark.parametrize("text", ['modle = "e2b"', "not toml", "model = 3", "\0"])
def test_a_broken_configuration_is_found_once(home: Path, text: str) -> None:
    """And nobody is told to install anything again for it."""
    file = configure(home, text)
    checks = [*doctor._folders(), doctor._model(), *doctor._pocket()]
    wrong = [check for check in checks if check.ok is False]
    assert [check.name for check in wrong] == ["config"]
    assert str(file) in wrong[0].found
    assert wrong[0].remedy == "correct or remove the file"


# --- packages and folders -------------------------------------------------------------------------------------------


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Let packages be there in some version, or missing (None)."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name not in versions:
            return real(name)
        if (found := versions[name]) is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_an_extra_that_is_missing_is_told_and_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    about = Message()
    for extra, lines in declared.items():
        about["Provides-Extra"] = extra
        for line in lines:
            name, _, marker = line.partition(";")
            about["Requires-Dist"] = f"{name}; {f'({marker}) and ' if marker else ''}extra == '{extra}'"
    monkeypatch.setattr(importlib.metadata, "metadata", lambda _: about)
    extras = {Requirement(line).name: extra for extra in packages.EXTRAS for line in declared[extra]}
    installed(monkeypatch, **dict.fromkeys(extras))
    checks = {check.name: check for check in packages.extras()}
    assert set(checks) == set(extras)
    for name, extra in extras.items():
        assert checks[name].ok is None
        assert f"pip install 'gemma-cli[{extra}]'" in checks[name].found


def test_an_extra_out_of_its_range_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, mcp="1.9", av="17.0", matplotlib="3.10", sounddevice=None)
    checks = {check.name: check for check in packages.extras()}
    assert (checks["mcp"].ok, checks["av"].ok, checks["matplotlib"].ok) == (False, False, True)
    assert checks["mcp"].remedy == "pip install 'mcp<3,>=2.3'"


def test_a_microphone_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is there, and what it needs of the system is not."""
    installed(monkeypatch, sounddevice="0.5")
    monkeypatch.setattr(microphone, "_library", lambda: (_ for _ in ()).throw(UsageError("needs PortAudio")))
    checks = {check.name: check for check in packages.extras()}
    assert (checks["sounddevice"].ok, checks["microphone"].ok) == (True, None)
    assert "PortAudio" in checks["microphone"].found


@pytest.mark.parametrize(
    ("cuda", "device_type", "noticed"),
    [("13.0", "cpu", True), ("13.0", "cuda", False), (None, "cpu", False), (None, "mps", False)],
)
def test_a_build_of_torch_for_a_gpu_that_is_not_there_is_noticed(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, device_type: str, noticed: bool
) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", cuda)
    found = list(device_parts.torch_build(device_type))
    assert len(found) == noticed
    for check in found:
        assert check.ok is None
        assert check.remedy
        assert "4 GB" in check.remedy
        assert "--torch-backend=cpu" in check.remedy


def test_a_package_out_of_its_range_or_missing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, transformers="5.23.0", soxr=None)
    checks = {check.name: check for check in packages.dependencies()}
    assert (checks["transformers"].ok, checks["soxr"].ok, checks["torch"].ok) == (False, False, True)
    assert "pip install 'soxr" in (checks["soxr"].remedy or "")


def test_a_checkout_that_was_never_installed_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "DISTRIBUTION", "gemma-cli-that-nobody-installed")
    assert [check.ok for check in (*packages.dependencies(), *packages.extras())] == [None]


@pytest.mark.parametrize("kind", ["file", "below a file", "dangling link", "pipe"])
@pytest.mark.parametrize("folder", ["state", "cache"])
def test_a_folder_that_cannot_hold_a_file_is_wrong(home: Path, kind: str, folder: str) -> None:
    """For root too, who may do all that modes forbid."""
    place = home / folder / "gemma-cli"
    place.parent.mkdir()
    match kind:
        case "file":
            place.touch()
        case "below a file":
            place.parent.rmdir()
            place.parent.touch()
        case "dangling link":
            place.symlink_to("/nowhere/at/all")
        case _:
            os.mkfifo(place)
    checks = {check.name: check for check in doctor._folders()}
    assert checks[folder].ok is False
    assert str(place) in checks[folder].found
    assert checks["config"].ok
    assert not list(home.rglob("tmp*"))


def test_folders_that_are_not_there_yet_are_made_by_nobody(home: Path) -> None:
    assert all(check.ok for check in doctor._folders())
    assert list(home.iterdir()) == []


# --- gemma models ---------------------------------------------------------------------------------------------------


def test_models_are_listed_whatever_model_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, listed, said = run(capsys, "models")
    assert (code, said) == (0, "")
    assert "*  pocket" in listed
    plain = [line[3:] for line in listed.splitlines()]
    for value, words in (
        ("me/absent", "is not on this machine"),
        ("e3b", "unknown model 'e3b'"),
        ("/nowhere", "does not exist"),
    ):
        monkeypatch.setenv("GEMMA_MODEL", value)
        code, listed, said = run(capsys, "models")
        assert code == 0
        assert [line[2:] for line in listed.splitlines()] == plain
        assert "*" not in listed
        assert said.startswith("gemma: no default model: GEMMA_MODEL: ")
        assert words in said
        assert said.count("\n") == 1
    monkeypatch.delenv("GEMMA_MODEL")
    for text in ('model = "me/absent"', 'modle = "e2b"', "not toml"):
        file = configure(home, text)
        code, listed, said = run(capsys, "models")
        assert code == 0
        assert [line[2:] for line in listed.splitlines()] == plain
        assert said.startswith(f"gemma: no default model: {file}: ")
        assert said.count(str(file)) == 1
    code, listed, said = run(capsys, "models", "--json")
    assert (code, said) == (0, "")
    assert json.loads(listed)["models"]


def test_no_memory_for_pocket_is_no_reason_to_install_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.machine, "available", lambda: 10**6)
    monkeypatch.setattr(memory_fit, "_changes", lambda plan: iter(()))
    monkeypatch.setattr(memory_fit, "_smaller", lambda name, plan: iter(()))
    (wrong,) = (check for check in doctor._pocket() if check.ok is False)
    assert wrong.found.startswith("pocket needs ")
    assert wrong.remedy == "make memory free"
