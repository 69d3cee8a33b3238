"""The chat's keys on a real pseudo-terminal, over the scripted engine."""

import re
import signal
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_cli.store.sessions import SessionStore
from tests.repl.driven_terminal import Driven

SAMPLES = Path(__file__).parents[2] / "gemma_cli" / "samples"
DEMO = str(Path(__file__).with_name("repl_demo.py"))
BRACKETED = "\x1b[200~{}\x1b[201~"
ALT_ENTER, ALT_M, CTRL_C, CTRL_D, CTRL_G, CTRL_J, CTRL_O, CTRL_R = (
    "\x1b\r", "\x1bm", "\x03", "\x04", "\x07", "\n", "\x0f", "\x12",
)  # fmt: skip

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal"),
    pytest.mark.usefixtures("scripts_are_forks"),
]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Driven]:
    driven = Driven(DEMO, str(tmp_path), "0.01", EDITOR="false")
    driven.until("tokens, 0%")
    yield driven
    driven.close()


def prompts(count: int):
    """The screen shows that many prompts: so many lines were read, or are being read."""
    return lambda text: len(re.findall(r"^>", text, re.MULTILINE)) >= count


def test_enter_sends_and_the_thoughts_are_folded(terminal: Driven):
    terminal.send("hello\r")
    text = terminal.until("The first answer.")
    assert re.search(r"^▸ thought for .* tokens · Ctrl\+O unfolds$", text, re.MULTILINE)
    assert "I wonder" not in text


def test_new_lines_and_bracketed_paste(terminal: Driven):
    terminal.send(f"one{CTRL_J}two{ALT_ENTER}three" + BRACKETED.format("\nfour\r\nfive"))
    terminal.until("> one\n  two\n  three\n  four\n  five")
    terminal.send("\r")
    terminal.until("The first answer.")


def test_ctrl_c_clears_the_line_and_then_says_how_to_leave(terminal: Driven):
    terminal.send("nonsense")
    terminal.until("> nonsense")
    terminal.send(CTRL_C)
    terminal.until(lambda text: "nonsense" not in text)
    terminal.send(CTRL_C)
    terminal.until("Ctrl+D or /exit leaves")
    terminal.send("x")
    terminal.until(lambda text: "leaves" not in text)


def test_ctrl_c_stops_a_reply_and_keeps_what_was_said(terminal: Driven):
    terminal.send("a\r")
    terminal.until("The first answer.")
    terminal.send("b\r")
    terminal.until("line 005")
    terminal.send(CTRL_C)
    text = terminal.until("[cut off]")
    assert "line 119" not in text
    terminal.until(lambda text: prompts(3)(text) and not terminal.screen.cursor.hidden)
    terminal.send("/retry\r")
    terminal.until("seed 8")
    terminal.until("print('third')")


def test_what_is_typed_while_a_reply_comes_waits_for_the_prompt(terminal: Driven, tmp_path: Path):
    terminal.send("a\r")
    terminal.until("The first answer.")
    terminal.send("b\r")
    terminal.until("line 002")
    terminal.send("c and more\r")
    (tmp_path / "hurry").touch()
    text = terminal.until("print('third')")
    assert text.count("c and more") == 1
    assert "line 119" in text


def test_what_is_typed_before_the_first_prompt_is_read_as_it_was_typed(tmp_path: Path):
    """Before the terminal is ours Enter arrives as a newline, while the model loads as Enter: it sends in both."""
    terminal = Driven(str(Path(DEMO).with_name("repl_loading_demo.py")), str(tmp_path))
    try:
        terminal.until("starting")
        terminal.send("one\rtwo")
        terminal.until("loading")
        terminal.send(f" and{CTRL_J}more\r")
        terminal.until(lambda text: "line 119" in text and prompts(3)(text))
        terminal.send(CTRL_D)
        assert terminal.ends() == 0
    finally:
        terminal.close()
    with sqlite3.connect(tmp_path / "sessions.db") as db:
        said = db.execute("SELECT text FROM part JOIN message ON message.id = message_id WHERE role = 'user'")
        assert [text for (text,) in said] == ["one", "two and\nmore"]


def test_ctrl_o_unfolds_the_thoughts_of_any_reply_and_folds_them_without_a_trace(terminal: Driven, tmp_path: Path):
    (tmp_path / "hurry").touch()
    terminal.send(CTRL_O)
    terminal.until("no reply has thoughts yet")
    terminal.send("a\r")
    terminal.until(lambda text: "The first answer." in text and prompts(2)(text))
    terminal.send(CTRL_O)
    terminal.until("│ I wonder.\n│ What to say?")
    terminal.send(CTRL_O)
    terminal.until(lambda text: "I wonder" not in text)
    terminal.send("b\r")
    terminal.until(lambda text: "line 119" in text and prompts(3)(text))
    terminal.send(CTRL_O)
    terminal.until("│ Much to say.")
    terminal.send("\x1b[1;3A")  # Alt+Up
    terminal.until("│ I wonder.")
    terminal.send("c\r")
    terminal.until(lambda text: "print('third')" in text and "I wonder" not in text)


