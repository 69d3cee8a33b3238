"""Tool calls and answers in random order: no call is carried out that was not allowed."""

from __future__ import annotations

import io
import os
import pty
import random
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from gemma_cli.commands.chat_parts import tools as _tools
from gemma_cli.common.options import OutputOptions
from gemma_cli.core.conversation import Conversation
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import Event, collect, undrawn
from gemma_cli.core.messages import Drafting, Request, Sampling
from gemma_cli.repl.chat import Chat, ChatHost
from gemma_cli.repl.confirm import QUESTION
from gemma_cli.repl.editor import Editor, history_at
from gemma_cli.repl.loop import run
from gemma_cli.repl.settings import Settings
from gemma_cli.tools import Tool, Toolbox, toolbox
from gemma_cli.tools.calls import Permission, ToolRounds
from tests.soak.outcome import Outcome
from tests.tools.raw import RawEngine

PROMISE = "No tool call is carried out that the user did not allow."

TOOLS = ("look", "rm", "all")
CALLED = (*TOOLS, "unknown")
ALLOWED: tuple[tuple[str, ...], ...] = ((), (), (), ("look",), ("rm", "look"), ("all",))

Type = Callable[[str], None]


@dataclass
class Answer:
    """What is typed when a question stands on the screen: first what is no answer, then the answer, with what follows.

    means: y, n, a, or "stop" for Ctrl-C and the end of the input.
    """

    noise: str
    typed: str
    means: str


@dataclass
class Script:
    """A random course of a chat, and what happened in it.

    replies: the names of the tools that each calls; answers: to the questions, in order; ahead: what is typed before
    the first question, while each reply comes and while each tool runs. stopped: replies during which Ctrl-C is
    pressed; cancelled: runs of tools during which it is.
    """

    allowed: tuple[str, ...]
    replies: list[list[str]]
    answers: list[Answer]
    ahead: list[str]
    stopped: set[int]
    cancelled: set[int]
    ran: list[str] = field(default_factory=list)
    asked: int = 0
    type: Type = lambda keys: None
    ended: bool = False

    def next_answer(self) -> Answer:
        """The answer to the next question; "no" when there are no more."""
        self.asked += 1
        return self.answers[self.asked - 1] if self.asked <= len(self.answers) else Answer("", "n\n", "n")

    def type_ahead(self) -> None:
        if self.ahead:
            self.type(self.ahead.pop())

    def box(self) -> Toolbox:
        return toolbox([self._tool(name) for name in TOOLS], self.allowed)

    def _tool(self, name: str) -> Tool:
        def carry_out(arguments: Mapping[str, Any]) -> str:
            self.ran.append(f"{name}{arguments['n']}")
            self.type_ahead()
            if len(self.ran) - 1 in self.cancelled:
                os.kill(os.getpid(), signal.SIGINT)
                signal.pthread_sigmask(signal.SIG_BLOCK, ())  # the handler runs here
            return "done"

        function = {"name": name, "description": name, "parameters": {"type": "object"}}
        return Tool(name, {"type": "function", "function": function}, carry_out)

    def texts(self) -> list[str]:
        """The replies in Gemma 4's notation; each call has a number of its own."""
        numbers = iter(range(1000))
        texts = ["".join(f"<|tool_call>call:{n}{{n:{next(numbers)}}}<tool_call|>" for n in one) for one in self.replies]
        return [*texts, "Done."]


def random_script(draw: random.Random, answers: Callable[[random.Random], Answer]) -> Script:
    replies = [[draw.choice(CALLED) for _ in range(draw.randint(1, 3))] for _ in range(draw.randint(1, 4))]
    keys = ("y", "a", "n", "y\r", "always\r", "yyyy", "\r", "a\ny\n", "\x1b", "x")
    return Script(
        draw.choice(ALLOWED),
        replies,
        [answers(draw) for _ in range(12)],
        [draw.choice((*keys, "")) for _ in range(8)],
        {draw.randrange(4)} if draw.random() < 0.15 else set(),
        {draw.randrange(6)} if draw.random() < 0.25 else set(),
    )


def may_run(script: Script, ends: bool) -> list[str]:
    """Say what should have run, from the script alone. ends: whether Ctrl-C at a question ends the run, or says no."""
    numbers, answers = iter(range(1000)), iter(script.answers)
    always, expected = set(script.allowed), list[str]()
    everything = "all" in script.allowed
    always.discard("all")
    for index, names in enumerate(script.replies):
        calls = [(name, f"{name}{next(numbers)}") for name in names]
        if index in script.stopped:
            break
        cancelled = False
        for name, call in calls:
            if cancelled or name not in TOOLS:
                continue
            if not (everything or name in always):
                means = next(answers, Answer("", "", "n")).means
                if means == "stop" and ends:
                    return expected
                if means == "a":
                    always.add(name)
                if means not in ("y", "a"):
                    continue
            cancelled = len(expected) in script.cancelled
            expected.append(call)
    return expected


class Calling(RawEngine):
    """An engine that says the script's replies; keys are typed, and Ctrl-C pressed, while it does."""

    def __init__(self, script: Script) -> None:
        super().__init__(script.texts())
        self._script = script

    def stream(self, request: Request) -> Generator[Event, None, None]:
        number = len(self.requests)
        self._script.type_ahead()
        try:
            for event in super().stream(request):
                yield event
                if number in self._script.stopped:
                    os.kill(os.getpid(), signal.SIGINT)
        finally:
            if number >= len(self._script.replies) or number in self._script.stopped:
                self._script.ended = True
                self.replies = ["Done."]  # also to what was typed ahead
                self._script.type("\x03\x04")


