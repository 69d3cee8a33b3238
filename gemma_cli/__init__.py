"""gemma: the terminal's Gemma 4. For programs, docs/api.md describes the names that can be imported from here.

They are imported when they are first used, so that `import gemma_cli` and `gemma --help` cost nothing. Their types are
in `__init__.pyi`.
"""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # `from gemma_cli import cli` asks here before it imports the module.
    if name.startswith("_") or _find_spec(f"gemma_cli.{name}"):
        raise AttributeError(name)
    api = _import_module("gemma_cli.api")
    if name not in api.__all__:
        raise AttributeError(f"module 'gemma_cli' has no attribute '{name}'")
    value = getattr(api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_import_module("gemma_cli.api").__all__]
