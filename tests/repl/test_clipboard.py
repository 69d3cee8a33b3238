"""The clipboard: a picture comes from it, and a reply or one of its code blocks goes to it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from test_repl_chat import World, chat

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.engines.scripted import Reply
from gemma_cli.repl import clipboard
from gemma_cli.repl.loop import act
from gemma_cli.text.code_blocks import code_blocks

STAR = Path(__file__).parents[2] / "gemma_cli" / "samples" / "star.png"
REPLY = "Two:\n\n```python\nprint(1)\n```\n\n- in a list\n\n  ~~~\n  a\n\n  b\n  ~~~\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the clipboard of X11 and Wayland")


def program(folder: Path, name: str, offered: str, content: Path | None) -> str:
    """A clipboard program that offers types and writes a file when it is asked for image/png; the PATH to find it."""
    script = folder / name
    body = f"cat '{content}'" if content else "exit 1"
    script.write_text(f'#!/bin/sh\ncase "$*" in *TARGETS|*--list-types) echo "{offered}";; *image/png) {body};; esac\n')
    script.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.mark.parametrize(("name", "display"), [("xclip", "DISPLAY"), ("wl-paste", "WAYLAND_DISPLAY")])
def test_a_picture_comes_from_the_clipboard(
    name: str, display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", program(tmp_path, name, "TARGETS text/html image/png", STAR))
    picture = clipboard.picture({display: ":0"})
    assert (picture.name, picture.pixels.shape[2]) == ("picture from the clipboard", 3)


def test_a_clipboard_without_a_picture_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", program(tmp_path, "xclip", "TARGETS UTF8_STRING", None))
    with pytest.raises(InputError, match="the clipboard has no picture"):
        clipboard.picture({"DISPLAY": ":0"})


@pytest.mark.parametrize(
    ("environment", "words"), [({}, "wl-clipboard"), ({"DISPLAY": ":0", "SSH_TTY": "/dev/pts/1"}, "over SSH")]
)
def test_where_there_is_none_the_remedy_is_named(
    environment: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=words):
        clipboard.picture(environment)


@pytest.mark.parametrize(
    ("line", "copied"), [("/copy", REPLY), ("/copy code", "a\n\nb"), ("/copy 1", "print(1)"), ("/copy 2", "a\n\nb")]
)
def test_a_reply_or_one_block_of_it_is_copied(line: str, copied: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr(clipboard, "copy", lambda text, terminal: taken.append(text) or "copied")
    talk = chat(replies=[Reply(REPLY)])
    act(talk, "hello")
    act(talk, line)
    assert [text.strip() for text in taken] == [copied.strip()]


@pytest.mark.parametrize(
    ("reply", "line", "words"),
    [
        (REPLY, "/copy 3", "the last reply has 2 code blocks"),
        (REPLY, "/copy 0", "the last reply has 2 code blocks"),
        (REPLY, "/copy that", "/copy code copies the last block, /copy 1 the first"),
        ("none", "/copy code", "no code block; /copy copies the entire reply"),
    ],
)
def test_a_block_that_is_not_there_is_refused(reply: str, line: str, words: str) -> None:
    world = World()
    talk = chat(world, replies=[Reply(reply)])
    act(talk, "hello")
    act(talk, line)
    assert words in world.said()


def test_an_unfinished_block_is_one_too() -> None:
    assert code_blocks("```\nx = 1\n") == ["x = 1"]
