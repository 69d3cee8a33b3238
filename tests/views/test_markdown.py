"""What streaming markdown promises: nothing lost, nothing doubled, nothing hidden, at a cost linear in the text."""

import io
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment

from gemma_cli.core.errors import ModelError
from gemma_cli.core.events import Delta, Done, Event, Round, Usage
from gemma_cli.views.markdown import stream
from gemma_cli.views.markdown.blocks import CELLS, LIMIT, BlockSplitter
from gemma_cli.views.markdown.body import ENDLESS, MarkdownBody, ThoughtsBody
from gemma_cli.views.markdown.render import render
from tests.views.screen import Screen

DOCUMENT = """\
# A title

Some *emphasis*, **strength** and `code`, [x] a bracket, :smile: a code.
A second line of the paragraph.

1. one
2. two

   ```python
   def f():

       return 1
   ```
3. three
    * nested
        * deeper

* loose

* list

> a quotation
> > in a quotation

| left | right |
|------|------:|
| 日本語 | 12 |
| עברית | 3 |

```python
def g(x):
    \"\"\"A docstring
    of two lines\"\"\"

    return x
```

The end ~~not~~.
"""


class Clock:
    """A clock that goes on by `step` whenever it is looked at."""

    def __init__(self, step: float = 0.01) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Eager(stream.Reply):
    """A reply that draws a frame for every event."""

    _next_frame = property(lambda self: 0.0, lambda self, value: None)  # type: ignore[assignment]

    def __init__(self, screen: Screen, **kwargs: Any) -> None:
        super().__init__(screen.console, MarkdownBody(screen.console), clock=Clock(), **kwargs)


def chunks(text: str, seed: int = 0, longest: int = 7) -> Iterator[str]:
    chance = random.Random(seed)
    while text:
        size = chance.randint(1, longest)
        yield text[:size]
        text = text[size:]


def answer(text: str, seed: int = 0, longest: int = 7) -> Iterator[Event]:
    for chunk in chunks(text, seed, longest):
        yield Delta("answer", chunk)
    yield Done("stop")


def drawn(text: str, columns: int = 80, rows: int = 24, seed: int = 0) -> Screen:
    screen = Screen(columns, rows)
    reply = Eager(screen)
    turn = reply.draw(answer(text, seed))
    assert turn.text == text
    return screen


def test_a_document_looks_like_this():
    assert (
        drawn(DOCUMENT).lines
        == """\
A title

Some emphasis, strength and code, [x] a bracket, :smile: a code. A second line
of the paragraph.

 1. one
 2. two
    def f():

        return 1
 3. three
     • nested
        • deeper

 • loose

 • list

▌ a quotation
▌ ▌ in a quotation

 left     right
 ──────────────
 日本語      12
 עברית        3

```python
def g(x):
    \"\"\"A docstring
    of two lines\"\"\"

    return x
```

The end not.""".splitlines()
    )


@pytest.mark.parametrize("seed", range(8))
def test_any_chunking_draws_the_same(seed: int):
    assert drawn(DOCUMENT, seed=seed).lines == drawn(DOCUMENT).lines


def test_code_is_highlighted_as_if_it_had_come_at_once():
    def looks(chunked: Iterable[str]) -> list[Segment]:
        console, splitter, lines = Screen().console, BlockSplitter(), []
        for chunk in chunked:
            splitter.feed(chunk)
            lines += [line for piece in splitter.take() if piece.kind == "code" for line in render(piece, console, 79)]
        return [segment for line in lines for segment in line]

    code = "```python\n" + 'x = """a\nb\n"""\nreturn None  # c\n' * 5 + "```\n"
    assert looks(chunks(code, 3)) == looks([code])
    assert len({segment.style for segment in looks([code])}) > 3, "nothing is highlighted"


# --- nothing is lost, doubled or hidden -----------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "word",
        "*em*",
        "**b**",
        "`c`",
        "- ",
        "1. ",
        "# ",
        "> ",
        "```",
        "```py",
        "~~~",
        "|",
        "---",
        "\n",
        "\n\n",
        " ",
        "    ",
        "<b>",
        "[l](http://a.b)",
        "![i](http://a.b)",
        "[1]: http://x.y",
        "<!-- c -->",
        "&amp;",
        "日本",
        "שלום",
        "👩‍👩‍👧",
        "\t",
        "***",
        "1) ",
        "+ ",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=40), st.integers(0, 5))
