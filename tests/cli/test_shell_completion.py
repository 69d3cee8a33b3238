"""Completion: what is offered at each place of a command line, in the shells themselves, and how fast."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gemma_cli.cli import command_tree
from gemma_cli.commands.completion import SCRIPTS
from gemma_cli.common.completion.shell_completion import complete
from gemma_cli.core.conversation import Conversation
from gemma_cli.store.sessions import SESSIONS, SessionStore
from tests.cli.helpers.command import Gemma


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    return command_tree()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, program: str, environment: dict[str, str]) -> dict[str, str]:
    """A home with a chat and presets, and gemma on the path."""
    folder = tmp_path_factory.mktemp("home")
    config = folder / ".config" / "gemma-cli" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[presets.brief]\n[presets.reviewer]\n")
    store = SessionStore.open(folder / ".local" / "state" / "gemma-cli" / SESSIONS)
    store.new("my chat").save(Conversation().saying("Hello"))
    store.close()
    return environment | {"HOME": str(folder), "PATH": f"{Path(program).parent}:{environment['PATH']}"}


def completed(home: dict[str, str], shell: str, *words: str) -> str:
    """What gemma tells a shell."""
    env = home | {"_GEMMA_COMPLETE": shell}
    return subprocess.run(["gemma", *words], env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["tran"], ["transcribe", "translate"]),
        (["chat", "--sys"], ["--system"]),
        (["chat", "--dtype", ""], ["auto", "float32", "bfloat16", "float16"]),
        (["chat", "--dtype=f"], ["--dtype=float32", "--dtype=float16"]),
        (["chat", "-m", "", "--th"], ["--thinking-budget", "--think"]),
        (["chat", "--think", "--device", "cuda:"], ["cuda:0", "cuda:1"]),
        (["translate", "a.txt", "--to", "ger"], ["German"]),
        (["transcribe", "--format", "s"], ["srt"]),
        (["models", "pull", "e"], ["e2b", "e4b"]),
        (["config", "unset", "top-"], ["top-p", "top-k"]),
        (["sessions", "se"], ["search"]),
        (["help", "des"], ["describe-image", "describe-video"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["transcribe", ""], None),
        (["chat", "--image", ""], None),
        (["chat", "--", "--sys"], None),
        (["doctor", ""], []),
        (["nothing", ""], []),
        (["chat", "--nothing=", ""], None),
    ],
)
def test_what_is_offered(tree: dict[str, Any], line: list[str], offered: list[str] | None) -> None:
    found = complete(tree, line)
    assert (None if found is None else [word for word, _ in found]) == offered


def test_every_option_and_command_is_offered(tree: dict[str, Any]) -> None:
    for name, command in tree["commands"].items():
        assert name in [word for word, _ in complete(tree, [name[:2]]) or ()]
        for option in command["options"]:
            for flag in option["flags"]:
                assert flag in [word for word, _ in complete(tree, [name, flag]) or ()]


LINES = [
    ("gemma chat --pre", ["--preset"]),
    ("gemma chat --preset ", ["brief", "reviewer"]),
    ("gemma chat --session my", ["my chat"]),
    ("gemma chat --model poc", ["pocket"]),
    ("gemma chat --device cuda:", ["cuda:0", "cuda:1"]),
    ("gemma co", ["config", "completion"]),
]


def script(shell: str, tmp_path: Path) -> Path:
    path = tmp_path / f"completion.{shell}"
    path.write_text(SCRIPTS[shell])  # type: ignore[index]
    return path


def asked(shell: str, code: str, home: dict[str, str]) -> list[str]:
    if not shutil.which(shell):
        pytest.skip(f"this machine has no {shell}")
    plain = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run([shell, *plain, "-c", code], env=home, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_bash(home: dict[str, str], tmp_path: Path) -> None:
    code = f"source {script('bash', tmp_path)}\n"
    for line, _ in LINES:
        typed = [*line.replace(":", " : ").split(), *([""] if line.endswith(" ") else [])]
        words = " ".join(f"'{word}'" for word in typed)
        code += f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _gemma\n"
        code += "(IFS='|'; echo \"${COMPREPLY[*]}\")\n"
    wanted = [[word.replace(" ", "\\ ").removeprefix("cuda:") for word in words] for _, words in LINES]
    assert [line.split("|") for line in asked("bash", code, home)] == wanted


def test_zsh(home: dict[str, str], tmp_path: Path) -> None:
    """The words that are handed to zsh's own functions, which need a terminal."""
    code = f"compdef() {{ }}\n_describe() {{ print -r -- ${{(j:|:)described}} }}\nsource {script('zsh', tmp_path)}\n"
    for line, _ in LINES:
        words = [*line.split(), *(["''"] if line.endswith(" ") else [])]
        code += f"words=({' '.join(words)}); CURRENT=$#words; _gemma\n"
    lines = [line.replace("\\:", "\0").split("|") for line in asked("zsh", code, home)]
    found = [[word.partition(":")[0] for word in line] for line in lines]
    assert found == [[word.replace(":", "\0") for word in words] for _, words in LINES]
    assert [":" in line[0] for line in lines] == [True, False, False, False, False, True]  # only these have a help


