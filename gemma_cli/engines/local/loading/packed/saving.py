"""Quantized weights of a checkpoint, from the file that an earlier process saved or from one that is made now.

    packed_weights(request) -> Found(weights, notice)     weights None: round them in memory

A file is named by a digest of the checkpoint's contents, the format, the dtype in which weights are rounded, and the
layout in which they are packed. So it belongs to one state of all of these, and a copy of the checkpoint elsewhere
finds it too. Making one streams through the checkpoint and takes no more memory than its largest weight. It never fills
the disk, and where anything goes wrong the model is loaded as if there were no file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from gemma_cli.core.engine import Quantization
from gemma_cli.engines.local import native
from gemma_cli.engines.local.device import weight_bytes
from gemma_cli.engines.local.loading.build import build_target
from gemma_cli.engines.local.loading.checkpoint import Checkpoint, Shape, decoder_prefix
from gemma_cli.engines.local.loading.config import read_config
from gemma_cli.engines.local.loading.packed.contents import content_digest
from gemma_cli.engines.local.loading.packed.file import PackedFile, Unusable, Writer
from gemma_cli.engines.local.loading.stand_ins import LinearStandIn, TensorStandIn
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.quantized import RoundedLinear
from gemma_cli.engines.local.native.ops import Kernels
from gemma_cli.store.models.releases import gigabytes
from gemma_cli.store.models.saved_weights import MAKING, WEIGHTS, folder, remove, saved_weights

LAYOUT = 1
"""Of rounded and packed weights: raise it when rounding.py, native/quantized_linear.c or file.py gives other bytes."""

WORTH = 256 << 20
"""Bytes of a checkpoint from which reading a file is clearly faster than rounding."""

SPARE = 2 << 30
"""Bytes of the disk that stay free."""

MAKING_S = 600.0
"""Seconds to wait for another process that makes the same file."""

_WINDOW = 512 << 20
"""Bytes of the checkpoint that are read before their pages are given back."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Wanted:
    """The weights that are asked for. model: its name, for the record. make: whether a file may be made."""

    model: str
    folder: Path
    quantize: Quantization
    dtype: torch.dtype
    make: bool = True


@dataclass(frozen=True)
class Found:
    """The file's weights. notice: a line for the user, where something happened that did not before."""

    weights: PackedFile | None = None
    notice: str = ""
    made: bool = False


def packed_weights(wanted: Wanted, worth: int = WORTH) -> Found:
    """Open the file for `wanted`, made before if need be and allowed. worth: bytes from which a checkpoint has one."""
    kernels = native.on(CPU)
    if kernels is None or weight_bytes(wanted.folder) < worth:
        return Found()
    from gemma_cli.engines.local.native import stored  # for Linux only

    try:
        if not wanted.make and not folder().is_dir():
            return Found()
        stored.private(folder())
        path = folder() / f"{_key(kernels, wanted)}{WEIGHTS}"
        damage = ""
        try:
            if found := PackedFile.open(kernels, path):
                return Found(found)
        except Unusable as error:
            damage = f"{path}: the saved weights were not used ({error})"
        if not wanted.make:
            return Found(notice=damage)
        with stored.locked(folder(), MAKING_S) as alone:
            return _made(kernels, wanted, path, damage) if alone else Found(notice=damage)
    except stored.Untrusted as error:
        return Found(notice=f"{error}, so gemma saves no quantized weights there")
    except OSError as error:
        return Found(notice=f"the {wanted.quantize} weights cannot be saved: {error.strerror or error}")


def _made(kernels: Kernels, wanted: Wanted, path: Path, damage: str) -> Found:
    """Make the file, unless another process has done so. The caller holds the folder's lock. Raises OSError."""
    with suppress(Unusable):
        if found := PackedFile.open(kernels, path):
            return Found(found)
    for left in folder().glob(f"{MAKING}*"):  # of processes that were killed
        with suppress(OSError):
            left.unlink()
    remove(path)
    size, free = _bytes(kernels, wanted), shutil.disk_usage(folder()).free
    if free < size + SPARE:
        return Found(
            notice=f"{folder()}: the {wanted.quantize} weights ({gigabytes(size)}) are not saved, because the disk has "
            f"only {gigabytes(free)} left; free some disk space, or give --no-keep"
        )
    with Writer(kernels, path, _record(wanted)) as writer:
        _stream(wanted, writer)
        size = writer.finish()
    _remove_older(wanted, path)
    found = PackedFile.open(kernels, path) if size else None
    again = f"{damage} and have been saved again" if damage else ""
    saved = f"saved the {wanted.quantize} weights of {wanted.model} ({gigabytes(size)}) for faster starts"
    return Found(
        found,
        again or f"{saved}; to remove the saved weights: gemma models remove {wanted.model} --quantized",
        made=True,
    )


def _key(kernels: Kernels, wanted: Wanted) -> str:
    contents = content_digest(kernels, wanted.folder)
    known = (LAYOUT, kernels.lanes, contents, wanted.quantize, str(wanted.dtype))
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:24]


def _record(wanted: Wanted) -> dict[str, str]:
    return {"model": wanted.model, "quantize": wanted.quantize, "source": str(wanted.folder.resolve())}


def _remove_older(wanted: Wanted, path: Path) -> None:
    """Remove what was made of the same folder and format before, when it had other contents or another layout."""
    source = str(wanted.folder.resolve())
    for one in saved_weights():
        if one.file != path and (one.quantize, one.source) == (wanted.quantize, source):
            remove(one.file)


def _stream(wanted: Wanted, writer: Writer) -> None:
    source = _Streaming(wanted.folder, CPU, wanted.dtype, wanted.quantize)
    source.prefix, source.writer = decoder_prefix(source), writer
    build_target(read_config(wanted.folder).decoder(), source, CPU, wanted.dtype)


def _bytes(kernels: Kernels, wanted: Wanted) -> int:
    """Bytes that the file will take, a little more than less."""
    from gemma_cli.engines.local.loading.memory.estimate import needs, plan_folder

    return needs(plan_folder(wanted.folder, None, CPU, wanted.dtype, wanted.quantize)).weights


class _Streaming(Checkpoint):
    """A checkpoint whose quantized layers go to a file one by one, and leave stand-ins behind."""

    writer: Writer
    _seen = 0

    def fused(self, names: Sequence[str], shapes: Sequence[Shape]) -> Linear:
        return self._written(names[0], super().fused(names, shapes))

    def linears(self, name: str, shape: tuple[int, int, int]) -> list[Linear]:
        linears = super().linears(name, shape)
        return [self._written(f"{name}.{index}", linear) for index, linear in enumerate(linears)]

    def table(self, name: str, shape: Sequence[int]) -> Tensor:
        self._read(name, shape)
        return cast("Tensor", TensorStandIn(shape))

    def tied(self, name: str, table: Tensor) -> Linear:
        return self.linear(name, (table.shape[0], table.shape[1]))

    def _written(self, name: str, linear: Linear) -> Linear:
        if not isinstance(linear, RoundedLinear):
            return linear
        self.writer.add(name, linear)
        self._seen += linear.shape[0] * linear.shape[1] * 2
        if self._seen > _WINDOW:  # pages of a file that is mapped stay until the map is gone
            self._seen = 0
            self.reopen()
        return LinearStandIn(linear.shape)