def test_every_word_of_any_text_is_shown(words: list[str], seed: int):
    numbered = [f"w{i}x" if word == "word" else word for i, word in enumerate(words)]
    text = "".join(numbered)
    shown = "".join(drawn_lines(text, seed))
    lost = [word for word in numbered if re.fullmatch(r"w\d+x", word) and word not in shown and not in_info(word, text)]
    assert not lost, f"lost {lost} of {text!r}: {shown!r}"


def in_info(word: str, text: str) -> bool:
    """Whether the word stands in the info string of a fence inside a list or quotation, which is not shown."""
    return bool(re.search(rf"(```|~~~)[^\n]*{word}", text))


def drawn_lines(text: str, seed: int, width: int = 200, longest: int = 12, rows: int = ENDLESS) -> list[str]:
    screen = Screen(width)
    body, lines = MarkdownBody(screen.console), []
    for chunk in chunks(text, seed, longest):
        body.feed(chunk)
        lines += body.advance(width, rows)[0]
    lines += body.close(width)
    return ["".join(segment.text for segment in line) for line in lines]


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=40), st.integers(1, 9))
def test_any_chunking_of_any_text_gives_the_same_lines(words: list[str], seed: int):
    text = "".join(words)
    assert drawn_lines(text, seed) == drawn_lines(text, 0)


LETTERS = st.lists(WORDS.filter(lambda word: "```" not in word and "~" not in word and word not in "|---"), max_size=60)


@settings(max_examples=200, deadline=None)
@given(LETTERS, st.integers(0, 5), st.integers(20, 60), st.integers(20, 60))
def test_a_long_piece_comes_out_row_by_row_whatever_the_width(words: list[str], seed: int, before: int, after: int):
    text = "".join(f"w{i}x " * 5 if word == "word" else word for i, word in enumerate(words))
    body = MarkdownBody(Screen().console)
    lines = []
    for number, chunk in enumerate(chunks(text, seed, 12)):
        body.feed(chunk)
        lines += body.advance(before if number < 10 else after, 2)[0]
    lines += body.close(after)
    shown = re.sub(r"[^\w]", "", "".join(segment.text for line in lines for segment in line))
    assert shown == re.sub(r"[^\w]", "", "".join(drawn_lines(text, 0)))


@pytest.mark.parametrize(
    "text",
    ["[brackets] [/b] [red]x[/red]", ":smile: :warning:", "<div>html</div>", "[1]: http://a.b", "a_b_c [/x].png"],
)
def test_markup_of_others_is_literal(text: str):
    assert drawn(text).text == text


def test_links_say_where_they_go_and_only_the_web_is_linked():
    text = drawn(
        "[safe](https://good.example/) [user](http://good.example@evil.example/x)\n\n"
        "[js](javascript:alert(1)) [f](file:///etc/passwd) [d](data:text/html,x)\n\n"
        "![cat](https://e.example/cat.png) <https://auto.example>"
    ).text
    for expected in (
        "safe (https://good.example/)",
        "user (http://good.example@evil.example/x)",
        "[js](javascript:alert(1))",
        "[f](file:///etc/passwd)",
        "[d](data:text/html,x)",
        "cat (https://e.example/cat.png)",
        "https://auto.example",
    ):
        assert expected in text.replace("\n", " ")
    assert text.count("https://auto.example") == 1


@pytest.mark.parametrize(
    "payload",
    [
        "\x1b]52;c;eA==\x07",
        "\x1b[2J",
        "\x9b31m",
        "\x1bP+q\x1b\\",
        "\x1bc",
        "\u202egnp.exe",
        "&#x202E;gnp",
        "&#27;[31m",
        "[a](http://x.y/\x1b[31m)",
        "`\x1b[31m`",
        "```\n\x1b[31m\n```",
        "```\x1b[31m\nx\n```",
        "| \x1b[2J |\n|--|\n| &#155;2J |",
        "<http://x.y/%1b[31m>",
        "# \x1b]0;t\x07",
        "\U000e0041",
        "- \x1b[31m\n  - \x9d8;;http://e\x9c",
    ],
)
@pytest.mark.parametrize("channel", ["answer", "thinking"])
def test_no_text_can_drive_the_terminal(payload: str, channel: str):
    def control(text: str) -> list[str]:
        screen = Screen()
        thoughts = ThoughtsBody(screen.console)
        events = [*(Delta(channel, c) for c in text), Delta("answer", "."), Done("stop")]
        Eager(screen, thoughts=thoughts).draw(events)
        written = screen.raw
        own = re.sub(r"\x1b\[[0-9;]*m|\x1b\[\?(7|25|2026)[hl]|\r|\x1b\[J|\x1b\[\d+A|\n", "", written)
        return [c for c in own if unicodedata.category(c) in ("Cc", "Cf") or "\U000e0000" <= c <= "\U000e007f"]

    assert control(payload) == []


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_wide_characters_never_run_over_the_edge(columns: int):
    text = (
        "日本語のとても長い文章です。" * 9
        + "\n\n- "
        + "日本語" * 30
        + "\n\n| 日本語 | 中文字符 |\n|--|--|\n| 漢字漢字漢字 | かな |\n"
    )
    screen = drawn(text, columns)
    assert all(cell_len(line) < columns for line in screen.lines)
    assert "".join(re.findall(r"[日本語のとても長い文章です。]", screen.text)).startswith(
        "日本語のとても長い文章です。" * 9
    )


