"""What typed lines mean, what can be set, what the toolbar and the completion say: all without a terminal."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from test_repl_chat import chat

from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import Round, Speculation, Timings, Turn, Usage
from gemma_cli.core.messages import Drafting, Sampling
from gemma_cli.core.setting_kinds import Number, Whole
from gemma_cli.core.settings import ANSWER_TOKENS, THOUGHT_TOKENS
from gemma_cli.repl.completion import ChatCompleter
from gemma_cli.repl.line.mentions import mentioning, mentions, named, sent_as_text
from gemma_cli.repl.line.parse import Command, Dropped, Message, Shell, nearest, parse
from gemma_cli.repl.line.paths import paths
from gemma_cli.repl.settings import KNOBS, Settings, changed, reseeded, thinking
from gemma_cli.repl.slash.commands import TABLE
from gemma_cli.repl.thoughts import Fold
from gemma_cli.repl.toolbar import Status, toolbar

SETTINGS = Settings(Sampling(), Drafting())


def nowhere(path: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("hello", Message("hello")),
        ("  hello\nthere ", Message("hello\nthere")),
        ("", Message("")),
        ("/help", Command("help", "")),
        ("/HELP", Command("help", "")),
        ("/?", Command("?", "")),
        ("/set temperature 0.5", Command("set", "temperature 0.5")),
        ("/system be kind\nand brief", Command("system", "be kind\nand brief")),
        ("//help is a command", Message("/help is a command")),
        ("!git status", Shell("git status")),
        ("!!important", Message("!important")),
        ("!", Message("!")),
        ("/usr/bin is a folder", Message("/usr/bin is a folder")),
        ("/", Message("/")),
        ("/ help", Message("/ help")),
        ("1/2", Message("1/2")),
    ],
)
def test_a_line_means(line: str, meaning: object):
    assert parse(line, nowhere) == meaning


@given(st.text())
def test_any_line_means_something(line: str):
    assert parse(line, nowhere) is not None


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("/tmp/cat.png", ["/tmp/cat.png"]),
        ("/tmp/my\\ cat.png", ["/tmp/my cat.png"]),
        ("'/tmp/my cat.png' /tmp/a.wav", ["/tmp/my cat.png", "/tmp/a.wav"]),
        ("file:///tmp/cat.png", ["/tmp/cat.png"]),
        ("file:///tmp/my%20c%C3%A4t%23.txt", ["/tmp/my cät#.txt"]),
        ("file://localhost/tmp/a.py\r\nfile:///tmp/b.pdf\n", ["/tmp/a.py", "/tmp/b.pdf"]),
        ("/tmp/film.MP4 ", ["/tmp/film.MP4"]),
        ("/tmp/Makefile", ["/tmp/Makefile"]),
        ("/vmlinuz.png", ["/vmlinuz.png"]),
        ("notes.txt", ["notes.txt"]),
        ("it's mine.txt", ["it's mine.txt"]),
        ("$HOME/a.png ~/b.txt", ["/home/me/a.png", "/home/me/b.txt"]),
    ],
)
def test_files_dropped_on_the_terminal_are_attached(line: str, files: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse(line, set(files).__contains__) == Dropped(tuple(files))


@pytest.mark.parametrize(
    "line",
    ["/tmp/cat.png what is it?", "/tmp/gone.png", "it's", "test", "/help", "file://elsewhere/tmp/cat.png", "x" * 9_000],
)
def test_anything_else_is_not_taken_for_a_file(line: str):
    there = {"/tmp/cat.png", "/tmp/notes.txt", "test", "/help", "x" * 9_000}
    assert not isinstance(parse(line, there.__contains__), Dropped)


def test_paths_are_read_as_a_shell_does_or_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert paths("a.png b\\ c.png 'd e.png'", nowhere) == ["a.png", "b c.png", "d e.png"]
    assert paths("my cat's.png", {"my cat's.png"}.__contains__) == ["my cat's.png"]
    assert paths("~/cat.png", nowhere) == ["/home/me/cat.png"]
    assert paths("it's", nowhere) == ["it's"]
    assert paths("  ", nowhere) == []


@pytest.mark.parametrize(("typo", "meant"), [("hlep", "help"), ("imagee", "image"), ("ret", "retry"), ("xyz", None)])
def test_a_typo_is_met_with_what_was_meant(typo: str, meant: str | None):
    assert nearest(typo, list(TABLE)) == meant


def test_every_knob_can_be_set_and_says_its_range():
    for name, knob in KNOBS.items():
        kind = knob.setting.kind
        assert isinstance(kind, Number | Whole)
        settings = changed(SETTINGS, name, f"{kind.lowest:g}")
        assert knob.get(settings) == kind.lowest
        for bad in ("nan", "inf", "-1", "x", "", f"{kind.highest * 2 + 2:.0f}"):
            with pytest.raises(UsageError, match=f"{name} takes"):
                changed(SETTINGS, name, bad)
    assert changed(SETTINGS, "temperature", "0.5").sampling == Sampling(temperature=0.5)
    assert changed(SETTINGS, "draft-tokens", "0").drafting == Drafting(0)
    assert changed(SETTINGS, "max_tokens", "7").sampling.max_tokens == 7
    with pytest.raises(UsageError, match="did you mean temperature"):
        changed(SETTINGS, "temprature", "1")


def test_words_stand_for_values_that_are_found_when_needed():
    assert changed(changed(SETTINGS, "draft-tokens", "3"), "draft-tokens", "auto").drafting == Drafting(adaptive=True)
    seeds = {changed(SETTINGS, "seed", "random").sampling.seed for _ in range(3)}
    assert len(seeds) > 1
    thoughtful = changed(thinking(changed(SETTINGS, "max-tokens", "7"), True), "max-tokens", "auto")
    assert thoughtful.sampling.max_tokens == THOUGHT_TOKENS
    assert changed(thinking(thoughtful, False), "max-tokens", "auto").sampling.max_tokens == ANSWER_TOKENS


def test_the_next_seed():
    assert reseeded(SETTINGS).sampling.seed == 1
    assert reseeded(changed(SETTINGS, "seed", str(2**32 - 1))).sampling.seed == 0


# --- toolbar --------------------------------------------------------------------------------------------------------

LAST = Turn(usage=Usage(10, 11, 0), timings=Timings(decode_s=0.5), speculation=Speculation([Round(4, 3)]))


def test_the_toolbar_tells_model_context_speed_and_acceptance():
    text = "".join(text for _, text in toolbar(Status("pocket", 1234, 8192, LAST, ("thinking",)), 120))
    assert text == " pocket | 1,234 of 8,192 tokens, 15% | thinking | 20.0 tokens/s | 75% of drafts accepted "


def test_it_warns_when_the_context_is_nearly_full():
    assert ("class:toolbar.warning", "| 7,000 of 8,192 tokens, 85% - nearly full ") in toolbar(
        Status("m", 7000, 8192), 80
    )
    assert not any("warning" in style for style, _ in toolbar(Status("m", 6000, 8192), 80))


@pytest.mark.parametrize("columns", range(1, 100, 7))
def test_it_never_runs_over_the_edge(columns: int):
    assert sum(len(text) for _, text in toolbar(Status("m" * 9, 1, 8192, LAST, ("raw",), "notice"), columns)) < columns


# --- thoughts -------------------------------------------------------------------------------------------------------


def wrap(text: str, columns: int) -> list[str]:
    return text.split("\n")


def test_thoughts_unfold_and_fold():
    fold = Fold(["first", "second\nthoughts"])
    assert fold.rows(80, 20, wrap) == []
    assert fold.toggle()
    assert fold.rows(80, 20, wrap)[1:] == ["│ second", "│ thoughts", ""]
    assert "thoughts of the last reply with thoughts" in fold.rows(80, 20, wrap)[0]
    fold.go(1)
    assert fold.rows(80, 20, wrap)[1:] == ["│ first", ""]
    fold.go(5)
    assert "thoughts of an earlier reply (1 back)" in fold.rows(80, 20, wrap)[0]
    fold.go(-5)
    assert "the last reply" in fold.rows(80, 20, wrap)[0]
    fold.toggle()
    assert fold.rows(80, 20, wrap) == []


def test_long_thoughts_scroll_within_the_height():
    fold = Fold(["\n".join(f"t{i}" for i in range(100))])
    fold.toggle()
    seen = []
    for _ in range(20):
        rows = fold.rows(120, 12, wrap)
        assert len(rows) <= 12
        seen += rows[1:-1]
        fold.scroll(10)
    assert set(seen) == {f"│ t{i}" for i in range(100)}
    assert "lines 91-100 of 100" in rows[0]


def test_there_is_nothing_to_unfold_before_a_reply_has_thought():
    assert not Fold().toggle()


# --- completion -----------------------------------------------------------------------------------------------------


def completions(line: str, **kwargs: object) -> list[str]:
    found = ChatCompleter(chat(**kwargs)).get_completions(Document(line), CompleteEvent())
    return [line[: len(line) + c.start_position] + c.text for c in found]


def test_commands_and_their_arguments_complete(tmp_path: Path):
    assert set(completions("/re")) == {"/retry", "/read "}
    assert completions("/think o") == ["/think on", "/think off"]
    assert completions("/set top") == ["/set top-p", "/set top-k"]
    assert completions("hello /") == []


def test_only_media_the_model_takes_are_offered():
    assert "/video " in completions("/")
    assert "/video " not in completions("/", modalities={"image"})
    assert completions("/audio ", modalities={"image"}) == []


def test_paths_complete_with_their_blanks_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my cat.png", "my dog.jpg", "notes.txt", ".hidden.png"):
        Path(name).touch()
    Path("folder").mkdir()
    Path("folder/x.png").touch()
    assert completions("/image my") == ["/image my\\ cat.png", "/image my\\ dog.jpg"]
    assert completions("/image my\\ c") == ["/image my\\ cat.png"]
    assert completions("/image my\\ cat.png fol") == ["/image my\\ cat.png folder/"]
    assert completions("/image folder/") == ["/image folder/x.png"]
    assert completions(f"/image {tmp_path}/my") == [
        f"/image {tmp_path}/my\\ cat.png",
        f"/image {tmp_path}/my\\ dog.jpg",
    ]
    assert completions("/read no") == ["/read notes.txt"]
    assert completions("/image /nowhere/x") == []
    assert completions("what is @my") == ["what is @my\\ cat.png", "what is @my\\ dog.jpg"]
    assert completions("two\nlines @my\\ c") == ["two\nlines @my\\ cat.png"]
    assert completions("see @folder/") == ["see @folder/x.png"]
    assert completions("me@my") == []
    for completed in completions("/image my"):
        assert os.path.exists(paths(completed.removeprefix("/image "))[0])  # noqa: PTH110


# --- files that a message mentions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "asked", "sent"),
    [
        ("Describe this. samples/star.png", [False], "Describe this. star.png"),
        ("What is in samples/star.png?", [False], "What is in star.png?"),
        ("(see 'my cat.png')", [False], "(see my cat.png)"),
        ("@samples/star.png what?", [True], "star.png what?"),
        ("Compare @a.py, @b.py.", [True, True], "Compare a.py, b.py."),
        ('Read @my\\ notes and @"to do"', [True, True], "Read my notes and to do"),
        ("@$HOME/a.py", [True], "/home/me/a.py"),
        ("file:///home/me/my%20cat.png what?", [False], "my cat.png what?"),
        ("Read a.py", [], "Read a.py"),
        ("mail me@a.py, thanks @nora and @types/node", [], "mail me@a.py, thanks @nora and @types/node"),
        ("@app.command\ndef f(): ...", [], "@app.command\ndef f(): ..."),
        ("gone.png", [], "gone.png"),
    ],
)
def test_files_are_mentioned(text: str, asked: list[bool], sent: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    there = {"samples/star.png", "my cat.png", "a.py", "b.py", "my notes", "to do", "/home/me/a.py"}
    found = mentions(text, (), (there | {"/home/me/my cat.png"}).__contains__)
    assert [mention.asked for mention in found] == asked
    assert named(text, found) == sent


def test_a_pattern_mentions_every_file_it_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.png", "c.txt"):
        (tmp_path / name).touch()
    assert mentions("@*.png")[0].paths == ("a.png", "b.png")
    assert paths("*.png ?.txt") == ["a.png", "b.png", "c.txt"]
    assert parse("*.png") == Dropped(("a.png", "b.png"))


@pytest.mark.parametrize("text", ["@gone.png", "@notes.md", "@samples/gone", "what is @gone.PDF?"])
def test_a_file_that_was_meant_and_is_not_there_is_noticed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples").mkdir()
    assert [mention.paths for mention in mentions(text)] == [()]


def test_what_was_pasted_mentions_nothing():
    text = "look: see @a.png and b.png. also @c.png"
    found = mentions(text, ("see @a.png and b.png",), {"a.png", "b.png", "c.png"}.__contains__)
    assert [mention.word for mention in found] == ["c.png"]


def test_files_dropped_before_words_are_mentioned():
    exists = {"/a/b c.txt", "/a/d.txt"}.__contains__
    for drop, line, meant in (
        ("/a/d.txt", "/a/d.txt what?", "@/a/d.txt what?"),
        ("'/a/b c.txt'", " '/a/b c.txt'  what?", "@/a/b\\ c.txt  what?"),
        ("/a/d.txt", "/a/d.txt", "/a/d.txt"),
        ("/a/d.txt", "/a/d.txt ", "/a/d.txt "),
        ("/a/d.txt", "see /a/d.txt what?", "see /a/d.txt what?"),
        ("/a/gone.txt", "/a/gone.txt what?", "/a/gone.txt what?"),
    ):
        assert mentioning(line, [drop], exists) == meant
    assert mentioning("/a/d.txt what?", [], exists) == "/a/d.txt what?"


def test_an_absolute_path_that_is_sent_as_text_is_named():
    exists = {"/a/d.txt", "/a/e.png"}.__contains__
    text = "why is /a/d.txt, (or '/a/d.txt') empty, and /a/x.txt not? see @/a/d.txt /a/e.png d.txt"
    assert sent_as_text(text, exists=exists) == ["/a/d.txt", "'/a/d.txt'"]
    assert sent_as_text(text, ["/a/d.txt, (or '/a/d.txt') empty"], exists) == []


@given(st.text(alphabet="@'\"\\ .a/\n$*~[({"))
def test_no_text_breaks_the_search_for_files(text: str):
    assert named(text, []) == text
    for mention in mentions(text):
        assert text[mention.start : mention.end].lstrip("@") == mention.word
