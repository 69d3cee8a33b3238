"""`dataclass` as in the standard library, for modules that short commands import.

The standard library writes and compiles the source of up to seven methods for each class, which takes a millisecond. A
`gemma chat` that uses a running server would spend a quarter of its time on that. Here all classes share the methods
below, which read the fields when they are called. `fields`, `replace`, `is_dataclass` and `match` work as ever.

Not supported: options other than `frozen`, InitVar, and subclasses that are dataclasses of the
standard library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass  # so that the type checker knows the fields
else:

    def dataclass(cls=None, *, frozen=False):
        """Make a class a dataclass; see above."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen)
        cls = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
        fields = dataclasses.fields(cls)
        methods = {"__init__": _initializer(fields, hasattr(cls, "__post_init__")), "__repr__": _repr, "__eq__": _equal}
        methods["__hash__"] = _hash if frozen else None
        if frozen:
            methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        for name, method in methods.items():
            if name not in cls.__dict__:
                setattr(cls, name, method)
        return cls


__all__ = ["dataclass"]


def _initializer(fields: tuple[Field[Any], ...], ends: bool) -> Callable[..., None]:
    """Build `__init__` of a class with these fields. ends: whether it calls `__post_init__`."""
    positional = tuple(field.name for field in fields if field.init and not field.kw_only)
    known = frozenset(field.name for field in fields if field.init)
    defaults = {field.name: field.default for field in fields if field.default is not MISSING}
    factories = {field.name: field.default_factory for field in fields if field.default_factory is not MISSING}
    required = known - defaults.keys() - factories.keys()

    def __init__(self: Any, /, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(positional, args)) | kwargs  # noqa: B905 - compared below
        if len(given) != len(args) + len(kwargs) or not known >= given.keys():
            raise TypeError(f"{type(self).__name__}() got arguments twice, too many, or unknown: {args}, {kwargs}")
        if not required <= given.keys():
            raise TypeError(
                f"{type(self).__name__}() misses the arguments {', '.join(sorted(required - given.keys()))}"
            )
        values = self.__dict__
        values.update(defaults)
        values.update(given)
        for name, factory in factories.items():
            if name not in given:
                values[name] = factory()
        if ends:
            self.__post_init__()

    return __init__


def _compared(record: Any) -> tuple[Any, ...]:
    """The values that equality and the hash depend on."""
    return tuple(getattr(record, field.name) for field in dataclasses.fields(record) if field.compare)


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _equal(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _refuse_to_set(_self: Any, name: str, _value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