# --- A conversation on the terminal: one key answers ----------------------------------------------------------------


def key_answer(draw: random.Random) -> Answer:
    key, means = draw.choice(
        (("y", "y"), ("n", "n"), ("a", "a"), ("\x03", "stop"), ("\x04", "stop"), ("\x1b", "n"), ("A", "a"))
    )
    noise = draw.choice(("", "", "x", "?\r", "\r\r", "\t"))
    return Answer(noise, key + ("" if key == "\x1b" else draw.choice(("", "", "y", "a", "n"))), means)


class Asking(Editor):
    """The editor; its question is answered when it can be read."""

    def leave(self) -> Permission:
        screen = self.session.output
        assert isinstance(screen, Screen)
        screen.asking, screen.text = True, ""
        return super().leave()


class Screen(DummyOutput):
    """A screen that is read by who answers."""

    def __init__(self, script: Script) -> None:
        self._script, self.text, self.asking = script, "", False

    def write(self, data: str) -> None:
        self.text += data

    def flush(self) -> None:
        if self.asking and QUESTION.strip() in self.text:
            self.asking = False
            answer = self._script.next_answer()
            self._script.type(answer.noise + answer.typed)


def in_a_conversation(script: Script) -> list[str]:
    """Run the script through the real chat, its editor and its question. Returns what ran."""
    with create_pipe_input() as keys:
        script.type = keys.send_text
        chat = Chat(
            Calling(script),
            Settings(Sampling(), Drafting(), raw=True),
            Console(file=io.StringIO()),
            Console(file=io.StringIO()),
            ChatHost(lambda path, kind: _nothing(), lambda name: _nothing()),
            box=script.box(),
        )
        keys.send_text("go\r")
        script.type_ahead()
        run(chat, Asking(chat, history_at(None), keys, Screen(script)))
    return script.ran


def _nothing() -> Any:
    raise GemmaError("there is nothing here")


# --- One question on the command line: a line answers ---------------------------------------------------------------


def line_answer(draw: random.Random) -> Answer:
    word, means = draw.choice(
        (
            ("y\n", "y"),
            ("YES\n", "y"),
            ("n\n", "n"),
            ("no\n", "n"),
            ("a\n", "a"),
            ("always\n", "a"),
            ("\x04", "stop"),
            ("", "stop"),
        )
    )
    noise = draw.choice(("", "", "maybe\n", "actually not\n", "yikes\n", "\n", "all\n"))
    return Answer(noise, word + (draw.choice(("", "", "y\n", "a\n")) if word.endswith("\n") else ""), means)


class Stderr(io.StringIO):
    """A terminal on which questions are answered; no answer at all is Ctrl-C."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script
        self._answer: Answer | None = None

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text == _tools.QUESTION:
            noise = "" if self._answer else (answer := self._script.next_answer()).noise
            self._answer = self._answer or answer
            if noise:
                self._script.type(noise)  # and it is asked again
            else:
                typed, self._answer = self._answer.typed, None
                if typed:
                    self._script.type(typed)
                else:
                    os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


@contextmanager
def terminal(script: Script) -> Iterator[None]:
    """stdin and stderr are a terminal, on which the script types."""
    master, slave = pty.openpty()
    before = sys.stdin, sys.stderr

    def write(keys: str) -> None:
        if not script.ended:
            os.write(master, keys.replace("\r", "\n").replace("\x03", "").encode())

    script.type = write
    try:
        with open(slave) as stdin:  # noqa: PTH123 - a descriptor
            sys.stdin, sys.stderr = stdin, Stderr(script)
            yield
    finally:
        sys.stdin, sys.stderr = before
        os.close(master)


def for_one_answer(script: Script) -> list[str]:
    """Run the script through the rounds that answer one question, with its real question. Returns what ran."""
    with terminal(script):
        engine: Engine = Calling(script)
        box = script.box()
        asked = Conversation(tools=box.declarations).saying("go")
        rounds = ToolRounds(_tools.desk(box, 8192, OutputOptions(quiet=True)))
        with suppress(GemmaError, KeyboardInterrupt):
            while True:
                with closing(engine.stream(asked.request(Sampling(), Drafting(), False))) as events:
                    turn = collect(events, undrawn)
                asked = asked.hearing(turn, "scripted")
                if not (answered := rounds.answers(turn)):
                    break
                asked = asked.answering(answered)
                rounds.check(turn)
    return script.ran


# --- The trial ------------------------------------------------------------------------------------------------------

WAYS = ((in_a_conversation, key_answer, False), (for_one_answer, line_answer, True))


def attempt(seed: int) -> tuple[str | None, int]:
    """Run one random script, and say what is wrong, and how many calls were carried out."""
    draw = random.Random(seed)
    way, answers, ends = WAYS[seed % 2]
    script = random_script(draw, answers)
    expected = may_run(script, ends)
    ran = way(script)
    if ran != expected:
        return f"seed {seed}, {way.__name__}: ran {ran}, not {expected}: {script}", len(ran)
    return None, len(ran)


def trial(scale: float) -> Outcome:
    """Run random scripts of calls and answers, through a conversation and through single answers by turns."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        results = [attempt(seed) for seed in range(round(1000 * scale))]
    finally:
        signal.signal(signal.SIGINT, before)
    failures = [failure for failure, _ in results if failure]
    return Outcome(len(results), failures, f"{sum(count for _, count in results)} calls were carried out.")
