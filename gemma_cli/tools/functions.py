"""Python functions as tools: `module.py:function`, declared by its type hints and docstring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gemma_cli.core.errors import UsageError
from gemma_cli.media.samples import is_sample, located
from gemma_cli.tools import TIME_LIMIT_S, Tool, ToolFailed, too_late
from gemma_cli.tools.process import ProcessEnded, Worker
from gemma_cli.tools.schemas import plain

LOAD_S = 120.0
"""Seconds a module may take to be imported."""


@contextmanager
def loaded(
    specifications: Sequence[str], show: Callable[[str], None], limit_s: float = TIME_LIMIT_S
) -> Iterator[list[Tool]]:
    """The tools that `module.py:function` name; their process ends with the context.

    show: is given each line that they write while they are loaded or called. limit_s: seconds a call may take. Raises
    UsageError for what is missing, cannot be imported, or lacks type hints or a docstring in Google's form.
    """
    with closing(Worker(show)) as worker:
        yield [load(worker, specification, limit_s) for specification in specifications]


def load(worker: Worker, specification: str, limit_s: float = TIME_LIMIT_S) -> Tool:
    """The tool that `module.py:function` names, run by `worker`. Raises UsageError."""
    path, _, name = specification.rpartition(":")
    if not path or not name:
        raise UsageError(f"--tool {specification}: the name of the function is missing; write module.py:function")
    if is_sample(path):
        path = located(path)
        specification = f"{path}:{name}"
    if not Path(path).is_file():
        raise UsageError(f"--tool {specification}: the file {path} does not exist")
    try:
        function = _loaded(worker, {"declare": specification})
    except ToolFailed as error:
        raise UsageError(f"--tool {specification}: {error}") from error
    loaded_in = worker.generation

    def run(arguments: Mapping[str, Any]) -> Any:
        nonlocal loaded_in
        worker.start()
        if loaded_in != worker.generation:  # the process was killed since
            _loaded(worker, {"load": specification})
            loaded_in = worker.generation
        try:
            return _asked(worker, {"call": specification, "arguments": dict(arguments)}, limit_s)
        except TimeoutError:
            raise ToolFailed(too_late(limit_s)) from None

    function["parameters"] = plain(function["parameters"])
    return Tool(name, {"type": "function", "function": function}, run, Path(path).stem)


def _loaded(worker: Worker, request: Mapping[str, Any]) -> Any:
    try:
        return _asked(worker, request, LOAD_S)
    except TimeoutError:
        raise ToolFailed(f"the import takes longer than {LOAD_S:g} s") from None


def _asked(worker: Worker, request: Mapping[str, Any], limit_s: float) -> Any:
    try:
        answer = worker.ask(request, limit_s)
    except ProcessEnded as error:
        raise ToolFailed(str(error)) from error
    if "failed" in answer:
        raise ToolFailed(answer["failed"])
    return answer["value"]