def test_code_lines_are_left_to_the_terminal_to_wrap_so_that_they_can_be_copied():
    line = "echo " + "x" * 200
    screen = drawn(f"```sh\n{line}\n```\n", columns=80)
    assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.raw).count(line + "\n") == 1


# --- on the screen --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lines", "code", "list", "paragraphs"])
@pytest.mark.parametrize("seed", range(3))
def test_resizing_while_it_streams_neither_loses_nor_doubles_a_line(kind: str, seed: int):
    marks = [f"line {i:03d} of the answer" for i in range(300)]
    text = {
        "lines": "  \n".join(marks),
        "code": "```\n" + "\n".join(marks) + "\n```\n",
        "list": "\n".join(f"- {mark}" for mark in marks),
        "paragraphs": "\n\n".join(marks),
    }[kind]
    screen = Screen(80, 24)
    reply = Eager(screen)

    def resized() -> Iterator[Event]:
        events = list(answer(text, seed, longest=200))
        for number, event in enumerate(events):
            if number == len(events) // 3:
                screen.resize(40)
            if number == len(events) * 2 // 3:
                screen.resize(120)
            yield event

    reply.draw(resized())
    shown = [re.search(r"line \d{3}", line)[0] for line in screen.lines if re.search(r"line \d{3}", line)]
    assert shown == [mark[:8] for mark in marks]


def test_what_is_redrawn_is_bounded():
    screen = Screen(80, 10)
    Eager(screen).draw(answer("  \n".join(f"line {i}" for i in range(100))))
    redrawn = [frame.partition("\x1b[?7l")[2].count("\n") for frame in screen.written]
    assert max(redrawn) == 10 // 4 - 1


def test_the_cursor_waits_where_the_redrawn_lines_begin_and_is_hidden_only_meanwhile():
    screen = Screen()
    reply = Eager(screen)

    def look() -> Iterator[Event]:
        yield Delta("answer", "first paragraph\n\nsecond  \nthird")
        assert screen.screen.cursor.hidden
        assert screen.screen.cursor.x == 0
        below = [line.strip() for line in screen.screen.display[screen.screen.cursor.y :]]
        assert below[:3] == ["", "second", "third"], screen.lines
        yield Done("stop")

    reply.draw(look())
    assert not screen.screen.cursor.hidden
    assert (screen.screen.cursor.x, screen.screen.display[screen.screen.cursor.y - 1].strip()) == (0, "third")


def test_a_stream_cut_off_keeps_what_was_said_and_says_so():
    def cut() -> Iterator[Event]:
        yield Delta("answer", "half a sen")
        raise KeyboardInterrupt

    screen = Screen()
    turn = stream.show(cut(), screen.console)
    assert (turn.text, turn.finish_reason) == ("half a sen", "interrupted")
    assert screen.lines == ["half a sen", "[cut off]"]
    assert not screen.screen.cursor.hidden


def test_an_error_leaves_the_screen_in_order():
    def fail() -> Iterator[Event]:
        yield Delta("answer", "half a sen")
        raise ModelError("gone")

    screen = Screen()
    with pytest.raises(ModelError):
        stream.show(fail(), screen.console)
    assert screen.lines == ["half a sen"]
    assert not screen.screen.cursor.hidden


def test_off_a_terminal_nothing_is_redrawn():
    file = io.StringIO()
    stream.show(answer("# Title\n\nbody"), Console(file=file))
    assert file.getvalue() == "Title\n\nbody\n"


# --- thoughts -------------------------------------------------------------------------------------------------------

THINKING = [
    *(event for i in range(30) for event in (Round(3, 1), Delta("thinking", f"thought {i}\n"))),
    Delta("answer", "42"),
    Done("stop", Usage(3, 70, 60)),
]


