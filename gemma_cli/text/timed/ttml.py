"""TTML and DFXP: XML with a cue in each `p` element."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gemma_cli.text.timed.blocks import Block, Cue, Structure, seconds

_PARAGRAPH = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>"
    r"|(<(?P<name>(?:[\w-]+:)?p)(?=[\s>])(?P<fields>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*?)(?<!/)>)(?P<body>.*?)(?=</(?P=name)\s*>)",
    re.DOTALL,
)
_CLOCK = re.compile(
    r"""\b(begin|end)\s*=\s*["']\s*(?:([0-9]+:[0-9]+:[0-9]+(?:\.[0-9]+)?)(?::[0-9.]+)?|([0-9.]+)s)\s*["']"""
)
_ROOT = re.compile(r"<(?:[\w-]+:)?tt[\s>]")


def is_ttml(document: str) -> bool:
    """Return whether a document has the root element of TTML near its beginning."""
    return document.lstrip("\ufeff \t\r\n").startswith("<") and bool(_ROOT.search(document[:4096]))


def ttml(document: str) -> Iterator[Block]:
    """Split TTML into blocks. Titles and other metadata are structure."""
    position = 0
    for found in _PARAGRAPH.finditer(document):
        if found["name"] is None:
            continue
        yield Structure(document[position : found.start("body")])
        times = {clock[1]: _seconds(clock) for clock in _CLOCK.finditer(found["fields"])}
        voice = "" if times.keys() == {"begin", "end"} else None
        yield Cue(found["body"], (times.get("begin", 0.0), times.get("end", 0.0)), voice)
        position = found.end()
    yield Structure(document[position:])


def _seconds(clock: re.Match[str]) -> float:
    return seconds(clock[2]) if clock[2] else float(clock[3].rstrip(".") or 0)
