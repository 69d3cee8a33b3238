"""Estimate of a model's memory from its config and its tensor names, before any weight is read.

    plan_folder(folder, ...) or plan_release(alias, ...) -> Plan;  needs(plan) -> Needs

The builder itself is run (build.py), over a source that makes nothing and counts, so that the sum cannot drift from
what loading does.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from gemma_cli.core.engine import Quantization
from gemma_cli.engines.local import native
from gemma_cli.engines.local.loading import compressed_tensors
from gemma_cli.engines.local.loading.build import build_drafter, build_target
from gemma_cli.engines.local.loading.checkpoint import Checkpoint, decoder_prefix
from gemma_cli.engines.local.loading.config import read_config
from gemma_cli.engines.local.loading.memory.placement import Costs
from gemma_cli.engines.local.loading.memory.working import ROOM, graph_bytes, pass_bytes
from gemma_cli.engines.local.loading.stand_ins import LinearStandIn, TensorStandIn
from gemma_cli.engines.local.loading.synthetic import drafter_config, target_config
from gemma_cli.engines.local.model.cache import SLACK, SNAPSHOTS
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.quantized import Int4Linear, kinds_for, of_drafter
from gemma_cli.engines.local.model.layers.rounding import GROUP
from gemma_cli.engines.local.model.schema.architecture import (
    Architecture,
    DrafterArchitecture,
    read_architecture,
    read_drafter,
)
from gemma_cli.engines.local.model.target import Target
from gemma_cli.store.models import machine

SMALL = 1 << 20
"""Elements of weights that are made after all."""

FIRST, LAST = -1, -2
"""Parts placed with the first and the last layer."""

OTHER = 24 << 20
"""Bytes of main memory for everything not counted here: threads, libraries loaded late, heap fragmentation."""

CONTEXT = 64 << 20
"""Bytes that each GPU needs in addition."""

TOKENIZER = 3
"""Bytes that a tokenizer takes for each byte of its file."""

RELEASED = 32_169_626
"""Bytes of tokenizer.json of the released models."""


@dataclass(frozen=True)
class Plan:
    """What is to be loaded, and how. four_bits: which names of weights the target's files hold in four bits. mapped:
    on a CPU look-up tables stay in files; the random ones of synthetic models take memory, but for the largest.
    tokenizer: bytes of its file."""

    target: Architecture
    drafter: DrafterArchitecture | None
    device: torch.device
    dtype: torch.dtype
    quantize: Quantization | None = None
    four_bits: frozenset[str] = frozenset()
    mapped: bool = True
    tokenizer: int = RELEASED


@dataclass(frozen=True)
class Needs:
    """Bytes at the most. working: all but weights, keys and values, be it while loading or while reading a prompt;
    process: of that, what the process had taken before. costs: the same by what can lie on a device of its own."""

    weights: int
    keys: int
    working: int
    costs: Costs
    process: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.keys + self.working


def plan_folder(
    folder: Path, assistant: Path | None, device: torch.device, dtype: torch.dtype, quantize: Quantization | None
) -> Plan:
    """Plan loading from checkpoint folders. Raises the same errors as loading them."""
    source = Checkpoint(folder, device, dtype)
    source.prefix = decoder_prefix(source)
    ends = len(source.prefix), -len(compressed_tensors.PACKED)
    packed = frozenset(
        name[ends[0] : ends[1]]
        for name in source.names
        if name.startswith(source.prefix) and name.endswith(compressed_tensors.PACKED)
    )
    drafter = read_config(assistant).drafter() if assistant else None
    tokenizer = folder / "tokenizer.json"
    size = tokenizer.stat().st_size if tokenizer.is_file() else 0
    return Plan(read_config(folder).decoder(), drafter, device, dtype, quantize, packed, tokenizer=size)


def plan_release(alias: str, device: torch.device, dtype: torch.dtype, quantize: Quantization | None = None) -> Plan:
    """Plan loading of a released target and its drafter, on this machine or not. UsageError: no such release."""
    target, drafter = read_architecture(target_config(alias)), drafter_config(alias)
    shape = read_drafter(drafter, read_architecture(drafter["text_config"]))
    return Plan(target, shape, device, dtype, quantize)


def needs(plan: Plan) -> Needs:
    """UsageError where the device cannot run such a quantization; InputError for a drafter of another target."""
    counting = Counting(plan.device, plan.dtype, plan.quantize, plan.four_bits, plan.mapped)
    target = build_target(plan.target, counting, torch.device("cpu"), plan.dtype)
    small = Counting(plan.device, plan.dtype, of_drafter(plan.quantize))
    if plan.drafter:
        build_drafter(plan.drafter, small, target)
    target.device = plan.device  # only now: what was built holds no weights, but a few tables
    keys, rows, drafter = _keys(target), pass_bytes(target), small.made
    graphs = graph_bytes(target, plan.quantize is not None)
    arch, made, largest = plan.target, counting.bytes, counting.largest
    costs = Costs(
        first=made[FIRST],
        layers=tuple(made[layer.index] + keys[layer.index] for layer in arch.layers),
        last=made[LAST] + drafter,
        tail=min(arch.last_own_sliding, arch.last_own_full),
        working=max(rows, *(size for part, size in largest.items() if part != LAST)) + CONTEXT,
        last_working=max(rows, *largest.values()) + CONTEXT + graphs,
    )
    weights = counting.made + drafter
    if plan.device.type != "cpu":
        return Needs(weights, sum(keys), costs.last_working, costs)
    loading = max(counting.peak, counting.made + counting.measuring, counting.made + small.peak)
    beside = max(loading - weights - sum(keys), rows) + OTHER + TOKENIZER * plan.tokenizer
    return Needs(weights, sum(keys), beside + process(), costs, process())


@functools.cache
def process() -> int:
    """Bytes of main memory that this process took before it loaded a model: Python, torch, and what they map."""
    return machine.resident()


def _keys(target: Target) -> list[int]:
    """Return the bytes of each layer: keys and values of ROOM tokens, and snapshots of its ring."""
    room = min(ROOM, target.context)
    ring = (1 + SNAPSHOTS) * (target.arch.window + SLACK)
    size = 2 * target.kv_dtype.itemsize
    return [
        layer.kv_heads * layer.head_dim * (ring if layer.sliding else room) * size if layer.owns_kv else 0
        for layer in target.arch.layers
    ]


class Counting:
    """A weights.Source without weights.

    bytes, largest: what each part of the model (a layer by its index, FIRST, LAST) takes, in all and of its largest
    weight in the model's dtype, which lies beside the layout made from it for a moment. made: the sum of bytes; peak:
    the most that a CPU holds at once while they are made; measuring: what it holds beside them while row counts are
    measured.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        quantize: Quantization | None,
        four_bits: frozenset[str] = frozenset(),
        mapped: bool = True,
    ) -> None:
        self._device, self._dtype, self._four_bits, self._mapped = device, dtype, four_bits, mapped
        self._kind: Callable[[tuple[int, int]], type[Linear]] = kinds_for(quantize, device)
        self.bytes: Counter[int] = Counter()
        self.largest: Counter[int] = Counter()
        self.made = self.peak = self.measuring = 0

    def on(self, device: torch.device) -> Counting:
        return self

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        dtype = dtype or self._dtype
        size = math.prod(shape) * dtype.itemsize
        if math.prod(shape) <= SMALL:  # some are read as they are built in
            self._count(name, size)
            return torch.zeros(*shape, dtype=dtype)
        self._count(name, size, beside=size)  # the drafter's embedding is copied in the order of its clusters
        return cast("Tensor", TensorStandIn(shape))

    def linear(self, name: str, shape: tuple[int, int]) -> Linear:
        return self.fused((name,), (shape,))

    def fused(self, names: Sequence[str], shapes: Sequence[tuple[int, int]]) -> Linear:
        rows, width = sum(rows for rows, _ in shapes), shapes[0][1]
        if all(name in self._four_bits for name in names):
            size = _bytes(Int4Linear, rows, width, self._dtype, self._device)
            self._count(names[0], size, beside=2 * rows * width)  # the numbers of each, and all of them
        else:
            self._add(names[0], self._kind((rows, width)), rows, width)
        return LinearStandIn((rows, width))

    def linears(self, name: str, shape: tuple[int, int, int]) -> list[Linear]:
        count, rows, width = shape
        kind = self._kind((rows, width))
        if kind is Int4Linear and self._device.type != "cpu":  # expert_stack's layout has one number a group, not two
            self._count(name, count * (rows * width // 2 + rows * width // GROUP * 2))
        else:
            self._add(name, kind, rows, width, count)
        return [LinearStandIn((rows, width))] * count

    def exact(self, name: str, shape: tuple[int, int]) -> Linear:
        self._count(name, math.prod(shape) * self._dtype.itemsize)
        return LinearStandIn(shape)

    def table(self, name: str, shape: Sequence[int]) -> Tensor:
        if self._device.type != "cpu" or not (self._mapped or "per_layer" in name):
            self._count(name, math.prod(shape) * self._dtype.itemsize)
        return cast("Tensor", TensorStandIn(shape))

    def tied(self, name: str, table: Tensor) -> Linear:
        shape = (table.shape[0], table.shape[1])
        # Of what stays in its file, a CPU reads the rows of a table here and there, and those of a head all the time.
        counted = self._device.type != "cpu" or not self._mapped
        shared = counted and self._kind(shape) is Linear and Linear.as_it_lies(self._device, self._dtype)
        return LinearStandIn(shape) if shared else self.linear(name, shape)

    def _add(self, name: str, kind: type[Linear], rows: int, width: int, count: int = 1) -> None:
        given, part = rows * width * self._dtype.itemsize, _part(name)
        self.largest[part] = max(self.largest[part], given)
        if kind is Linear:
            copied = 0 if Linear.as_it_lies(self._device, self._dtype) else given
            if part != LAST:  # as rows._cancelling makes it: half of the weight, all of it, and what is kept of that
                self.measuring = max(self.measuring, given // 2 + given + copied)
            beside = copied
        else:  # random numbers are made in their final format
            numbers = 0 if native.on(self._device) else rows * width
            beside = numbers + (given if self._mapped else 0)
        self._count(name, count * _bytes(kind, rows, width, self._dtype, self._device), beside)

    def _count(self, name: str, size: int, beside: int = 0) -> None:
        """beside: bytes held for a moment while these are made."""
        self.bytes[_part(name)] += size
        self.made += size
        self.peak = max(self.peak, self.made + beside)


def _part(name: str) -> int:
    """Which layer a weight of the target belongs to, or which end; a drafter lies with the last layer as a whole."""
    layer = re.match(r"layers\.(\d+)\.", name)
    return int(layer[1]) if layer else FIRST if "per_layer" in name else LAST


def _bytes(kind: type[Linear], rows: int, width: int, dtype: torch.dtype, device: torch.device) -> int:
    """Return the bytes of a linear layer [rows, width]: numbers, and one or two scales per group."""
    if kind is Linear:
        return rows * width * dtype.itemsize
    if kernels := native.on(device):
        four = kind is Int4Linear
        return kernels.packed_bytes(rows, width, 4 if four else 8) + (0 if four else rows * 4)
    if kind is Int4Linear:
        return rows * width // 2 + rows * width // GROUP * 4
    return rows * width + rows * 4
