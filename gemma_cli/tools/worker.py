"""The process that runs Python functions as tools: requests on stdin, answers on stdout, a JSON object a line.

It is run as a file and imports nothing of gemma_cli, so tools see what any other program would see. Whatever they
write to descriptors 1 and 2 goes to stderr, a NUL after each request; what they read from descriptor 0 is empty.

    {"id": 1, "declare": "module.py:function"} -> {"id": 1, "value": {...}} or {"id": 1, "failed": "why"}
    {"id": 2, "load": "module.py:function"}
    {"id": 3, "call": "module.py:function", "arguments": {...}}
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import json
import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

LAST_S = 1.0
"""Seconds that a function may run after the program that requested it has ended."""


class Failed(Exception):
    """The message is the answer."""


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)  # type: ignore[union-attr]
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    while (line := waiting.get()) is not None:
        request = json.loads(line)
        answer = {"id": request["id"], **_answer(request)}
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            os.write(2, b"\0")
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _receive(requests: TextIO, waiting: queue.SimpleQueue[str | None]) -> None:
    """Pass requests on. A function that still runs when they end is killed, with all that it has started."""
    for line in requests:
        waiting.put(line)
    waiting.put(None)
    time.sleep(LAST_S)
    if hasattr(os, "killpg"):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks. SIGINT cancels it, and is ignored at all other times."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return {"value": _done(request)}
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except Failed as error:
        return {"failed": str(error)}
    except KeyboardInterrupt:
        return {"failed": "cancelled"}
    except (Exception, SystemExit) as error:
        return {"failed": _told(error)}


def _done(request: dict[str, Any]) -> Any:
    if "declare" in request:
        return _declaration(_function(request["declare"]))
    if "load" in request:
        _checked(_function(request["load"]))  # and pydantic with it: the time limit of a call is for the function
        return None
    return _called(_function(request["call"]), request["arguments"])


@functools.cache
def _function(specification: str) -> Callable[..., Any]:
    path, _, name = specification.rpartition(":")
    try:
        module = _module(Path(path).resolve())
    except (Exception, SystemExit) as error:
        raise Failed(f"cannot be imported: {_told(error)}") from error
    function = getattr(module, name, None)
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        raise Failed(f"{path} has no function {name}, or {name} is async; name a function that is not async")
    return function


@functools.cache
def _module(path: Path) -> ModuleType:
    """Run the module in a file, once however many of its functions are tools. Raises what it raises."""
    name = f"gemma_tools_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ImportError("not a Python file; name a file that ends in .py")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and type hints look their module up
    sys.path.insert(0, str(path.parent))  # it may import its neighbours
    found.loader.exec_module(module)
    return module


def _declaration(function: Callable[..., Any]) -> dict[str, Any]:
    """Declare a function by its type hints and its docstring; its parameters as pydantic's JSON schema has them."""
    from pydantic import TypeAdapter

    description, described = _documented(inspect.getdoc(function) or "")
    names = list(inspect.signature(function).parameters)
    if not description:
        raise Failed(f"the docstring has no description; {NEEDS}")
    for name in names:
        if name not in function.__annotations__:
            raise Failed(f"the argument {name} has no type hint; {NEEDS}")
        if not described.get(name):
            raise Failed(f"the docstring does not describe the argument {name}; {NEEDS}")
    checked: Any = _checked(function)
    try:
        schema = TypeAdapter(checked).json_schema()
    except Exception as error:  # whatever evaluating type hints raises, and what pydantic cannot write
        raise Failed(f"{_told(error)}; {NEEDS}") from error
    if schema.get("type") != "object" or set(schema.get("properties", {})) != set(names):
        raise Failed("the function has positional-only arguments; a model gives all arguments by name")
    for name in names:
        schema["properties"][name]["description"] = described[name]
    return {"name": function.__name__, "description": description, "parameters": schema}


NEEDS = "a tool needs type hints and a docstring with a description and an Args: section of one line per argument"

_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns?|Raises|Yields?|Examples?|Notes?):\s*")
_ARGUMENT = re.compile(r"(\s+)\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


def _documented(docstring: str) -> tuple[str, dict[str, str]]:
    """The description in a docstring of Google's form, and that of each argument."""
    sections: dict[str, list[str]] = {"": []}
    section = ""
    for line in docstring.splitlines():
        if found := _SECTION.fullmatch(line):
            section = found[1]
            sections[section] = []
        else:
            sections[section].append(line)
    described: dict[str, str] = {}
    name, indent = "", None
    for line in (line for key in ("Args", "Arguments", "Parameters") for line in sections.get(key, ())):
        found = _ARGUMENT.fullmatch(line)
        if found and (indent is None or len(found[1]) <= indent):
            indent, name = len(found[1]), found[2]
            described[name] = found[3].strip()
        elif name:  # a description goes on in lines that are indented further
            described[name] = f"{described[name]} {line.strip()}".strip()
    return "\n".join(sections[""]).strip(), described


def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call a function with arguments as its type hints ask for them."""
    from pydantic import ValidationError
    from pydantic_core import to_json

    try:
        return json.loads(to_json(_checked(function)(**arguments), fallback=str, inf_nan_mode="strings"))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Failed(f"the arguments have the wrong type: {wrong}") from error


@functools.cache
def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    from pydantic import ConfigDict, validate_call

    return validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


if __name__ == "__main__":
    main()
