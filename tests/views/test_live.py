import io
import re
import unicodedata

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from gemma_cli.events import Delta, Done, Round, Timings, Turn, Usage, collect
from gemma_cli.views import live, status

DONE = Done("stop", Usage(5, 7, 2), Timings(ttft_s=0.1, decode_s=0.5))
THOUGHT = [Round(4, 3), Delta("thinking", "let me "), Round(4, 1), Delta("thinking", "see"), Round(4, 0)]
ANSWER = [Delta("answer", "It is "), Delta("answer", "four.")]


class Screen:
    """A terminal of 40 columns that both consoles write to, as stdout and stderr do."""

    def __init__(self, width=40, height=24, **options):
        self.raw = io.StringIO()
        self.width, self.height = width, height
        options = {"force_terminal": True, "color_system": "truecolor", "width": width, "height": height} | options
        self.out = Console(file=self.raw, markup=False, emoji=False, highlight=False, soft_wrap=True, **options)
        self.err = self.out

    @property
    def lines(self):
        screen = pyte.HistoryScreen(self.width, self.height, history=10_000)
        pyte.Stream(screen).feed(self.raw.getvalue().replace("\n", "\r\n"))
        history = ["".join(row[x].data for x in range(self.width)) for row in screen.history.top]
        return [line.rstrip() for line in [*history, *screen.display]][: len(history) + screen.cursor.y]


@pytest.fixture
def screen():
    return Screen()


def test_thoughts_fold_into_one_line(screen):
    turn = live.show([*THOUGHT, *ANSWER, DONE], screen.out, screen.err)
    assert turn == collect([*THOUGHT, *ANSWER, DONE])
    assert screen.lines == ["thought for 0.0 s, about 7 tokens", "It is four."]
    assert "\x1b[2mthought" in screen.raw.getvalue()


def test_the_line_while_it_lasts_says_how_far_it_is(screen, monkeypatch):
    drawn = []
    monkeypatch.setattr(status.StatusLine, "start", lambda line: drawn.append(line))

    def events():
        for event in THOUGHT:
            yield event
            drawn.append(drawn[0]._line().plain)

    live.show(events(), screen.out, screen.err)
    assert drawn[1] == ""
    assert drawn[2] == "thinking 0.0 s, about 4 tokens"
    assert drawn[5] == "thinking 0.0 s, about 7 tokens"


def test_without_rounds_no_tokens_are_claimed(screen):
    live.show([Delta("thinking", "hm"), *ANSWER, DONE], screen.out, screen.err)
    assert screen.lines[0] == "thought for 0.0 s"


def test_thoughts_in_full_stand_above_the_answer(screen):
    turn = live.show_thinking([*THOUGHT, *ANSWER, DONE], screen.out, screen.err)
    assert turn == collect([*THOUGHT, *ANSWER, DONE])
    assert screen.lines == ["let me see", "thought for 0.0 s, about 7 tokens", "It is four."]
    assert "\x1b[2mlet me " in screen.raw.getvalue()


@pytest.mark.parametrize("view", [live.show, live.show_thinking])
def test_no_thoughts_no_line(screen, view):
    view([*ANSWER, DONE], screen.out, screen.err)
    assert screen.lines == ["It is four."]


@pytest.mark.parametrize("view", [live.show, live.show_thinking])
def test_every_line_of_a_long_answer_is_there_once(view):
    screen = Screen(height=10)
    events = [*THOUGHT] + [Delta("answer", f"line {i}\n") for i in range(300)]
    view([*events, DONE], screen.out, screen.err)
    assert [line for line in screen.lines if line.startswith("line")] == [f"line {i}" for i in range(300)]


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text())
@pytest.mark.parametrize("view", [live.show, live.show_thinking])
def test_the_model_sends_no_escapes_of_its_own(view, thinking, answer):
    screen = Screen()
    view([Delta("thinking", thinking), Delta("answer", answer), DONE], screen.out, screen.err)
    ours = re.compile(r"\x1b\[(2K|0m|2m|1A|\?25[lh])")  # what Rich writes for one dim line
    written = ours.sub("", screen.raw.getvalue())
    assert not [char for char in written if unicodedata.category(char) == "Cc" and char not in "\r\n\t"]


def test_markup_is_taken_literally(screen):
    events = [Delta("thinking", "[b]a[/x]"), Delta("answer", "[red]:smile:[/]"), DONE]
    live.show_thinking(events, screen.out, screen.err)
    assert screen.lines[0] == "[b]a[/x]"
    assert screen.lines[-1] == "[red]:smile:[/]"


def test_a_dumb_terminal_gets_no_escapes(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen(color_system="auto")
    live.show([*THOUGHT, *ANSWER, DONE], screen.out, screen.err)
    assert "\x1b" not in screen.raw.getvalue()
    assert screen.raw.getvalue() == "thought for 0.0 s, about 7 tokens\nIt is four.\n"


def test_no_color_means_no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    live.show_thinking([*THOUGHT, *ANSWER, DONE], screen.out, screen.err)
    assert "\x1b[3" not in screen.raw.getvalue()


@pytest.mark.parametrize("view", [live.show, live.show_thinking])
def test_ctrl_c_keeps_what_was_said_and_gives_the_cursor_back(screen, view):
    def events():
        yield from THOUGHT
        raise KeyboardInterrupt

    turn = view(events(), screen.out, screen.err)
    assert turn == Turn(thinking="let me see", speculation=collect(THOUGHT).speculation, finish_reason="interrupted")
    raw = screen.raw.getvalue()
    assert raw.rfind("\x1b[?25h") >= raw.rfind("\x1b[?25l")
    assert screen.lines[-1].startswith("thought for")


@pytest.mark.parametrize("view", [live.show, live.show_thinking])
def test_an_error_in_the_engine_gives_the_cursor_back(screen, view):
    def events():
        yield from THOUGHT
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        view(events(), screen.out, screen.err)
    raw = screen.raw.getvalue()
    assert raw.rfind("\x1b[?25h") >= raw.rfind("\x1b[?25l")


def test_a_closed_pipe_reaches_the_caller(screen):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        live.show(ANSWER, Console(file=Closed()), screen.err)
