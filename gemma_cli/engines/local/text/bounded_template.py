"""Chat templates with limits of time and memory.

    open_template(source, special, file) -> Template

A template comes with a checkpoint, and the sandbox bounds what it reaches, not what it takes: nested loops
over `range`, `'x'.ljust(3000000000)`, a text that doubles in a loop, `'%1000000000s' % 1`, recursive macros, and
constants that jinja folds while it compiles. To count loops and measure strings one would have to catch each filter,
method, operator and format of jinja's and of Python's, and the one that is forgotten is the hole. So a template runs in
a process of its own, where the system counts:

    processor time    RLIMIT_CPU, 3 to 4 s a request; on Windows only WALL bounds it
    memory            RLIMIT_AS, 192 MiB, on Linux. macOS accepts that limit and ignores it, Windows has none: there
                      the process is looked at every 10 ms, and may exceed the bound by what it allocates meanwhile
    all time          WALL, kept by a thread here
    length            of the text, some times what went in: what follows, tokenization, takes time too

It costs 0.1 s once, when a checkpoint is loaded, and per prompt what its text takes through a pipe. Templates that were
published, known by their digest, take neither: they run in this process as they always have.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from jinja2 import TemplateError

from gemma_cli.core.errors import ModelError, TemplateTooCostly
from gemma_cli.engines.local.text import template_worker
from gemma_cli.engines.local.text.chat_template import ChatTemplate, Template
from gemma_cli.engines.local.text.template_worker import OUT_OF_MEMORY, read, write

MEMORY = 192 << 20
"""Bytes that the process may take beyond what jinja2 takes; a conversation of 262,144 tokens takes 40 MB."""

SECONDS = 3
"""Processor time for one request; a chat of 190 messages takes a hundredth."""

WALL = 30.0
"""Seconds for one request on a machine that is busy, where SECONDS of processor time take longer."""

GRACE = 5.0
"""Seconds a process has to end after it closed its output."""

PAUSE = 0.01
"""Seconds between two looks at memory where the system does not bound it."""

KNOWN = frozenset(
    {
        # pocket's
        "b63245fb92a61cc37294436eb1c59855a8b832c7ae8a1d39af99435c2d195c51",
        # Google's, as they were first published
        "58c66fdee4afa29786fa0925a4c3659c8ebc28a2db93da6ae479d7d5886ce48f",
        # and for E2B and E4B, and for 12B, 26B-A4B and 31B, from April, June and July 2026 on
        "781d10940fbc44be40064b5d43a056fc486c84ceaa55538226368b57314132bf",
        "33204f1acb5bd0002713e16a593847f24ceeafe711ed88bda2a352dc996a3373",
        "523fc86ed4db0357763963f4b0fdbce319903f1f68b2d03f593bef7a56836533",
        "1d35a24a2a63cc600c0cab43628a6df4cd3318e959b03307cf5f9f7e29ecf783",
        "94899c0f917d93f6fe81c95744d1e8ddab2d21d39228d2e4aec1fb2a25bff413",
        "2af48814bacaf2a35a2d57aa19eee6c42ed530011977e8f414cf1d467da446c2",
    }
)
"""SHA-256 of published templates, surrounding space left out: they have been read, and take time in proportion to the
conversation."""


def open_template(source: str, special: Mapping[str, str], file: Path) -> Template:
    """Compile a template; `file` holds it. special: as ChatTemplate takes it.

    Raises TemplateTooCostly, and what ChatTemplate raises.
    """
    if hashlib.sha256(source.strip().encode(errors="surrogatepass")).hexdigest() in KNOWN:
        return ChatTemplate(source, special)
    return BoundedTemplate(source, special, file)


class BoundedTemplate:
    """A template in a separate process, which ends with this object and is restarted after an end."""

    def __init__(self, source: str, special: Mapping[str, str], file: Path) -> None:
        self._file = file
        self._definition = {"source": source, "special": dict(special)}
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._ending: Callable[[], Any] = lambda: None
        self.literals = frozenset(self._start())

    def render(self, messages: Sequence[Any], tools: Sequence[Any], thinking: bool) -> str:
        """See ChatTemplate.render; a bound that is exceeded raises TemplateTooCostly."""
        request = {"messages": list(messages), "tools": list(tools), "thinking": thinking}
        most = (1 << 20) + 8 * len(json.dumps(request))
        with self._lock:
            if self._worker is None or not self._worker.alive:
                self._start()
            reply = self._ask(request | {"most": most})
        if reply.get("longer"):
            raise self._refusal(f"writes a prompt of more than {most >> 20} MB for this conversation")
        text: str = reply["text"]
        return text

    def _start(self) -> list[str]:
        self._ending()
        try:
            self._worker = _Worker()
        except OSError as error:
            reason = f"the process for the chat template cannot be started ({error.strerror})"
            raise ModelError(f"{self._file}: {reason}") from None
        self._ending = weakref.finalize(self, self._worker.stop)
        literals: list[str] = self._ask(self._definition)["literals"]
        return literals

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._worker is not None
        reply = self._worker.ask(dict(request))
        if isinstance(reply, str):
            raise self._refusal(reply)
        if "error" in reply:
            raise TemplateError(reply["error"])
        return reply

    def _refusal(self, fact: str) -> TemplateTooCostly:
        return TemplateTooCostly(f"{self._file}: the chat template {fact}; use the chat template of the original model")


class _Worker:
    """The process, and the one request it may be answering."""

    def __init__(self) -> None:
        limits = [json.dumps(sys.path), str(MEMORY if bounded() else 0), str(SECONDS)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", template_worker.__file__, *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | str:
        """The reply, or in words which bound was exceeded."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        try:
            with self._watched() as exceeded:
                reply = _exchanged(requests, replies, request)
        except BaseException:  # Ctrl-C: the reply that comes would be taken for the next one's
            self.stop()
            raise
        if reply is not None:
            return reply
        try:  # it is ending: its exit code has the reason
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.stop()
        return exceeded[0] if exceeded else _reason(self._process.returncode)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[list[str]]:
        """End the process when it exceeds a bound that the system does not keep; says which."""
        done, exceeded = threading.Event(), list[str]()
        watch = threading.Thread(target=self._watch, args=(done, exceeded), daemon=True)
        watch.start()
        try:
            yield exceeded
        finally:
            done.set()
            watch.join()

    def _watch(self, done: threading.Event, exceeded: list[str]) -> None:
        end = time.monotonic() + WALL
        while not done.wait(WALL if bounded() else PAUSE):
            if time.monotonic() >= end:
                exceeded.append(f"needs more than {WALL:.0f} s")
            elif not bounded() and _resident(self._process.pid) > MEMORY:
                exceeded.append(f"needs more than {MEMORY >> 20} MB of memory")
            if exceeded:
                self._process.kill()
                return

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.wait()


def bounded() -> bool:
    """Return whether the system enforces RLIMIT_AS."""
    return sys.platform == "linux"


def _exchanged(requests: IO[bytes], replies: IO[bytes], request: dict[str, Any]) -> dict[str, Any] | None:
    """The reply; None where the process ended instead."""
    try:
        write(requests, request)
        return read(replies)
    except (OSError, ValueError):  # it ended before it had read, or written, all
        return None


def _reason(code: int) -> str:
    if code == OUT_OF_MEMORY:
        return f"needs more than {MEMORY >> 20} MB of memory"
    if code == -getattr(signal, "SIGXCPU", 0):
        return f"needs more than {SECONDS} s of processor time"
    return f"ends its own process (exit code {code})"


def _resident(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
