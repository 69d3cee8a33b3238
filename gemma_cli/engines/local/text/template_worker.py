"""The process in which a chat template that nobody has checked is compiled and rendered: see bounded_template.py.

It is started by its path, so that it imports jinja2, chat_template.py and nothing more. It reads requests
from standard input and writes a reply to each to standard output: four bytes of length, then JSON.

    {"source": ..., "special": {...}}                        {"literals": [...]}
    {"messages": [...], "tools": [...], "thinking": ...,     {"text": ...}
     "most": CHARACTERS}
                                                             {"error": ...} if the template, {"longer": true} if `most`
                                                             refuses
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import IO, Any

OUT_OF_MEMORY = 77
"""The exit code."""


def main() -> None:
    """Answer requests until standard input ends. argv: the import path, as JSON; the bytes that may be taken beyond
    what imports take, 0 for no bound; the seconds of processor time for one request."""
    sys.path[:], memory, seconds = map(json.loads, sys.argv[1:])
    requests, replies = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    spec = importlib.util.spec_from_file_location("template", Path(__file__).with_name("chat_template.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if memory:
        _limit_memory(memory)
    template = None
    while (request := read(requests)) is not None:
        _limit_time(seconds)
        try:
            if template is None:
                template = module.ChatTemplate(request["source"], request["special"])
                write(replies, {"literals": sorted(template.literals)})
            else:
                write(replies, _render(template, request))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:  # templates raise what they like
            write(replies, {"error": f"{error}"[:1000] or type(error).__name__})


def _render(template: Any, request: dict[str, Any]) -> dict[str, Any]:
    text = template.render(request["messages"], request["tools"], request["thinking"])
    return {"text": text} if len(text) <= request["most"] else {"longer": True}


def read(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read a message; None at the end of the stream."""
    size = stream.read(4)
    content = stream.read(int.from_bytes(size, "big")) if len(size) == 4 else b""
    message: dict[str, Any] | None = json.loads(content) if content else None
    return message


def write(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write a message. Escapes keep lone surrogates, which a template may make."""
    content = json.dumps(message).encode("ascii")
    stream.write(len(content).to_bytes(4, "big") + content)
    stream.flush()


def _limit_memory(size: int) -> None:
    """Let allocations fail after `size` more bytes. Linux only; without /proc, after `size` in all."""
    import resource

    try:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        taken = 0
    most = taken + size
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: int) -> None:
    """Let the system end this process after so much more processor time, also when nobody waits for it any longer.
    Windows cannot."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard < 0 else min(most, hard), hard))


if __name__ == "__main__":
    main()
