"""Ctrl-C while a reply is written, and the signals that end the program: the terminal is always left as it was."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from gemma_cli.core.errors import Terminated
from gemma_cli.core.events import Event

try:
    import termios
except ImportError:  # Windows has no such thing
    termios = None  # type: ignore[assignment]

SETTLING_S = 0.05
"""A terminal hands keys on a moment after they were pressed, later on a busy machine, and what has not arrived cannot
be dropped. Nobody answers within this time a question that is not yet on the screen."""


class Cancellation:
    """Inside it, the first Ctrl-C ends `stream` where nothing is half drawn; the second ends the program (exit 130)."""

    def __init__(self) -> None:
        self.asked = False
        self._waiting = False

    def __enter__(self) -> Cancellation:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise Terminated(128 + number)
        self.asked = True
        if self._waiting:
            raise KeyboardInterrupt

    def stream(self, events: Iterable[Event]) -> Iterator[Event]:
        """`events` up to the first Ctrl-C. It is noticed while the engine works, never while the screen is drawn."""
        iterator = iter(events)
        while not self.asked:
            try:
                self._waiting = True
                event = next(iterator)
            except (StopIteration, KeyboardInterrupt):
                return
            finally:
                self._waiting = False
            yield event


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(128 + number)


@contextlib.contextmanager
def orderly_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the program (exit 143, 129) instead of killing it in the middle of a frame.

    One that is ignored stays so: nohup(1) makes programs outlive their terminal.
    """
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _terminate) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def kept_terminal() -> Iterator[None]:
    """Restore the terminal's modes and its cursor, whatever happens inside."""
    with _attributes() as attributes:
        try:
            yield
        finally:
            if attributes is not None and os.environ.get("TERM") != "dumb":
                with contextlib.suppress(OSError):
                    sys.__stderr__.write("\x1b[?25h\x1b[?7h")  # type: ignore[union-attr]
                    sys.__stderr__.flush()  # type: ignore[union-attr]


@contextlib.contextmanager
def silent_input() -> Iterator[None]:
    """Keys typed while no prompt reads them are not echoed into what is drawn; the next prompt reads them as they were
    typed, also those that came before: until then the terminal had made newlines of Enter."""
    with _attributes() as attributes:
        if attributes is not None:
            quiet = [*attributes[:6], list(attributes[6])]
            quiet[0] &= ~termios.ICRNL
            quiet[3] &= ~(termios.ECHO | termios.ICANON)
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
            if attributes[0] & termios.ICRNL:
                from gemma_cli.views.typeahead import keep_cooked

                keep_cooked(sys.stdin.fileno())
        yield


@contextlib.contextmanager
def line_input() -> Iterator[None]:
    """The terminal edits lines and echoes them, as a plain question needs it, also inside silent_input."""
    with _attributes() as attributes:
        if attributes is not None:
            cooked = [*attributes[:6], list(attributes[6])]
            cooked[0] |= termios.ICRNL
            cooked[3] |= termios.ECHO | termios.ICANON
            time.sleep(SETTLING_S)
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, cooked)  # what was typed before it is no answer
        yield


@contextlib.contextmanager
def suspendable() -> Iterator[None]:
    """Ctrl+Z stops the program with the terminal as it was before, and it continues with the terminal as it had it.

    What is redrawn under the cursor is erased first. It is noticed between two frames, as signals are in Python.
    """
    number = getattr(signal, "SIGTSTP", None)
    if number is None or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return
    with _attributes() as outside:

        def stop(_number: int, _frame: FrameType | None) -> None:
            with _attributes():  # put back when the program continues
                if outside is not None:
                    _show_cursor()
                    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, outside)
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
                signal.signal(number, stop)

        signal.signal(number, stop)
        try:
            yield
        finally:
            signal.signal(number, signal.SIG_DFL)


def _show_cursor() -> None:
    """Erase what is below the cursor, and show it. Past Python's buffers, which a signal may find in use."""
    shown = next((stream for stream in (sys.__stdout__, sys.__stderr__) if stream and stream.isatty()), None)
    if shown and os.environ.get("TERM") != "dumb":
        with contextlib.suppress(OSError):
            os.write(shown.fileno(), b"\x1b[J\x1b[?25h\x1b[?7h")


@contextlib.contextmanager
def _attributes() -> Iterator[list[Any] | None]:
    """The attributes of the terminal, put back at the end; None where there is none."""
    if termios is None or not (sys.stdin and sys.stdin.isatty()):
        yield None
        return
    attributes = termios.tcgetattr(sys.stdin)
    try:
        yield attributes
    finally:
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, attributes)
