"""Ctrl-C: noticed while the engine works, never while the screen is drawn; a second one does not wait."""

import os
import signal
from collections.abc import Iterator

import pytest

from gemma_cli.core.events import Delta, Event
from gemma_cli.views.signals import Cancellation, orderly_exit

HELLO = Delta("answer", "hello")


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def _handler_is_put_back() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def test_while_the_engine_works_it_is_interrupted_there():
    seen = []

    def working() -> Iterator[Event]:
        try:
            yield HELLO
            ctrl_c()
            yield Delta("answer", "never")
        except KeyboardInterrupt:
            seen.append("interrupted")
            raise

    with Cancellation() as cancellation:
        assert list(cancellation.stream(working())) == [HELLO]
    assert seen == ["interrupted"]


def test_while_the_screen_is_drawn_it_waits_for_the_end_of_the_frame():
    drawn = []
    with Cancellation() as cancellation:
        for event in cancellation.stream(iter([HELLO, HELLO])):
            ctrl_c()
            drawn.append(event)  # the frame is whole
    assert drawn == [HELLO]


def test_the_second_one_ends_the_program():
    def deaf() -> Iterator[Event]:
        try:
            ctrl_c()
            yield HELLO
        finally:
            ctrl_c()

    with Cancellation() as cancellation, pytest.raises(SystemExit) as ended:
        list(cancellation.stream(deaf()))
    assert ended.value.code == 130


def test_without_it_all_events_pass():
    with Cancellation() as cancellation:
        assert list(cancellation.stream([HELLO, HELLO])) == [HELLO, HELLO]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_a_hangup_ends_the_program_unless_nohup_has_it_ignored():
    with orderly_exit(), pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGHUP)
    assert ended.value.code == 129
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with orderly_exit():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
