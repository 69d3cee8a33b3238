"""Kernel libraries in cache folders of their own, damaged in many ways, and loaded in processes that may die of it."""

from __future__ import annotations

import faulthandler
import json
import os
import random
import shutil
import signal
import stat
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from gemma_cli.engines.local import native
from gemma_cli.engines.local.native import build, ops, stored

HANGS_S = 120

_LOADED_BEFORE = ops
"""Imported here, or every child would import it."""

SOMEBODY = 65_534
"""A user who is neither the one who runs the tests nor root."""

Damage = Callable[[Path], None]
"""Changes a stored library, its record or their folder; is given the path of the library."""


@dataclass(frozen=True)
class Loaded:
    """How a process fared. how: "kernels", "torch", or what went wrong."""

    how: str
    notice: str = ""


class Process:
    """A process that loads the kernels with a cache folder and a PATH of its own, and computes with what there is."""

    def __init__(self, cache: Path, path: str) -> None:
        self._reading, writing = os.pipe()
        self._child = os.fork()
        if not self._child:
            _live(cache, path, writing)
        os.close(writing)

    def end(self) -> Loaded:
        """Wait for it."""
        with os.fdopen(self._reading, encoding="utf-8") as pipe:
            written = pipe.read()
        _, status = os.waitpid(self._child, 0)
        if os.WIFSIGNALED(status):
            return Loaded(f"killed by {signal.Signals(os.WTERMSIG(status)).name}")
        return Loaded(*json.loads(written)) if written else Loaded("ended without a word")


def load(cache: Path, path: str) -> Loaded:
    """Run a Process to its end."""
    return Process(cache, path).end()


def _live(cache: Path, path: str, writing: int) -> None:
    """All that the child does; it never returns."""
    faulthandler.disable()
    signal.alarm(HANGS_S)
    try:
        os.environ |= {"XDG_CACHE_HOME": str(cache), "PATH": path}
        os.environ.pop("GEMMA_KERNELS", None)
        build.library.cache_clear()
        native._loaded.cache_clear()
        kernels = native.loaded()
        x = torch.arange(1.0, 65.0).reshape(2, 32)
        if kernels:
            expected = x / (x.double().square().mean(1, keepdim=True) + 1e-6).sqrt()
            assert (kernels.norm(x, None, 1e-6) - expected).abs().max() < 1e-5
        found = ("kernels" if kernels else "torch", native.notice(torch.device("cpu")) or "")
    except BaseException:
        found = (traceback.format_exc(), "")
    os.write(writing, json.dumps(found).encode())
    os._exit(0)


class Copies:
    """Cache folders that each hold a copy of one real library, and a compiler that makes further copies.

    So a library is rebuilt in no time, while what checks and loads it is the real thing.
    """

    def __init__(self, folder: Path) -> None:
        built = build.library()
        assert built.path, built.why
        self.folder, self.name = folder, built.path.name
        self.original = folder / "original.so"
        shutil.copyfile(built.path, self.original)
        self.bin = folder / "bin"
        self.bin.mkdir()
        made = 'while [ "$1" != -o ]; do shift; done'
        (self.bin / "gcc").write_text(f'#!/bin/sh\n{made}\n/bin/cp {self.original} "$2"\n')
        (self.bin / "gcc").chmod(0o755)
        (folder / "nothing").mkdir()
        self._count = 0

    @property
    def size(self) -> int:
        """Bytes of the library."""
        return self.original.stat().st_size

    def cache(self) -> Path:
        """A new cache folder in which the library has been stored."""
        self._count += 1
        cache = self.folder / f"cache{self._count}"
        library = self.library(cache)
        assert stored.private(library.parent)
        made = self.folder / self.name
        shutil.copyfile(self.original, made)
        stored.store(made, library)
        return cache

    def library(self, cache: Path) -> Path:
        """Where the library lies in a cache folder."""
        return cache / "gemma-cli" / "kernels" / self.name

    def fares(self, damage: Damage, compiler: bool = True) -> tuple[Loaded, Loaded]:
        """What becomes of a process that meets a library so damaged, and of the next one."""
        cache = self.cache()
        damage(self.library(cache))
        path = str(self.bin if compiler else self.folder / "nothing")
        try:
            return load(cache, path), load(cache, path)
        finally:
            shutil.rmtree(cache, ignore_errors=True)