def test_alt_m_shows_markdown_as_it_was_written(terminal: Driven):
    terminal.send("a\r")
    terminal.until(lambda text: "The first answer." in text and prompts(2)(text))
    terminal.send(ALT_M)
    terminal.until("The **first** answer.")
    terminal.until("| raw")
    terminal.send(ALT_M)
    terminal.until(lambda text: text.count("The first answer.") == 2)


def test_slash_commands_complete_and_typos_are_met(terminal: Driven):
    terminal.send("/ret\t")
    terminal.until("> /retry")
    terminal.send(CTRL_C)
    terminal.send("/i\t")
    terminal.until("> /image")
    terminal.send(CTRL_C)
    terminal.send("/hlep\r")
    terminal.until("/hlep is not a command: did you mean /help?")


def test_ctrl_r_finds_what_was_typed_before_in_any_chat(terminal: Driven, tmp_path: Path):
    terminal.send("a needle in the hay\r")
    terminal.until("The first answer.")
    terminal.send(CTRL_D)
    assert terminal.ends() == 0
    assert stat.S_IMODE((tmp_path / "history").stat().st_mode) == 0o600
    again = Driven(DEMO, str(tmp_path))
    try:
        again.until("tokens, 0%")
        again.send(f"{CTRL_R}needle")
        again.until("a needle in the hay")
    finally:
        again.close()


def test_ctrl_g_edits_the_draft(tmp_path: Path):
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "from the editor" > "$1"\n')
    editor.chmod(0o755)
    terminal = Driven(DEMO, str(tmp_path), EDITOR=str(editor), VISUAL="")
    try:
        terminal.until("tokens, 0%")
        terminal.send(f"draft{CTRL_G}")
        terminal.until("> from the editor")
    finally:
        terminal.close()


def test_edit_puts_the_last_message_back_on_the_line(terminal: Driven):
    terminal.send("a mistake\r")
    terminal.until(lambda text: "The first answer." in text and prompts(2)(text))
    terminal.send("/edit\r")
    terminal.until(lambda text: text.count("> a mistake") == 2)


def test_a_dropped_file_is_attached(tmp_path: Path):
    picture = tmp_path / "my cat.png"
    picture.write_bytes((SAMPLES / "star.png").read_bytes())
    (tmp_path / "to do.txt").write_text("buy milk")
    driven = Driven(DEMO, str(tmp_path), "0.01", columns=200)  # so wide that the path stands in one line
    try:
        driven.until("tokens, 0%")
        driven.send(BRACKETED.format(f"'{picture}'") + "\r")
        driven.until(f"[{picture}]")
        driven.send(BRACKETED.format(f"'{tmp_path}/to do.txt'") + " What is left?\r")
        driven.until(f"attached: {tmp_path}/to do.txt")
    finally:
        driven.close()


def test_a_text_dropped_into_a_message_is_mentioned_and_attached(tmp_path: Path):
    (tmp_path / "to do.txt").write_text("buy milk")
    driven = Driven(DEMO, str(tmp_path), "0.01", columns=200)
    try:
        driven.until("tokens, 0%")
        driven.send("What is left" + BRACKETED.format(f"file://{tmp_path}/to%20do.txt"))
        driven.until(f"> What is left @{tmp_path}/to\\ do.txt")
        driven.send("\r")
        driven.until(f"attached: {tmp_path}/to do.txt")
        driven.until("The first answer.")
    finally:
        driven.close()


def test_a_path_is_completed_after_an_at_sign_and_attached(tmp_path: Path):
    (tmp_path / "a picture.png").write_bytes((SAMPLES / "star.png").read_bytes())
    driven = Driven(DEMO, str(tmp_path), "0.01", cwd=tmp_path)
    try:
        driven.until("tokens, 0%")
        driven.send("Describe @a\t")
        driven.until("> Describe @a\\ picture.png")
        driven.send(" please\r")
        driven.until("attached: a picture.png")
        driven.until("The first answer.")
    finally:
        driven.close()


def test_a_path_in_a_pasted_text_is_not_attached(terminal: Driven, tmp_path: Path):
    (tmp_path / "cat.png").write_bytes((SAMPLES / "star.png").read_bytes())
    terminal.send("Explain: " + BRACKETED.format(f"saved to {tmp_path}/cat.png, see @{tmp_path}/cat.png") + "\r")
    assert "attached" not in terminal.until("The first answer.")


def test_a_refusal_is_the_last_thing_on_the_screen(terminal: Driven):
    terminal.send(BRACKETED.format("\n".join(f"row {row}" for row in range(5_000))) + "\r")
    terminal.until("the message is too long: about")
    terminal.until(lambda text: text.rstrip().splitlines()[-2].strip() == ">")
    shown = [line for line in terminal.screen.display if line.strip()]
    assert any("the message is too long: about" in line for line in shown)
    assert "press Up and then Ctrl+G" in " ".join(terminal.text.split())
    terminal.send("\x1b[A")
    terminal.until("row 4999")


