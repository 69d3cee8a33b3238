"""What the pages show is what comes out: every console block with output is run, and compared to the letter."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import ROOT

PAGES = ("chat", "transcribe", "translate", "describe-image")
BLOCK = re.compile(r"^```console\n\$ (?P<command>.+)\n(?P<output>(?:.*\n)+?)```$", re.MULTILINE)


def shown() -> list[tuple[str, str]]:
    """(command, output) of every block that shows any."""
    pages = ((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES)
    return [(block["command"], block["output"]) for page in pages for block in BLOCK.finditer(page)]


@pytest.mark.parametrize(("command", "output"), shown())
def test_the_page_tells_the_truth(
    program: str, environment: dict[str, str], tmp_path: Path, command: str, output: str
) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    done = subprocess.run(
        ["bash", "-c", f"{{ {command}\n}} 2>&1"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
        env=environment | {"PATH": f"{Path(program).parent}:{environment['PATH']}"},
        timeout=300,
        check=False,
    )
    assert done.stdout.decode() == output


def test_the_pages_show_something() -> None:
    assert len(shown()) >= 5
