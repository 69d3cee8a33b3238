"""Build the site and the man pages from these pages and from the program itself, and check every link.

    pip install 'gemma-cli[docs]' && python docs/build.py

The site goes to build/site/html, the man pages to build/site/man. Each command's page has the --help that the program
prints, so that it cannot differ from it. A warning of the generator or a dead link is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from gemma_cli import __version__
from gemma_cli.cli import COMMANDS, command_tree
from gemma_cli.common.completion.command_tree import EXIT_CODES

ROOT = Path(__file__).parents[1]
GROUPS = {
    "Use": "index install chat chat-keys transcribe translate describe-image describe-video serve api samples",
    "Models": "models pocket quantization remote",
    "Settings": "configuration shell doctor",
    "Speed and quality": "bench performance reliability",
    "Inside": "architecture decoding",
}
"""The order of the pages; those that are not named follow under Inside."""

OUTSIDE = re.compile(r"\[(?P<text>[^\]]+)\]\((?:\.\./)+(?!decisions|images|[a-z-]+\.md)[^)]*\)")
"""A link to a file of the repository that is not on the site."""

WIDTH = 80
"""Columns of --help."""


def main() -> int:
    """Build everything; the result is 1 where a link is dead."""
    work = ROOT / "build" / "site"
    shutil.rmtree(work, ignore_errors=True)
    pages = work / "docs"
    for name, text in {**written_pages(), **reference_pages()}.items():
        path = pages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if (ROOT / "docs" / "images").is_dir():
        shutil.copytree(ROOT / "docs" / "images", pages / "images", ignore=shutil.ignore_patterns("*.py"))
    settings = yaml.safe_load((ROOT / "docs" / "zensical.yml").read_text(encoding="utf-8"))
    settings["nav"] = navigation(sorted(path.relative_to(pages).as_posix() for path in pages.rglob("*.md")))
    (work / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    for name, text in man_pages(command_tree()).items():
        (work / "man").mkdir(exist_ok=True)
        (work / "man" / name).write_text(text, encoding="utf-8")
    built = subprocess.run([Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean"], cwd=work)
    dead = list(dead_links(work / "html")) if built.returncode == 0 else []
    print(*dead, sep="\n", end="\n" if dead else "")
    return built.returncode or int(bool(dead))


def written_pages() -> dict[str, str]:
    """Return the pages that are written by hand, by path; links that lead off the site become text."""
    found = {path.relative_to(ROOT / "docs").as_posix(): path for path in (ROOT / "docs").rglob("*.md")}
    texts = {name: OUTSIDE.sub(r"\g<text>", path.read_text(encoding="utf-8")) for name, path in found.items()}
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = min(name for name in texts if name.startswith("decisions/"))
    texts = {name: text.replace("](decisions/)", f"]({first})") for name, text in texts.items()}
    texts["changes.md"] = changes.replace("](docs/", "](")
    return texts


def reference_pages(names: Iterable[str] = COMMANDS) -> dict[str, str]:
    """Return a page for each of these commands with what `gemma COMMAND --help` prints, subcommands included."""
    tree = command_tree()["commands"]
    pages = {}
    for name in names:
        summary, guide = COMMANDS[name], ROOT / "docs" / f"{name}.md"
        text = f"# gemma {name}\n\n{summary}" + (
            f" The [guide](../{guide.name}) explains it." if guide.exists() else ""
        )
        for words in ([name], *([name, below] for below in tree[name].get("commands", {}))):
            text += f"\n\n## gemma {' '.join(words)} --help\n\n```text\n{help_of(*words)}```"
        pages[f"reference/{name}.md"] = text + "\n"
    return pages


def help_of(*words: str) -> str:
    """Return what the program prints for --help, WIDTH columns wide and without colour."""
    import contextlib
    import io
    from unittest.mock import patch

    from gemma_cli.cli import run

    environment = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    with patch.dict(os.environ, environment), contextlib.redirect_stdout(io.StringIO()) as printed:
        run([*words, "--help"])
    lines = (line.rstrip() for line in printed.getvalue().splitlines())
    return "\n".join(lines).strip("\n") + "\n"


def navigation(pages: list[str]) -> list[Any]:
    """Return the sections of the site."""
    left = {page for page in pages if "/" not in page}
    sections: list[Any] = []
    for title, names in GROUPS.items():
        there = [f"{name}.md" for name in names.split() if f"{name}.md" in left]
        left -= set(there)
        sections.append({title: there})
    decisions = [page for page in pages if page.startswith("decisions/")]
    sections[-1]["Inside"] += [*sorted(left - {"changes.md"}), {"Decisions": decisions}]
    sections.append({"Commands": [page for page in pages if page.startswith("reference/")]})
    return [*sections, {"Changes": "changes.md"}]


def man_pages(tree: Mapping[str, Any]) -> dict[str, str]:
    """Return gemma.1 and a page for each command, in man's own markup."""
    listed = "".join(f".TP\n.BR gemma-{name} (1)\n{_roff(text)}\n" for name, text in COMMANDS.items())
    exits = "".join(f".TP\n.B {code}\n{_roff(text)}\n" for code, text in EXIT_CODES.items())
    pages = {"gemma.1": _man("gemma", "the terminal's Gemma 4", f".SH COMMANDS\n{listed}.SH EXIT STATUS\n{exits}")}
    for name, command in tree["commands"].items():
        body = "".join(_man_options(words, each) for words, each in _commands(name, command))
        pages[f"gemma-{name}.1"] = _man(f"gemma-{name}", COMMANDS[name], body)
    return pages


def _commands(name: str, command: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield name, command
    for below, each in command.get("commands", {}).items():
        yield f"{name} {below}", each


def _man_options(words: str, command: Mapping[str, Any]) -> str:
    text = f".SH GEMMA {_roff(words.upper())}\n{_roff(command.get('help') or '')}\n"
    for argument in command.get("arguments", ()):
        text += f".TP\n.I {_roff(argument['name'])}\n{_roff(argument.get('help') or '')}\n"
    for option in command.get("options", ()):
        kind = f" \\fI{_roff(option['type'])}\\fR" if option["type"] not in (None, "flag") else ""
        text += f".TP\n\\fB{_roff(', '.join(option['flags']))}\\fR{kind}\n{_roff(option['help'])}\n"
    return text


def _man(name: str, summary: str, body: str) -> str:
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    head = f'.TH {name.upper()} 1 {date} "gemma {__version__}"\n.SH NAME\n{name} \\- {_roff(summary)}\n'
    synopsis = f".SH SYNOPSIS\n.B {name.replace('-', ' ', 1)}\n[OPTIONS]\n"
    return head + synopsis + body


def _roff(text: str) -> str:
    """Return text with what roff would take for its own escaped."""
    lines = (line.strip().replace("\\", "\\e").replace("-", "\\-") for line in text.splitlines())
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines if line)


class _Links(HTMLParser):
    """Where a page of the site leads, and the places in it that can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value and tag != "link":
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


def dead_links(site: Path) -> Iterator[str]:
    """Yield the links within the site that lead to no page, or to no place in it."""
    pages = {path: _Links(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{path.relative_to(site)}: {link}: no such page"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                yield f"{path.relative_to(site)}: {link}: no such place"


if __name__ == "__main__":
    sys.exit(main())
