"""Replies as a chat shows them: as markdown or raw, their thoughts folded, hidden or in full."""

from __future__ import annotations

from functools import partial

from rich.console import Console

from gemma_cli.core.conversation import Entry
from gemma_cli.repl.settings import Settings
from gemma_cli.views.markdown.body import MarkdownBody, RawBody, ThoughtsBody
from gemma_cli.views.markdown.stream import Reply
from gemma_cli.views.markdown.tail import Tail
from gemma_cli.views.sanitize import safe

UNFOLD = "Ctrl+O unfolds"


def reply_view(out: Console, settings: Settings) -> Reply:
    """Return the view that draws a reply while it streams."""
    reply = partial(Reply, out, _body(out, settings))
    match settings.thoughts:
        case "full":
            return reply(ThoughtsBody(out))
        case "hidden":
            return reply(hint=None)
        case "folded":
            return reply(hint=UNFOLD)


def show_reply(out: Console, settings: Settings, entry: Entry) -> None:
    """Print a finished reply once more."""
    body = _body(out, settings)
    body.feed(safe(entry.message.text))
    with Tail(out) as tail:
        tail.draw(body.close(tail.width), [])


def _body(out: Console, settings: Settings) -> MarkdownBody | RawBody:
    return RawBody(out) if settings.raw else MarkdownBody(out)
