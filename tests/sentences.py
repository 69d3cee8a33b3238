"""Draw sentences that a user reads, at random: `python -m tests.sentences 200 --seed 1 [--source help|messages|docs]`.

A reader marks each sentence that they have to read twice, without its context. The sentences come from `--help` of
all commands, from the messages in the code, and from README.md, CONTRIBUTING.md, SECURITY.md and docs/.
"""

import argparse
import ast
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemma_cli.cli import command_tree

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md")
CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`*\"(])")
CODE = re.compile(
    r"\b(SELECT|INSERT|CREATE|DELETE|UPDATE|PRAGMA)\b"
    r"|^([A-Z_]+=\S+ )?(gemma|git|curl|ffmpeg|echo|eval|#compdef|_gemma|function|import) |^_gemma\(\)"
)
FOR_THE_MODEL = ("benchmark/contexts.py", "benchmark/suites.py", "speech/instructions.py", "vision/instructions.py")
"""Modules whose longer strings are prompts or replies of a model; no command prints them as its own words."""
LIST = re.compile(r"(?:[a-z0-9]+,? ){11,}[a-z0-9]+|(?:[a-z]{2} )+[a-z]{2}|(?:[a-z]+ )+tt")
"""Lists that the code splits: over eleven words, codes of two letters, or HTML tags that end in tt."""
WORD = re.compile(r"[A-Za-z]{2,}")
MARKER = re.compile(r"^(?:[-*#]+|\d+\.)\s+")


def sentences(text: str) -> Iterator[str]:
    """Split a text into its sentences of at least three words."""
    for sentence in END.split(" ".join(text.split())):
        if len(WORD.findall(sentence)) >= 3:
            yield sentence


def of_help() -> Iterator[str]:
    """Yield the sentences that `--help` of all commands prints."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if isinstance(value, str) and key in ("help", "summary", "description"):
                    yield from sentences(value)
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    yield from walk(command_tree())


def of_messages() -> Iterator[str]:
    """Yield the strings of the code that are prose: errors, notices and what the views print."""
    for path in sorted((ROOT / "gemma_cli").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        helps = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "help"}
        errors = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Raise) for part in ast.walk(node)}
        for_model = path.relative_to(ROOT / "gemma_cli").as_posix() in FOR_THE_MODEL
        for node in ast.walk(tree):
            if id(node) in bare | helps or (for_model and id(node) not in errors):
                continue
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = ast.unparse(node)[2:-1]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                text = node.value
            if (
                not CODE.search(text.strip())
                and not LIST.fullmatch(text.strip())
                and len(re.findall(r"(?<![\w{.])[a-z]{2,}(?= )", text)) >= 3
            ):
                yield f"{' '.join(text.split())}    [{path.relative_to(ROOT)}:{node.lineno}]"


def of_docs() -> Iterator[str]:
    """Yield the sentences of the pages, table cells and list items among them."""
    for path in (*PAGES, *sorted((ROOT / "docs").rglob("*.md"))):
        text = COMMENT.sub("", CODE_BLOCK.sub("\n\n", path.read_text(encoding="utf-8")))
        for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ?)", text):
            for part in block.split(" | ") if block.lstrip().startswith("|") else [block]:
                text_of_part = MARKER.sub("", part.strip(" |\n"))
                yield from (f"{one}    [{path.relative_to(ROOT)}]" for one in sentences(text_of_part))


SOURCES = {"help": of_help, "messages": of_messages, "docs": of_docs}


def main() -> None:
    """Print the sentences drawn, numbered."""
    options = argparse.ArgumentParser(prog="python -m tests.sentences", description=__doc__)
    options.add_argument("count", nargs="?", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--source", choices=SOURCES, help="default: all three")
    asked = options.parse_args()
    names = [asked.source] if asked.source else list(SOURCES)
    found = sorted({sentence for name in names for sentence in SOURCES[name]()})
    for number, sentence in enumerate(random.Random(asked.seed).sample(found, min(asked.count, len(found))), 1):
        print(f"{number:3} {sentence}")
    print(f"{len(found)} sentences in all")


if __name__ == "__main__":
    main()
