"""Ctrl-C while a model loads, when what it interrupts is a library's import and not our code."""

from __future__ import annotations

import signal
import threading

import pytest

from gemma_cli.commands._common import _interruptible
from gemma_cli.errors import Interrupted


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_that_a_library_turns_into_an_error_is_still_one() -> None:
    with pytest.raises(Interrupted), _interruptible():
        try:
            ctrl_c()
        except KeyboardInterrupt:
            raise ImportError("could not import module") from None


def test_an_interrupt_that_a_library_loses_is_still_one() -> None:
    with pytest.raises(Interrupted), _interruptible():
        try:
            ctrl_c()
        except KeyboardInterrupt:
            pass


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
