"""The console that commands draw replies on: what it honours, and what it lets through."""

import io

import pytest

from gemma_cli.core.events import Delta, Done
from gemma_cli.views.console import terminal
from gemma_cli.views.markdown import stream

REPLY = [Delta("thinking", "[b]hm[/b]"), Delta("answer", "**It** is :smile: [red]four[/]."), Done("stop")]


class Tty(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def tty(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Tty()


@pytest.mark.parametrize("show", [stream.show, stream.show_thinking])
def test_text_is_taken_literally_and_styled(tty, show):
    show(REPLY, terminal(tty))
    assert "[red]four[/]." in tty.getvalue()
    assert ":smile:" in tty.getvalue()
    assert "\x1b[1mIt" in tty.getvalue()


def test_no_color_means_no_colour(tty, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream.show_thinking([Delta("answer", "`code`\n\n```python\nx = 1\n```"), Done("stop")], terminal(tty))
    assert "\x1b[3" not in tty.getvalue()
    assert "38;5" not in tty.getvalue()


def test_a_dumb_terminal_gets_no_escapes(tty, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream.show(REPLY, terminal(tty))
    assert "\x1b" not in tty.getvalue()