def cuts(size: int, count: int) -> Iterator[tuple[str, Damage]]:
    """The library cut short at `count` places, from its first byte to its last but one."""
    for number in range(count):
        length = number * (size - 1) // max(count - 1, 1)
        yield f"cut after {length} of {size} bytes", lambda library, length=length: os.truncate(library, length)


def flips(size: int, count: int, seed: int = 0) -> Iterator[tuple[str, Damage]]:
    """One bit of the library flipped, at `count` places drawn at random."""
    places = random.Random(seed)
    for _ in range(count):
        at, bit = places.randrange(size), places.randrange(8)
        yield f"bit {bit} of byte {at} flipped", lambda library, at=at, bit=bit: _flip(library, at, bit)


def _flip(library: Path, at: int, bit: int) -> None:
    content = bytearray(library.read_bytes())
    content[at] ^= 1 << bit
    library.write_bytes(content)


def _link(library: Path) -> None:
    library.rename(library.parents[1] / "elsewhere.so")
    library.symlink_to(library.parents[1] / "elsewhere.so")


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "full").touch()


def record(library: Path) -> Path:
    """Where the size and the digest of a library are stored."""
    return library.with_suffix(".json")


def _swap_kind(library: Path) -> None:
    """A sound library of another kind, under this one's name and with its record left."""
    library.write_bytes(library.read_bytes() + b"\0" * 8)


REBUILT: dict[str, Damage] = {
    "a text": lambda library: _write(library, b"not a library"),
    "longer": _swap_kind,
    "a symbolic link": _link,
    "a pipe": _pipe,
    "a folder": _folder,
    "writable by all": lambda library: library.chmod(0o666),
    "writable by the group": lambda library: library.chmod(0o620),
    "in a folder that is writable by all": lambda library: library.parent.chmod(0o777),
    "in a folder that is writable by the group": lambda library: library.parent.chmod(0o775),
    "with a record that is empty": lambda library: _write(record(library), b""),
    "with a record that is a list": lambda library: _write(record(library), b"[1, 2]"),
    "with a record of 200,000 brackets": lambda library: _write(record(library), b"[" * 200_000),
    "with a record of another size": lambda library: _write(record(library), b'{"size": 5, "sha256": "ab"}'),
    "with a record that is not text": lambda library: _write(record(library), b"\xff\xfe\0"),
    "with a record that is a pipe": lambda library: _pipe(record(library)),
    "with a record that is a folder": lambda library: _folder(record(library)),
    "with a record that is writable by all": lambda library: record(library).chmod(0o666),
}
"""Damage after which the library is built again, with a line about it."""

MISSING: dict[str, Damage] = {
    "gone": lambda library: library.unlink(),
    "without a record": lambda library: record(library).unlink(),
}
"""Nothing is wrong then: it is built again, without a line."""


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _linked_folder(library: Path) -> None:
    library.parent.rename(library.parents[1] / "elsewhere")
    library.parent.symlink_to(library.parents[1] / "elsewhere")


def _file_for_folder(library: Path) -> None:
    shutil.rmtree(library.parent)
    library.parent.touch()


FALLEN_BACK: dict[str, Damage] = {
    "in a folder that is a symbolic link": _linked_folder,
    "in a folder that is a file": _file_for_folder,
}
"""Damage after which torch computes, with a line about it."""

if os.geteuid() == 0:  # nobody else can give files away
    REBUILT["somebody else's"] = lambda library: os.chown(library, SOMEBODY, SOMEBODY)
    REBUILT["with somebody else's record"] = lambda library: os.chown(record(library), SOMEBODY, SOMEBODY)
    FALLEN_BACK["in somebody else's folder"] = lambda library: os.chown(library.parent, SOMEBODY, SOMEBODY)


def wrong(fared: tuple[Loaded, Loaded], how: str = "kernels", then: str = "kernels", line: bool = True) -> str:
    """What is wrong with how two processes fared; "" where they did as expected, the first with a line if `line`."""
    first, second = fared
    if (first.how, second.how) != (how, then):
        return f"{first.how}, then {second.how}; not {how}, then {then}"
    if bool(first.notice) is not line or "\n" in first.notice:
        return f"the notice is {first.notice!r}"
    if how == then == "kernels" and second.notice:
        return f"the notice is repeated: {second.notice!r}"
    return ""


def is_private(folder: Path) -> bool:
    """Whether only its owner can enter a folder."""
    return stat.S_IMODE(folder.stat().st_mode) == 0o700
