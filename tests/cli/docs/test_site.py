"""docs/build.py: pages and man pages hold what the program takes, and a dead link is found."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gemma_cli.cli import COMMANDS, command_tree
from tests.cli.helpers.command import ROOT


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    return command_tree()["commands"]


def flags(command: dict[str, Any]) -> set[str]:
    own = {flag for option in command["options"] for flag in option["flags"] if flag.startswith("--")}
    return own.union(*(flags(below) for below in command["commands"].values()))


def test_the_page_of_a_command_has_all_of_its_options(build: ModuleType, tree: dict[str, Any]) -> None:
    pages = build.reference_pages(["transcribe", "models"])
    for name in ("transcribe", "models"):
        text, command = pages[f"reference/{name}.md"], tree[name]
        assert "\x1b" not in text
        assert "Usage: gemma" in text
        shown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
        assert flags(command) <= shown | {flag for flag in flags(command) if flag.startswith("--no-")}


def test_man_pages_have_them_too(build: ModuleType, tree: dict[str, Any]) -> None:
    pages = build.man_pages({"commands": tree})
    assert set(pages) == {"gemma.1", *(f"gemma-{name}.1" for name in COMMANDS)}
    for name, command in tree.items():
        text = pages[f"gemma-{name}.1"].replace("\\-", "-")
        assert not {flag for flag in flags(command) if flag not in text}


def test_links_off_the_site_become_text(build: ModuleType) -> None:
    for name, text in build.written_pages().items():
        outside = re.findall(r"\]\((?!https?:|#|mailto:)((?:\.\./)*[^)#]*)", text)
        for link in outside:
            target = (ROOT / "docs" / name).parent / link
            assert target.resolve().is_relative_to(ROOT / "docs"), (name, link)


def test_a_dead_link_and_a_dead_place_are_found(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<h1 id="top"></h1><a href="b.html#there">x</a><a href="b.html#gone">x</a>')
    (tmp_path / "b.html").write_text('<p id="there"></p><img src="c.png"><a href="#there">x</a><a href="https://x">')
    assert list(build.dead_links(tmp_path)) == ["a.html: b.html#gone: no such place", "b.html: c.png: no such page"]