def test_fish(home: dict[str, str], tmp_path: Path) -> None:
    code = f"source {script('fish', tmp_path)}\n"
    for line, _ in LINES:
        code += f"complete -C '{line}' | string join '|' | string replace -a \\t ';'\n"
    found = [{word.partition(";")[0] for word in line.split("|")} for line in asked("fish", code, home)]
    assert found == [set(words) for _, words in LINES]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_it_is_installed_by_one_command_once(gemma: Gemma, shell: str, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "SHELL": f"/bin/{shell}"}
    started = tmp_path / f".{shell}rc"
    started.write_text("alias l=ls")
    started.chmod(0o600)
    for _ in range(2):
        assert gemma("completion", "--install", env=env).code == 0
    first, line = started.read_text().splitlines()
    assert first == "alias l=ls"
    assert started.stat().st_mode & 0o777 == 0o600
    path = tmp_path / ".local/share/gemma-cli" / f"completion.{shell}"
    assert str(path) in line
    assert path.read_text() == SCRIPTS[shell]  # type: ignore[index]
    gemma("completion", env=env | {"SHELL": "/bin/tcsh"}).refuses("no shell is named", "bash, zsh, fish")


def test_fish_finds_it_where_it_is_installed(gemma: Gemma, tmp_path: Path) -> None:
    assert gemma("completion", "fish", "--install", env={"HOME": str(tmp_path)}).code == 0
    assert (tmp_path / ".config/fish/completions/gemma.fish").read_text() == SCRIPTS["fish"]


@pytest.mark.parametrize("words", [["chat", "--mo"], ["chat", "--model", ""], ["sessions", "show", ""]])
def test_nothing_heavy_is_imported(home: dict[str, str], words: list[str]) -> None:
    code = (
        f"import sys; sys.argv[1:] = {words!r}\nfrom gemma_cli.__main__ import main\nmain()\n"
        "print(' '.join({'torch', 'numpy', 'typer', 'rich', 'pydantic', 'huggingface_hub'} & set(sys.modules)))"
    )
    env = home | {"_GEMMA_COMPLETE": "fish"}
    for _ in range(2):  # the first writes down what the commands are
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "", done.stdout


def test_an_answer_takes_a_fraction_of_a_second(home: dict[str, str]) -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        completed(home, "bash", "chat", "--mo")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    seconds()
    assert min(seconds() for _ in range(3)) < 0.5


def test_a_damaged_file_of_commands_is_made_again(home: dict[str, str]) -> None:
    cache = Path(home["HOME"]) / ".cache" / "gemma-cli" / "commands.json"
    cache.parent.mkdir(parents=True, exist_ok=True)
    for content in ("{", "[]"):
        cache.write_text(content)
        assert completed(home, "fish", "chat", "--mo").partition("\t")[0] == "--model"
    assert cache.stat().st_size > 1000
