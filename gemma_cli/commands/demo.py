"""`gemma demo`: the main commands once, on the samples that come with the package, with what to look for."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from gemma_cli.common.options import examples
from gemma_cli.core.errors import InputError
from gemma_cli.core.settings import SETTINGS
from gemma_cli.media.samples import FOLDER, names
from gemma_cli.store.models.releases import POCKET

WIDTH = 80
"""Columns of an explanation at most."""


@dataclass(frozen=True)
class Step:
    """A command line without `gemma`, and what its output shows."""

    arguments: tuple[str, ...]
    shows: str


STORY = "Tell me a story about a horse with Emma, the white horse, bread and the park."

STEPS = (
    Step(
        ("chat", "Count from 1 to 10.", "--stats"),
        "The answer goes to stdout. The figures go to stderr, so a pipe receives only the answer. The drafter proposes "
        "tokens, and the model checks several tokens in one pass. The figures give the share of accepted drafts.",
    ),
    Step(
        ("chat", STORY, "--seed", "7", "--draft-tokens", "4"),
        "This reply is sampled with a seed and with the drafter.",
    ),
    Step(
        ("chat", STORY, "--seed", "7", "--draft-tokens", "0"),
        "Without the drafter, the same seed gives the same text, token for token. The drafter changes only the speed.",
    ),
    Step(
        ("transcribe", "sample:number-347.wav", "--format", "srt"),
        "The recording is transcribed as subtitles. A voice detector finds the times. Recordings may be "
        "hours long; an interrupted "
        "transcription continues where it stopped.",
    ),
    Step(
        ("translate", "sample:notes.de.txt", "--to", "English"),
        "gemma translates text, markdown, subtitles and speech, and preserves structure and times.",
    ),
    Step(
        ("translate", "sample:cat.en.wav", "--from", "English", "--to", "German"),
        "gemma translates speech too: the recording is in English, and the output is in German.",
    ),
    Step(
        ("describe-image", "sample:shapes.png", "--temperature", "0"),
        "The picture shows a red circle and a blue square. gemma demo --save FOLDER copies all samples to a folder.",
    ),
    Step(
        ("bench", "--runs", "2", "--max-tokens", "64"),
        "gemma bench compares plain and speculative decoding on this machine, and checks that all texts are equal.",
    ),
)

CLOSING = (
    "The model in this demo was pocket, a very small Gemma 4 that is part of the package and knows "
    "little. To list Google's "
    "models: gemma models. To download the smallest one: gemma models pull e2b. To start a conversation: gemma chat."
)

app = typer.Typer(add_completion=False)


@app.command(epilog=examples("gemma demo", "gemma demo --save samples"))
def demo(
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="FOLDER", help="Copy the samples to this new folder instead of running the commands."
        ),
    ] = None,
) -> None:
    """Run the main commands on the samples that come with the package, and explain the output.

    The demo takes half a minute and needs no network and no GPU. Every command accepts samples as file names, for
    example sample:shapes.png.
    """
    if save is not None:
        _copy(save)
        return
    with _defaults():
        for number, step in enumerate(STEPS, start=1):
            _heading(f"{number} of {len(STEPS)}", step)
            _run(step.arguments)
            _explain(step.shows)
    _explain(CLOSING)


def _copy(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise InputError(f"{folder}: the folder already exists; name a new folder") from None
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be created ({error.strerror}); name another folder") from None
    for name in names():
        shutil.copy(FOLDER / name, folder / name)
        print(folder / name)


@contextlib.contextmanager
def _defaults() -> Iterator[None]:
    """Run pocket on this machine inside, with default settings, whatever the environment sets and is piped in."""
    own = {setting.variable for setting in SETTINGS.values() if setting.variable} - {"GEMMA_QUIET", "GEMMA_DEVICE"}
    before = {name: os.environ.pop(name) for name in own if name in os.environ}
    os.environ |= {"GEMMA_MODEL": POCKET, "GEMMA_ENGINE": "local"}
    piped, sys.stdin = sys.stdin, None  # chat would take it for a part of the question
    try:
        yield
    finally:
        del os.environ["GEMMA_MODEL"], os.environ["GEMMA_ENGINE"]
        os.environ |= before
        sys.stdin = piped


def _heading(place: str, step: Step) -> None:
    from rich.text import Text

    from gemma_cli.views.console import terminal

    line = Text(f"$ {shlex.join(('gemma', *step.arguments))}", style="bold")
    terminal(sys.stdout).print(Text(f"{place}  ", style="dim") + line)
    sys.stdout.flush()


def _explain(text: str) -> None:
    from rich.text import Text

    from gemma_cli.views.console import terminal

    sys.stderr.flush()
    terminal(sys.stdout).print(Text(textwrap.fill(text, WIDTH), style="dim"), end="\n\n")
    sys.stdout.flush()


def _run(arguments: tuple[str, ...]) -> None:
    """Run a command as the shell would, in this process. Raises GemmaError."""
    name, *rest = arguments
    module = import_module(f"gemma_cli.commands.{name.replace('-', '_')}")
    command: Any = typer.main.get_command(module.app)
    command.main(rest, prog_name=f"gemma {name}", standalone_mode=False)
    sys.stdout.flush()
