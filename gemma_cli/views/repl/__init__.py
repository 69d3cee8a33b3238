"""Where the user types: messages on stdin's terminal, drawn on stderr so that stdout holds replies alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator

PROMPT = ">>> "


def messages() -> Iterator[str]:
    """What is typed, a message at a time, until end of file. Ctrl-C drops the line being typed."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.output import create_output

    session: PromptSession[str] = PromptSession(PROMPT, output=create_output(stdout=sys.stderr))
    while True:
        try:
            typed = session.prompt().strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if typed:
            yield typed
