"""Code around the model that all commands share: open it, draw its reply, read text, print notices."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import current_thread, main_thread

import typer

from gemma_cli.common.notices import notice
from gemma_cli.common.options import EngineOptions, ModelOptions, OutputOptions
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import Interrupted
from gemma_cli.engines import model_name, open_engine
from gemma_cli.engines.warm.place import sockets
from gemma_cli.store.models.checkpoints import NotOnDisk
from gemma_cli.store.models.releases import gigabytes


def start(options: ModelOptions, output: OutputOptions) -> Engine:
    """The engine the options ask for, loaded; tells what was chosen where nothing was asked for."""
    try:
        engine = _open(options, output)
    except NotOnDisk as missing:
        if not _agreed(missing):
            raise
        from gemma_cli.common.download_progress import fetched

        fetched(missing.name)
        engine = _open(options, output)
    if engine.info.notice and not output.quiet:
        notice(engine.info.notice)
    if options.drafts is not None and not getattr(engine, "takes_drafts", True) and not output.quiet:
        notice("--draft-tokens has no effect: the server has set the draft length at its start")
    return engine


def _open(options: ModelOptions, output: OutputOptions) -> Engine:
    if isinstance(options, EngineOptions) and options.server and (engine := _warm(options, output)):
        return engine
    return _load(options, output)


def _load(options: ModelOptions, output: OutputOptions) -> Engine:
    spec = options.spec()
    name = model_name(spec)  # an unknown name is reported before torch is imported
    with busy(f"loading {name}", output), _interruptible():
        return open_engine(spec)


def _warm(options: EngineOptions, output: OutputOptions) -> Engine | None:
    """The model as a server of this user holds it; None where none does."""
    if not sockets():
        return None
    from gemma_cli.engines.warm.engine import find

    def load(why: str) -> Engine:
        if not output.quiet:
            notice(f"the gemma serve process with the model has ended ({why}), so this command loads the model")
        return _load(options, replace(output, quiet=True))

    engine = find(options.spec(), load)
    if engine and not output.quiet:
        notice("using the model of a running gemma serve; to load the model in this process instead, give --no-server")
    return engine


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make Ctrl-C end what is inside; libraries being imported turn it into errors of their own, or lose it."""
    pressed = False

    def press(_signal: int, _frame: object) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield
    except Exception:
        if not pressed:
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise Interrupted


def _agreed(missing: NotOnDisk) -> bool:
    """Ask the user at a terminal; without one, nothing is downloaded."""
    if not (missing.size and sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    from gemma_cli.views.signals import line_input

    with line_input():
        return typer.confirm(
            f"{missing.name} is not on this machine. Download {gigabytes(missing.size)} now?", err=True
        )


@contextmanager
def busy(label: str, output: OutputOptions) -> Iterator[None]:
    """Say on a terminal what takes so long."""
    if output.quiet:
        yield
        return
    from gemma_cli.views.console import terminal
    from gemma_cli.views.status import working

    with working(terminal(sys.stderr), label):
        yield
