"""Ctrl-C while a model loads, when what it interrupts is a library's import and not our code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from gemma_cli.common.opening import _interruptible
from gemma_cli.core.errors import Interrupted


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def import_that_fails() -> None:
    try:
        ctrl_c()
    except KeyboardInterrupt:
        raise ImportError("could not import module") from None


def import_that_goes_on() -> None:
    with suppress(KeyboardInterrupt):
        ctrl_c()


@pytest.mark.parametrize("library", [import_that_fails, import_that_goes_on, ctrl_c])
def test_an_interrupt_is_one_whatever_a_library_makes_of_it(library: Callable[[], None]) -> None:
    with pytest.raises((Interrupted, KeyboardInterrupt)), _interruptible():
        library()


def test_errors_without_one_pass_as_they_are() -> None:
    with pytest.raises(ImportError), _interruptible():
        raise ImportError("really")


def test_afterwards_ctrl_c_is_what_it_was() -> None:
    with _interruptible():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        ctrl_c()


def test_who_ignores_interrupts_goes_on_ignoring_them() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with _interruptible():
            ctrl_c()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_load_too() -> None:
    done: list[bool] = []

    def load() -> None:
        with _interruptible():
            done.append(True)

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    assert done == [True]
