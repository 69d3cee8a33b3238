"""The pages are true: console blocks show what comes out, commands parse, links and module names lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from gemma_cli.benchmark import report
from gemma_cli.cli import app
from tests.cli.helpers.command import ROOT, SAMPLES

PROSE = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("training/*.md")]
PAGES = [page for page in PROSE if page.name != "CHANGELOG.md"]
CONSOLE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+) -->\n)?^```(?:console)?\n(?P<session>\$ (?:.*\n)+?)```$", re.MULTILINE
)
STEP = re.compile(r"^\$ (?P<command>.+)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<lines>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = 9
"""Console blocks that CI cannot run. Each has its reason next to it."""


def sessions() -> list[tuple[Path, str | None, str]]:
    """Return the page, the reason not to run it (or None) and the text of every console block."""
    found = ((page, CONSOLE.finditer(page.read_text(encoding="utf-8"))) for page in PAGES)
    return [(page, block["reason"], block["session"]) for page, blocks in found for block in blocks]


def steps() -> list[Any]:
    """Return (command, output) of every command that is run, with its page as the name of the test."""
    return [
        pytest.param(step["command"], step["output"], id=f"{page.relative_to(ROOT)}: {step['command'][:40]}")
        for page, reason, session in sessions()
        if reason is None
        for step in STEP.finditer(session)
    ]


@pytest.mark.parametrize(("command", "output"), steps())
def test_the_page_tells_the_truth(
    warm_program: str, environment: dict[str, str], tmp_path: Path, command: str, output: str
) -> None:
    (tmp_path / "star.png").symlink_to(SAMPLES / "star.png")
    done = subprocess.run(
        ["bash", "-c", f"{{ {command}\n}} 2>&1"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
        env=environment | {"PATH": f"{Path(warm_program).parent}:{environment['PATH']}"},
        timeout=300,
        check=False,
    )
    assert done.stdout.decode() == output


def test_the_blocks_that_are_not_run_are_counted() -> None:
    assert sum(reason is not None for _, reason, _ in sessions()) == NOT_RUN
    assert len(steps()) >= 9


def commands() -> list[str]:
    """Return every command line of gemma in a block of a page, up to a pipe, a redirection or a comment."""
    blocks = (block for page in PAGES for block in BLOCK.finditer(page.read_text(encoding="utf-8")))
    shell = (block["lines"] for block in blocks if block["language"] in ("", "sh", "console"))
    lines = (line for block in shell for line in block.replace("\\\n", " ").splitlines())
    found = (re.search(r"(?:^|[|$&] )(gemma .*)", line) for line in lines)
    return sorted({line[1] for line in found if line})


def words(line: str) -> list[str]:
    """Split a line as a shell does, and end it where the command ends."""
    lexer = shlex.shlex(re.sub(r"\b2>", ">", line), posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    found = list(lexer)
    end = next((place for place, word in enumerate(found) if set(word) <= set("|<>;&")), len(found))
    return found[1:end]


@pytest.mark.parametrize("line", commands())
def test_every_command_on_a_page_parses(line: str) -> None:
    command: Any = typer.main.get_command(app)
    arguments = words(line)
    context: Any = typer.Context(command, info_name="gemma")
    while arguments and not arguments[0].startswith("-") and hasattr(command, "resolve_command"):
        name, command, arguments = command.resolve_command(context, arguments)
        context = typer.Context(command, parent=context, info_name=name)
    command.make_context(context.info_name, arguments, parent=context.parent)  # raises for what does not parse


def test_the_legend_of_bench_is_the_one_on_its_page() -> None:
    page = " ".join((ROOT / "docs" / "bench.md").read_text(encoding="utf-8").split())
    assert " ".join(report.SPEED.split()) in page
    assert " ".join(report.ACCEPTANCE.split()) in page


LINK = re.compile(r"\]\((?P<path>[^)#\s:]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\((?P<path>[^)#\s:]*)#(?P<anchor>[^)]+)\)")
MODULE = re.compile(r"`(?P<name>[a-z_]+\.(?:py|c))`")


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_module_names_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    dead = [link["path"] for link in LINK.finditer(text) if not (page.parent / link["path"]).exists()]
    dead += [
        link["anchor"]
        for link in ANCHOR.finditer(text)
        if link["anchor"] not in anchors(page.parent / link["path"] if link["path"] else page)
    ]
    files = {path.name for folder in ("gemma_cli", "tests", "training", "docs") for path in (ROOT / folder).rglob("*")}
    assert not dead
    assert {name["name"] for name in MODULE.finditer(text)} <= files


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
