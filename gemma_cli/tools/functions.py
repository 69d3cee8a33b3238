"""Python functions as tools: `module.py:function`, declared by its type hints and docstring."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from gemma_cli.core.errors import Terminated, UsageError
from gemma_cli.tools import Tool, ToolFailed


def load(specification: str) -> Tool:
    """The tool that `module.py:function` names; the module is run, as `python module.py` would run it.

    Raises UsageError for what is missing, cannot be imported, or lacks type hints or a docstring in Google's form.
    """
    path, _, name = specification.rpartition(":")
    if not path or not name:
        raise UsageError(f"--tool {specification}: write it as module.py:function")
    if not Path(path).is_file():
        raise UsageError(f"--tool {specification}: there is no file {path}")
    try:
        module = _imported(Path(path).resolve())
    except (Exception, SystemExit) as error:
        raise UsageError(f"--tool {specification}: cannot be imported: {_told(error)}") from error
    function = getattr(module, name, None)
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        raise UsageError(
            f"--tool {specification}: {path} has no function {name} that can be called, or only an async one"
        )
    return Tool(name, _declaration(specification, function), _runner(function), Path(path).stem)


@functools.cache
def _imported(path: Path) -> ModuleType:
    """The module in a file, run once however many of its functions are tools. Raises what it raises."""
    name = f"gemma_tools_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ImportError("not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and type hints look their module up
    sys.path.insert(0, str(path.parent))  # it may import its neighbours
    with contextlib.redirect_stdout(io.StringIO()):
        found.loader.exec_module(module)
    return module


def _declaration(specification: str, function: Callable[..., Any]) -> Mapping[str, Any]:
    from transformers.utils import get_json_schema

    try:
        declaration: dict[str, Any] = get_json_schema(function)
    except Exception as error:  # two of its own, and whatever evaluating type hints raises
        raise UsageError(
            f"--tool {specification}: {_told(error)}; it needs type hints and a docstring that describes it, "
            "with an Args: section of one line for each argument"
        ) from error
    return declaration


def _runner(function: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Any]:
    from pydantic import ConfigDict, ValidationError, validate_call
    from pydantic_core import to_json

    checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)

    def run(arguments: Mapping[str, Any]) -> Any:
        """Arguments become what the type hints ask for; what is printed meanwhile is no part of the answer."""
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return json.loads(to_json(checked(**arguments), fallback=str, inf_nan_mode="strings"))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ToolFailed(f"the arguments do not fit: {wrong}") from error
        except Terminated:
            raise
        except (Exception, SystemExit) as error:
            raise ToolFailed(_told(error)) from error

    return run


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
