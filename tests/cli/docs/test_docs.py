"""What the pages show is what comes out: every console block with output is run, and compared to the letter."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.helpers.command import ROOT, SAMPLES

PAGES = ("chat", "transcribe", "translate", "describe-image")
BLOCK = re.compile(r"^```console\n\$ (?P<command>.+)\n(?P<output>(?:.*\n)+?)```$", re.MULTILINE)


def shown() -> list[tuple[str, str]]:
    """(command, output) of every block that shows any."""
    pages = ((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES)
    return [(block["command"], block["output"]) for page in pages for block in BLOCK.finditer(page)]


@pytest.mark.parametrize(("command", "output"), shown())
def test_the_page_tells_the_truth(
    warm_program: str, environment: dict[str, str], tmp_path: Path, command: str, output: str
) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
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


def test_the_pages_show_something() -> None:
    assert len(shown()) >= 5


PROSE = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
LINK = re.compile(r"\]\((?P<path>[^)#\s:]+)(?:#[^)]*)?\)")
MODULE = re.compile(r"`(?P<name>[a-z_]+\.(?:py|c))`")


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_module_names_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    dead = [link["path"] for link in LINK.finditer(text) if not (page.parent / link["path"]).exists()]
    files = {path.name for folder in ("gemma_cli", "tests", "training", "docs") for path in (ROOT / folder).rglob("*")}
    assert not dead
    assert {name["name"] for name in MODULE.finditer(text)} <= files
