"""Values of `core` between two processes of one user, in frames: JSON, and the bytes of arrays behind it.

    frame: size of the JSON (4 bytes), size of the arrays (8 bytes), JSON, arrays

What comes out equals what went in, tuples and arrays included. Both sides run the same version, or do not talk.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

from gemma_cli.core import events, messages
from gemma_cli.core.engine import EngineInfo

MOST_BYTES = 1 << 30
"""Of a frame: more than a context full of pictures and sounds takes."""

_HEAD = struct.Struct(">IQ")
_CHUNK = 1 << 18
_MARK = "$"
_ROUTINE = (str, int, float, bool, type(None))

_KINDS: Mapping[str, Any] = {
    name: kind
    for module in (messages, events)
    for name, kind in vars(module).items()
    if is_dataclass(kind) and isinstance(kind, type) and kind.__module__ == module.__name__
} | {"EngineInfo": EngineInfo}


class Broken(Exception):
    """The other side has gone, or does not send frames."""


class Stream(Protocol):
    """What is used of a socket."""

    def sendall(self, data: bytes, /) -> None: ...

    def recv(self, size: int, /) -> bytes: ...


def write(stream: Stream, value: Any) -> None:
    """Send a value in one frame. Raises Broken."""
    arrays: list[bytes] = []
    text = json.dumps(_plain(value, arrays)).encode()
    head = _HEAD.pack(len(text), sum(map(len, arrays)))
    try:
        stream.sendall(b"".join((head, text, *arrays)))
    except OSError as error:
        raise Broken(error.strerror or str(error)) from None


def read(stream: Stream) -> Any:
    """Receive the value of the next frame. Raises Broken."""
    text_size, size = _HEAD.unpack(_taken(stream, _HEAD.size))
    if text_size + size > MOST_BYTES:
        raise Broken("a frame from the gemma serve process is too large")
    try:
        plain = json.loads(_taken(stream, text_size))
        return _value(plain, memoryview(_taken(stream, size)))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        raise Broken("a frame from the gemma serve process is damaged") from None


def _taken(stream: Stream, size: int) -> bytes:
    parts = []
    while size:
        try:
            part = stream.recv(min(size, _CHUNK))
        except OSError as error:
            raise Broken(error.strerror or str(error)) from None
        if not part:
            raise Broken("the connection to the gemma serve process has ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _plain(value: Any, arrays: list[bytes]) -> Any:
    """`value` as JSON has it; what JSON does not have becomes an object with a mark. Raises TypeError."""
    if isinstance(value, _ROUTINE):
        return value
    if isinstance(value, list):
        return [_plain(each, arrays) for each in value]
    if isinstance(value, tuple):
        return {_MARK: "tuple", "of": [_plain(each, arrays) for each in value]}
    if isinstance(value, frozenset):
        return {_MARK: "set", "of": sorted(value)}
    if isinstance(value, Mapping):
        plain = {key: _plain(each, arrays) for key, each in value.items()}
        return {_MARK: "object", "of": plain} if _MARK in plain else plain
    if is_dataclass(value):
        named = {field.name: _plain(getattr(value, field.name), arrays) for field in fields(value)}
        return {_MARK: type(value).__name__, "of": named}
    begin = sum(map(len, arrays))
    arrays.append(value.tobytes())
    return {_MARK: "array", "dtype": value.dtype.str, "shape": value.shape, "begin": begin, "size": len(arrays[-1])}


def _value(plain: Any, arrays: memoryview) -> Any:
    """The value of what `_plain` made."""
    if isinstance(plain, list):
        return [_value(each, arrays) for each in plain]
    if not isinstance(plain, dict):
        return plain
    kind = plain.get(_MARK)
    if kind is None:
        return {key: _value(each, arrays) for key, each in plain.items()}
    if kind == "tuple":
        return tuple(_value(each, arrays) for each in plain["of"])
    if kind == "set":
        return frozenset(plain["of"])
    if kind == "array":
        return _array(plain, arrays)
    of = {key: _value(each, arrays) for key, each in plain["of"].items()}
    return of if kind == "object" else _KINDS[kind](**of)


def _array(plain: Mapping[str, Any], arrays: memoryview) -> Any:
    import numpy as np

    content = arrays[plain["begin"] : plain["begin"] + plain["size"]]
    return np.frombuffer(content, dtype=np.dtype(plain["dtype"])).reshape(plain["shape"]).copy()  # may be written to