def test_thoughts_fold_into_one_line():
    screen = Screen()
    turn = Eager(screen, hint="Ctrl+O unfolds").draw(THINKING)
    assert re.fullmatch(r"▸ thought for \d+\.\d s · 60 tokens · Ctrl\+O unfolds", screen.lines[0])
    assert screen.lines[1:] == ["", "42"]
    assert turn.thinking.count("thought") == 30


def test_while_it_thinks_one_line_says_for_how_long_and_how_much():
    screen = Screen()
    reply = Eager(screen)
    seen = []

    def look() -> Iterator[Event]:
        for event in THINKING[:40]:
            yield event
            seen.append(screen.lines)
        yield from THINKING[-2:]

    reply.draw(look())
    assert all(len(lines) <= 1 for lines in seen)
    assert re.fullmatch(r". thinking \d+\.\d s · 40 tokens · Ctrl\+C stops", seen[-1][0])


def test_thoughts_in_full_stand_behind_a_bar():
    screen = Screen()
    stream.show_thinking(THINKING, screen.console)
    assert screen.lines[:30] == [f"│ thought {i}" for i in range(30)]
    assert screen.lines[30].startswith("▾ thought for")
    assert screen.lines[-1] == "42"


def test_without_rounds_characters_are_counted():
    screen = Screen()
    stream.show([Delta("thinking", "hmm"), Delta("answer", "x"), Done("stop")], screen.console)
    assert "· 3 characters" in screen.lines[0]


# --- cost -----------------------------------------------------------------------------------------------------------

SHAPES = {
    "paragraphs": lambda n: "some words in a paragraph. " * 4 + "\n\n",
    "one paragraph": lambda n: "some words without an end ",
    "code": lambda n: ("```python\n" if n == 0 else "") + f"x_{n} = compute({n})\n",
    "one line of code": lambda n: ("```\n" if n == 0 else "") + "abcdefgh",
    "list": lambda n: f"- item {n} of a list that goes on\n",
    "table": lambda n: ("| a | b |\n|---|---|\n" if n == 0 else "") + f"| {n} | some words |\n",
    "quotation": lambda n: f"> line {n} of a quotation\n",
    "one item": lambda n: ("- " if n == 0 else "  ") + f"line {n}\n",
}


def rendered(shape: str, characters: int) -> int:
    """Characters rendered for a text of a shape when every chunk of it is drawn."""
    size = len(SHAPES[shape](1))
    text = "".join(SHAPES[shape](n) for n in range(characters // size))
    body = MarkdownBody(Screen().console)
    for start in range(0, len(text), 40):
        body.feed(text[start : start + 40])
        body.advance(79, 6)
    body.close(79)
    return body.rendered


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_the_text_costs_twice_the_rendering(shape: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gemma_cli.views.markdown.body.render", lambda *_: [])  # only counted
    monkeypatch.setattr("gemma_cli.views.markdown.body.wrapped_lines", lambda *_: [])
    once, twice = rendered(shape, 40_000), rendered(shape, 80_000)
    assert twice / once <= 2.3, f"{shape}: {once} characters rendered, {twice} for twice the text"


def test_frames_are_as_rare_as_they_are_dear():
    screen = Screen()
    clock = Clock(0)
    reply = stream.Reply(screen.console, MarkdownBody(screen.console), clock=clock)
    reply._tail.draw = lambda *_: setattr(clock, "now", clock.now + 0.1)  # a frame takes 0.1 s

    def typing() -> Iterator[Event]:
        for _ in range(1000):
            clock.now += 0.01
            yield Delta("answer", "x")

    reply.draw(typing())
    assert clock.now < 10 * 1.3, "drawing took more than its share"


def test_a_long_table_goes_on_under_its_heading():
    rows = "".join(f"| {i} | some words in a cell |\n" for i in range(LIMIT // 20))
    lines = drawn_lines("| number | words |\n|---|---|\n" + rows, 0, longest=2_000)
    assert 2 <= sum("number" in line for line in lines) <= 3
    assert [int(m[1]) for line in lines if (m := re.match(r" +(\d+) ", line))] == list(range(LIMIT // 20))


def test_a_table_of_many_small_cells_is_cut_by_their_number():
    blocks = BlockSplitter()
    blocks.feed("|a" * 20 + "|\n" + "|-" * 20 + "|\n" + ("|1" * 20 + "|\n") * 100)
    blocks.close()
    pieces = [piece.source for piece in blocks.take()]
    assert max(piece.count("|") for piece in pieces) <= CELLS + 3 * 21
    assert sum(piece.count("\n") - 1 for piece in pieces) == 100
    assert all(piece.startswith("|a") for piece in pieces)
