"""Keys typed while nothing reads them, kept for the next prompt."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager

from prompt_toolkit.application import get_app_session
from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding.key_processor import KeyPress


def keep_cooked(descriptor: int) -> None:
    """Keep for the next prompt what a terminal has taken in while it edited lines itself: there Enter became a
    newline, and Ctrl+D the end of a line, of which a NUL is left."""
    written = bytearray()
    while select.select([descriptor], [], [], 0)[0] and (piece := os.read(descriptor, 4096)):
        written += piece
    text = written.decode("utf-8", "surrogateescape").translate({0x0A: "\r", 0x00: "\x04"})
    keys: list[KeyPress] = []
    parser = Vt100Parser(keys.append)
    parser.feed_and_flush(text)
    if keys:
        store_typeahead(get_app_session().input, keys)


@contextmanager
def held_back(input: Input) -> Iterator[None]:
    """Inside it a prompt sees nothing of what was typed before; afterwards that is as if it had just been typed."""
    with input.raw_mode():
        keys = get_typeahead(input) + input.read_keys() + input.flush_keys()
    try:
        yield
    finally:
        store_typeahead(input, keys + get_typeahead(input))
