import io

import pyte
import pytest
from rich.console import Console

from gemma_cli.views import status
from gemma_cli.views.status import StatusLine, counting, working


def console(**options):
    return Console(file=io.StringIO(), markup=False, **{"force_terminal": True, "width": 30} | options)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to, and what each line said then."""

    class Clock:
        now = 0.0
        line: StatusLine

    original = StatusLine.start
    monkeypatch.setattr(status, "monotonic", lambda: Clock.now)

    def start(line):
        Clock.line = line
        original(line)

    monkeypatch.setattr(StatusLine, "start", start)
    return Clock


def test_what_is_over_within_a_second_says_nothing(clock):
    with working(console(), "loading e2b"):
        clock.now = 0.9
        assert clock.line._line().plain == ""
        clock.now = 4.2
        assert clock.line._line().plain == "loading e2b, 4 s"


def test_counted_work_says_how_much_is_left(clock):
    with counting(console(), "talk.wav", 240, "s") as advance:
        clock.now = 2.0
        assert clock.line._line().plain == "talk.wav: 0 of 240 s"
        advance(60)
        clock.now = 20.0
        assert clock.line._line().plain == "talk.wav: 60 of 240 s, 60 s left"
        advance(180)
        assert clock.line._line().plain == "talk.wav: 240 of 240 s"


def screen(terminal):
    """What a terminal shows after all that was written: its rows down to the last that has something in it."""
    shown = pyte.Screen(30, 10)
    pyte.Stream(shown).feed(terminal.file.getvalue().replace("\n", "\r\n"))
    return "\n".join(row.rstrip() for row in shown.display).rstrip().split("\n")


def test_the_line_is_gone_afterwards_and_the_cursor_is_back(clock):
    terminal = console()
    with working(terminal, "loading"):
        clock.now = 5.0
        clock.line._live.refresh()
        assert screen(terminal) == ["loading, 5 s"]
    assert screen(terminal) == [""]
    written = terminal.file.getvalue()
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")


def test_a_long_label_stays_on_one_line(clock):
    terminal = console()
    with working(terminal, "x" * 200):
        clock.now = 5.0
        for _ in range(3):
            clock.line._live.refresh()
        assert screen(terminal) == ["x" * 29 + "…"]
    assert screen(terminal) == [""]


@pytest.mark.parametrize("options", [{"force_terminal": False}, {"_environ": {"TERM": "dumb"}}])
def test_off_a_terminal_nothing_is_written(clock, options):
    terminal = console(**options)
    with working(terminal, "loading"):
        clock.now = 5.0
    assert terminal.file.getvalue() == ""


def test_a_file_name_cannot_drive_the_terminal(clock):
    with counting(console(), "a\x1b[2Jb\n.wav", 2, "files"):
        clock.now = 5.0
        assert clock.line._line().plain == "a^[[2Jb^J.wav: 0 of 2 files"
