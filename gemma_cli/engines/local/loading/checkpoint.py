"""The tensors of a checkpoint folder, by name, memory-mapped; and the three ways a decoder asks for them.

    tensors(folder, prefix) -> dict        every tensor whose name starts with prefix, prefix removed: for the towers

`Source` is what the builder (build.py) reads from: `Checkpoint` here, random numbers in synthetic.py.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gemma_cli.core.engine import Quantization
from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.loading import compressed_tensors
from gemma_cli.engines.local.model.layers.expert_stack import ExpertStack
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.quantized import four_bit_linear, kinds_for
from gemma_cli.engines.local.model.layers.rounding import from_four_bits
from gemma_cli.store.models.shards import INDEX, SINGLE, weight_files

__all__ = ["INDEX", "SINGLE", "Checkpoint", "PackedWeights", "Source", "decoder_prefix", "tensors"]

Shape = tuple[int, int]

_DECODER_PREFIXES = ("model.language_model.", "language_model.model.", "model.", "")

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


class Source(Protocol):
    """A source of weights. Shapes are what the config implies; a tensor of another shape is a ModelError."""

    def on(self, device: torch.device) -> Source:
        """Return the same weights for another device of the same kind."""
        ...

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Load a tensor to the device, in `dtype` (None: the model's)."""
        ...

    def linear(self, name: str, shape: Shape) -> Linear:
        """Load a linear layer with a weight [out, in], quantized as requested."""
        ...

    def fused(self, names: Sequence[str], shapes: Sequence[Shape]) -> Linear:
        """The product with several weights, one below the other."""
        ...

    def linears(self, name: str, shape: tuple[int, int, int]) -> Sequence[Linear]:
        """The products with each matrix of a weight [count, out, in]: off the CPU an ExpertStack."""
        ...

    def exact(self, name: str, shape: Shape) -> Linear:
        """Load a linear layer in the model's dtype, never quantized."""
        ...

    def table(self, name: str, shape: Sequence[int]) -> Tensor:
        """Load an embedding table: on a CPU memory-mapped in its own dtype, elsewhere on the device."""
        ...

    def tied(self, name: str, table: Tensor) -> Linear:
        """The product with a weight that is also the look-up table `table`, which it shares where both can."""
        ...


class PackedWeights(Protocol):
    """Quantized linear layers that were made before, by the name of their first weight."""

    def linear(self, name: str, shape: Shape) -> Linear | None:
        """The layer; None where there is none of this shape."""
        ...


