"""A file of quantized weights as the kernels read them, and its record.

    PackedFile.open(kernels, path) -> PackedFile      Unusable says why not
    Writer(kernels, path, ...)                        appends weights; `finish` puts both files in place

Every weight begins at a multiple of ALIGNED bytes; scales of eight-bit weights follow theirs. The record names the
place of each, the size, and a digest of all of it, record included, that is compared each time before anything is
used: that takes as long as reading memory, and what it reads is needed anyway.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from gemma_cli.engines.local.model.layers.quantized import Int4Linear, Int8Linear, RoundedLinear
from gemma_cli.engines.local.native import stored
from gemma_cli.engines.local.native.ops import Kernels
from gemma_cli.store.json_file import INDEX_LIMIT
from gemma_cli.store.models.saved_weights import MAKING, RECORD, WEIGHTS

ALIGNED = 4096

_KINDS: Mapping[int, type[RoundedLinear]] = {4: Int4Linear, 8: Int8Linear}

Places = dict[str, list[int]]
"""By the name of a weight: bits, out, width, and the byte at which it begins."""


class Unusable(Exception):
    """There is a file, but it must not be used; the argument says why."""


class PackedFile:
    """The weights of a mapped file, by name."""

    def __init__(self, kernels: Kernels, content: Tensor, places: Places) -> None:
        self._kernels, self._content, self._places = kernels, content, places
        self.size = content.numel()

    @classmethod
    def open(cls, kernels: Kernels, path: Path) -> PackedFile | None:
        """Map the file; None where there is none. Raises Unusable for one that is not as it was written."""
        try:
            with stored.opened(path.with_suffix(RECORD)) as file:
                record = json.loads(file.read(INDEX_LIMIT))
            with stored.opened(path) as file:
                size = os.fstat(file.fileno()).st_size
                if size != record["size"]:
                    raise Unusable(f"{size} bytes, not {record['size']}")
                content = torch.frombuffer(
                    mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE),
                    dtype=torch.uint8,
                )
            digest = record.pop("digest")
        except FileNotFoundError:
            return None
        except stored.Untrusted as error:
            raise Unusable(str(error)) from None
        except OSError as error:
            raise Unusable(error.strerror or str(error)) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Unusable("the record in the file is damaged") from None
        if _digest(kernels, content, record) != digest:
            raise Unusable("the checksum of the file is wrong")
        return cls(kernels, content, record["places"])

    def linear(self, name: str, shape: tuple[int, int]) -> RoundedLinear | None:
        """The linear layer of that name; None where the file has none of this shape."""
        bits, out, width, at = self._places.get(name, (0, 0, 0, 0))
        if (out, width) != shape:
            return None
        kind = _KINDS[bits]
        size = self._kernels.packed_bytes(out, width, kind.bits)
        packed, after = self._content[at : at + size], _aligned(at + size)
        scales = self._content[after : after + 4 * out].view(torch.float32) if bits == 8 else torch.empty(0)
        return kind.of_stored(self._kernels, shape, packed, scales)


class Writer:
    """Writes a file of weights under a temporary name; without `finish`, leaving the context removes it.

    path: where it will be. Raises OSError.
    """

    def __init__(self, kernels: Kernels, path: Path, record: Mapping[str, Any]) -> None:
        self._kernels, self._path = kernels, path
        self._record, self._places = dict(record), Places()
        self._made = path.with_name(f"{MAKING}{os.getpid()}{WEIGHTS}")
        self._made.unlink(missing_ok=True)
        descriptor = os.open(self._made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        for left in (self._made, self._made.with_suffix(RECORD)):
            stored.remove(left)

    def add(self, name: str, linear: RoundedLinear) -> None:
        """Append a weight."""
        assert linear.stored is not None
        packed, scales = linear.stored
        self._places[name] = [linear.bits, *linear.shape, self._append(packed)]
        if scales.numel():
            self._append(scales)

    def finish(self) -> int:
        """Put the file and its record in place, durably; returns the bytes of the file."""
        size = self._file.tell()
        if not size:
            return 0
        record = self._record | {"size": size, "places": self._places}
        with stored.opened(self._made) as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as content:
            mapped = torch.frombuffer(content, dtype=torch.uint8)
            record["digest"] = _digest(self._kernels, mapped, record)
            del mapped  # or the map cannot be closed
        made_record = self._made.with_suffix(RECORD)
        made_record.write_text(json.dumps(record))
        stored.put(((made_record, self._path.with_suffix(RECORD)), (self._made, self._path)))
        return size

    def _append(self, numbers: Tensor) -> int:
        """Write a tensor's bytes at the next multiple of ALIGNED: that place."""
        at = _aligned(self._file.tell())
        self._file.seek(at)
        content = numbers.contiguous().view(torch.uint8).numpy().data
        while content:  # a full disk writes less than it was given
            content = content[self._file.write(content) :]
        return at


def _digest(kernels: Kernels, content: Tensor, record: Mapping[str, Any]) -> str:
    """Of the file, and of everything in its record but the digest."""
    described = json.dumps(record, sort_keys=True).encode()
    return hashlib.sha256(described + kernels.checksum(content)).hexdigest()


def _aligned(at: int) -> int:
    return -(-at // ALIGNED) * ALIGNED