def test_a_command_of_the_shell_runs_on_the_terminal(terminal: Driven):
    terminal.send("!stty -a | grep -o ' echo ' ; sh -c 'kill -INT $$'\r")
    terminal.until("exit code")
    assert "echo" in terminal.text.splitlines()[1]
    terminal.send("hello\r")
    terminal.until("The first answer.")


def test_ctrl_z_suspends_at_the_prompt_and_in_a_reply(tmp_path: Path):
    driven = Driven("--norc", "--noprofile", "-i", program="bash", PS1="shell: ")
    command = f"{sys.executable} {DEMO} {tmp_path} 0.01"
    try:
        driven.until("shell:")
        driven.send(f"stty -a > before; {command}\r".replace("before", str(tmp_path / "before")))
        driven.until("tokens, 0%")
        driven.send("\x1a")
        driven.until("Stopped")
        driven.send(f"stty -a > {tmp_path}/after; fg\r")
        driven.until(lambda text: text.count("tokens, 0%") >= 1 and driven.screen.display[-1].strip() != "")
        driven.send("a\r")
        driven.until("The first answer.")
        driven.send("b\r")
        driven.until("line 005")
        driven.send("\x1a")
        driven.until(lambda text: text.count("Stopped") == 2)
        driven.send("echo sh''ell works; fg\r")
        driven.until("shell works")
        (tmp_path / "hurry").touch()
        driven.until("line 119")
    finally:
        driven.close()
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()


@pytest.mark.parametrize("keys", [CTRL_D, "/exit\r"])
def test_leaving(terminal: Driven, tmp_path: Path, keys: str):
    terminal.send("hello\r")
    terminal.until(lambda text: "The first answer." in text and prompts(2)(text))
    terminal.send(keys)
    assert terminal.ends() == 0
    assert "the chat is saved as 'hello'; to continue the chat: gemma chat --continue" in terminal.text
    assert not terminal.screen.cursor.hidden


def test_resizing_while_a_reply_comes(terminal: Driven, tmp_path: Path):
    terminal.send("a\r")
    terminal.until("The first answer.")
    terminal.send("b\r")
    terminal.until("line 010")
    terminal.resize(40)
    terminal.until("line 050")
    terminal.resize(120)
    (tmp_path / "hurry").touch()
    text = terminal.until(lambda text: "line 119" in text and prompts(3)(text))
    assert re.findall(r"line (\d{3})", text) == [f"{i:03d}" for i in range(120)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("replying", [False, True])
def test_a_signal_ends_it_with_the_terminal_in_order(
    terminal: Driven, tmp_path: Path, number: signal.Signals, code: int, replying: bool
):
    if replying:
        terminal.send("a\r")
        terminal.until("The first answer.")
        terminal.send("b\r")
        terminal.until("line 005")
    terminal.kill(number)
    assert terminal.ends() == code
    if replying:
        entry = SessionStore.open(tmp_path / "sessions.db").load("a")[1].entries[-1]
        assert "line 005" in entry.message.text
        assert entry.finish_reason == "interrupted"
    assert not terminal.screen.cursor.hidden
    assert terminal.raw.rfind(b"\x1b[?25h") > terminal.raw.rfind(b"\x1b[?25l")
    assert terminal.raw.rfind(b"\x1b[?2004l") >= terminal.raw.rfind(b"\x1b[?2004h"), "bracketed paste is left on"
    assert "Traceback" not in terminal.text


def test_a_call_is_asked_for_carried_out_and_cancelled():
    """y for one call, a for all of a tool, Ctrl+C while a tool works; its answer cannot colour the terminal."""
    terminal = Driven(str(Path(DEMO).with_name("repl_tools_demo.py")))
    try:
        terminal.until(prompts(1))
        terminal.send("what is it?\r")
        terminal.until("add(a=2, b=3)\nrun this tool? [y]es [n]o [a]lways")
        terminal.send("?x\ry")
        terminal.until("run this tool? [y]es [n]o [a]lways yes\n  add: ^[[31m5\nFive it is.")
        terminal.until(prompts(2))
        terminal.send("and now?\r")
        terminal.until("add(a=3, b=4)\nrun this tool?")
        terminal.send("a")
        terminal.until("wait()\nrun this tool?")
        terminal.send("a")
        terminal.until("the tool waits")
        terminal.send(CTRL_C)
        terminal.until("wait failed: the user cancelled the call\nI will not wait.")
        terminal.until(prompts(3))
        terminal.send(CTRL_D)
        assert terminal.ends() == 0
    finally:
        terminal.close()
    assert b"\x1b[31m5" not in terminal.raw


def test_a_dumb_terminal_gets_no_escapes_of_ours(tmp_path: Path):
    terminal = Driven(DEMO, str(tmp_path), TERM="dumb")
    try:
        terminal.until(prompts(1))
        terminal.send("hello\r")
        terminal.until("The first answer.")
        terminal.send(CTRL_D)
        assert terminal.ends() == 0
        assert set(re.findall(rb"\x1b[^a-zA-Z]*[a-zA-Z]", terminal.raw)) <= {b"\x1b[?12l", b"\x1b[?25h"}
    finally:
        terminal.close()