class Checkpoint:
    """The safetensors of one folder, single or sharded. Opening maps files; nothing is read before it is taken.

    packed: quantized layers that are taken from there instead.
    """

    def __init__(
        self, folder: Path, device: torch.device, dtype: torch.dtype, quantize: Quantization | None = None
    ) -> None:
        """quantize: round weights of products to so many bits, unless they are stored in four. UsageError where the
        device cannot run that."""
        self.folder, self.device, self.dtype = folder, device, dtype
        self._kind = kinds_for(quantize, device)
        self._files = _files(folder)
        self._taken: set[str] = set()
        self.prefix = ""
        self.packed: PackedWeights | None = None

    def on(self, device: torch.device) -> Checkpoint:
        if device == self.device:
            return self
        other = copy.copy(self)  # the files and what was taken of them are shared
        other.device = device
        return other

    @property
    def names(self) -> Iterable[str]:
        return self._files.keys()

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        return self._read(name, shape).to(self.device, dtype or self.dtype, copy=True)

    def linear(self, name: str, shape: Shape) -> Linear:
        return self.fused((name,), (shape,))

    def fused(self, names: Sequence[str], shapes: Sequence[Shape]) -> Linear:
        whole = (sum(rows for rows, _ in shapes), shapes[0][1])
        if found := self._made_before(names[0], whole):
            for name, shape in zip(names, shapes, strict=True):
                self._found(name, shape)
            return found
        packed = [self.has(name + compressed_tensors.PACKED) for name in names]
        if all(packed):
            parts = [self._four_bits(name, shape) for name, shape in zip(names, shapes, strict=True)]
            numbers, scale = (torch.cat(column) for column in zip(*parts, strict=True))
            return four_bit_linear(numbers, scale, self.dtype)
        kind = self._kind(whole)
        if len(names) == 1:  # no copy except the kernel's own
            return kind(self._read(names[0], shapes[0]).to(self.device, self.dtype))
        lies = self.device.type == "cpu" and Linear.as_it_lies(self.device, self.dtype)
        if kind is Linear and lies and not any(packed):
            named = zip(names, shapes, strict=True)
            return Linear.of_rows([self._read(name, shape).to(self.dtype) for name, shape in named])
        weight = torch.empty(whole, device=self.device, dtype=self.dtype)
        first = 0
        for name, shape, four in zip(names, shapes, packed, strict=True):
            part = from_four_bits(*self._four_bits(name, shape), self.dtype) if four else self._read(name, shape)
            weight[first : first + shape[0]].copy_(part)
            first += shape[0]
        return kind(weight)

    def linears(self, name: str, shape: tuple[int, int, int]) -> Sequence[Linear]:
        found = (self._made_before(f"{name}.{index}", shape[1:]) for index in range(shape[0]))
        made = [linear for linear in found if linear]
        if len(made) == shape[0]:
            self._found(name, shape)
            return made
        kind, stored = self._kind(shape[1:]), self._read(name, shape)
        if self.device.type == "cpu":
            return [kind(part.to(self.device, self.dtype)) for part in stored]
        if kind is Linear:
            return ExpertStack.of_floats(stored.to(self.device, self.dtype))
        parts = (part.to(self.device, self.dtype) for part in stored)
        return ExpertStack.rounded(kind, parts, shape[0], self.dtype)

    def exact(self, name: str, shape: Shape) -> Linear:
        return Linear(self.take(name, shape))

    def table(self, name: str, shape: Sequence[int]) -> Tensor:
        table = self._read(name, shape)
        return table if self.device.type == "cpu" else table.to(self.device, self.dtype)

    def tied(self, name: str, table: Tensor) -> Linear:
        shape = (table.shape[0], table.shape[1])
        lies = table.dtype == self.dtype and Linear.as_it_lies(self.device, self.dtype)
        return Linear(table) if lies and self._kind(shape) is Linear else self.linear(name, shape)

    def has(self, name: str) -> bool:
        return self.prefix + name in self._files

    def untaken(self, prefix: str) -> list[str]:
        return sorted(name for name in self._files if name.startswith(prefix) and name not in self._taken)

    def reopen(self) -> None:
        """Map the files anew, which gives back the memory of what was read of them and is no longer used."""
        self._files = _files(self.folder)

    def _made_before(self, name: str, shape: Shape) -> Linear | None:
        return self.packed.linear(name, shape) if self.packed else None

    def _found(self, name: str, shape: Sequence[int]) -> None:
        """Check what `_read` or `_four_bits` would read of a weight that is taken from elsewhere."""
        if not self.has(name + compressed_tensors.PACKED):
            self._file_of(name, shape)
            return
        for suffix in (compressed_tensors.PACKED, compressed_tensors.SCALE, compressed_tensors.SHAPE):
            self._file_of(name + suffix, None)

    def _four_bits(self, name: str, shape: Shape) -> tuple[Tensor, Tensor]:
        """(numbers uint8 [out, in], scale [out, in / group]) of a weight that is stored in four bits."""
        out, width = shape
        if self._stored(name + compressed_tensors.SHAPE, (2,)).tolist() != list(shape):
            raise ModelError(
                f"{self.folder}: packed tensor {self.prefix}{name} does not "
                f"have the shape {list(shape)}; download the checkpoint again"
            )
        packed = self._stored(name + compressed_tensors.PACKED, (out, compressed_tensors.words(width))).to(self.device)
        scale = self._stored(name + compressed_tensors.SCALE, None).to(self.device)
        groups = scale.shape[1] if scale.dim() == 2 else 0
        if not groups or scale.shape[0] != out or width % groups or width // groups not in compressed_tensors.GROUPS:
            raise ModelError(
                f"{self.folder}: the scales of tensor {self.prefix}{name} have an invalid shape {list(scale.shape)}; "
                "download the checkpoint again"
            )
        return compressed_tensors.numbers(packed, width), scale

    def _read(self, name: str, shape: Sequence[int]) -> Tensor:
        """Load a floating-point tensor, or ids, as stored: on the CPU, memory-mapped."""
        tensor = self._stored(name, shape)
        if tensor.dtype not in _FLOATS and len(shape) > 1:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ModelError(
                f"{self.folder}: tensor {self.prefix}{name} is stored as {kind}; "
                "choose a checkpoint in float32, bfloat16 or float16"
            )
        return tensor

    def _stored(self, name: str, shape: Sequence[int] | None) -> Tensor:
        """Load a tensor as stored in its file; shape None: any."""
        tensor: Tensor = self._file_of(name, shape).get_tensor(self.prefix + name)
        return tensor

    def _file_of(self, name: str, shape: Sequence[int] | None) -> Any:
        """Return the file that holds a tensor of this shape; None: any. The tensor counts as taken."""
        full = self.prefix + name
        file = self._files.get(full)
        if file is None:
            raise ModelError(
                f"{self.folder}: the checkpoint is incomplete (tensor {full} is missing); download the checkpoint again"
            )
        self._taken.add(full)
        found = file.get_slice(full).get_shape()
        if shape is not None and list(found) != list(shape):
            raise ModelError(
                f"{self.folder}: tensor {full} has the shape {found}, but config.json requires {list(shape)}; "
                "download the checkpoint again"
            )
        return file


def decoder_prefix(source: Checkpoint) -> str:
    """Return the prefix of "embed_tokens.weight": a multimodal checkpoint has its decoder one level down."""
    names = set(source.names)
    for prefix in _DECODER_PREFIXES:
        if f"{prefix}embed_tokens.weight" in names:
            return prefix
    raise ModelError(
        f"{source.folder}: the checkpoint has no text decoder (tensor "
        "embed_tokens.weight is missing); choose another --model"
    )


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
    files = weight_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing and not (folder / INDEX).exists():
        raise ModelError(
            f"{folder}: the checkpoint is incomplete ({SINGLE} or {INDEX} is missing); download the checkpoint again"
        )
    if missing:
        raise ModelError(
            f"{folder}: {missing[0]} is missing ({len(missing)} of "
            f"{len(files)} files are missing); download the checkpoint again"
        )
    return files


def _open(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error}); download the checkpoint again") from error
