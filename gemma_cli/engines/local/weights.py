"""The tensors of a checkpoint folder, by name, memory-mapped; and the three ways a decoder asks for them.

    tensors(folder, prefix) -> dict        every tensor whose name starts with prefix, prefix removed: for the towers

`Source` is what the builder (build.py) reads from: `Checkpoint` here, random numbers in synthetic.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gemma_cli.errors import ModelError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_FLOATS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


class Source(Protocol):
    """Where weights come from. Shapes are what the config implies; a tensor of another shape is a ModelError."""

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """One tensor on the device, in `dtype` (None: the model's)."""
        ...

    def fused(self, names: Sequence[str], shapes: Sequence[Sequence[int]]) -> Tensor:
        """Several, one below the other."""
        ...

    def table(self, name: str, shape: Sequence[int]) -> Tensor:
        """A look-up table: on a CPU as it lies, memory-mapped and in its own dtype; elsewhere on the device."""
        ...


class Checkpoint:
    """The safetensors of one folder, single or sharded. Opening maps files; nothing is read before it is taken."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.folder, self.device, self.dtype = folder, device, dtype
        self._files = _files(folder)
        self._taken: set[str] = set()
        self.prefix = ""

    @property
    def names(self) -> Iterable[str]:
        return self._files.keys()

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        return self._read(name, shape).to(self.device, dtype or self.dtype, copy=True)

    def fused(self, names: Sequence[str], shapes: Sequence[Sequence[int]]) -> Tensor:
        if len(names) == 1:
            return self.take(names[0], shapes[0])
        rows = sum(shape[0] for shape in shapes)
        whole = torch.empty(rows, *shapes[0][1:], device=self.device, dtype=self.dtype)
        first = 0
        for name, shape in zip(names, shapes, strict=True):
            whole[first : first + shape[0]].copy_(self._read(name, shape))
            first += shape[0]
        return whole

    def table(self, name: str, shape: Sequence[int]) -> Tensor:
        table = self._read(name, shape)
        return table if self.device.type == "cpu" else table.to(self.device, self.dtype)

    def has(self, name: str) -> bool:
        return self.prefix + name in self._files

    def untaken(self, prefix: str) -> list[str]:
        return sorted(name for name in self._files if name.startswith(prefix) and name not in self._taken)

    def _read(self, name: str, shape: Sequence[int]) -> Tensor:
        """The tensor as it lies in its file: on the CPU, memory-mapped."""
        full = self.prefix + name
        file = self._files.get(full)
        if file is None:
            raise ModelError(f"{self.folder}: tensor {full} is missing; the checkpoint is incomplete, fetch it again")
        self._taken.add(full)
        piece = file.get_slice(full)
        where = f"{self.folder}: tensor {full}"
        if list(piece.get_shape()) != list(shape):
            raise ModelError(f"{where} has shape {piece.get_shape()}, but config.json implies {list(shape)}")
        if piece.get_dtype() not in _FLOATS and not (piece.get_dtype().startswith(("I", "U")) and len(shape) == 1):
            raise ModelError(f"{where} is stored as {piece.get_dtype()}; only float32, bfloat16 and float16 can be run")
        tensor: Tensor = file.get_tensor(full)
        return tensor


def tensors(folder: Path, prefix: str) -> dict[str, Tensor]:
    """Every tensor whose name starts with `prefix`, by the rest of its name; memory-mapped on the CPU, as stored."""
    files = _files(folder)
    return {name[len(prefix) :]: file.get_tensor(name) for name, file in files.items() if name.startswith(prefix)}


def _files(folder: Path) -> dict[str, Any]:
    """tensor name -> open safetensors file that holds it. ModelError names what is missing or broken."""
    found: dict[str, Any] = {}
    for path in _paths(folder):
        file = _open(path)
        found.update(dict.fromkeys(file.keys(), file))
    return found


def _paths(folder: Path) -> list[Path]:
    index = folder / INDEX
    if not index.is_file():
        single = folder / SINGLE
        if not single.is_file():
            raise ModelError(f"{folder} holds neither {SINGLE} nor {INDEX}; it is not a complete checkpoint")
        return [single]
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{index} cannot be read as a safetensors index ({error}); fetch the checkpoint again"
        ) from error
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder}: {missing[0]} is missing ({len(missing)} of {len(shards)} files); fetch it again")
    return [folder / name for name in shards]


def _open(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a readable safetensors file ({error}); fetch the checkpoint again") from error
