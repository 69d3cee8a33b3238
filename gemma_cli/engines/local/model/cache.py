"""Keys and values of all rows that the target has processed, with rollback of rejected ones.

A position p of a layer lives in slot p % slots. A full layer has as many slots as positions (the buffer grows); a
sliding layer is a ring of `window + slack` slots. Rejected drafts are simply forgotten: `rollback` sets `length`, the
next rows overwrite them. That is sound because the ring still holds every key the rows after the rollback may see as
long as no more than `slack` positions were written beyond them.

class Cache:
    length: int                       # positions 0..length-1 are valid
    def rollback(self, length: int) -> None          # highest written position + 1 - slack <= length <= self.length
    def snapshot(self) -> Snapshot; def restore(self, snapshot) -> None     # for prefix reuse between turns

Slots that no position occupies hold zeros or rejected rows, both finite. A masked key has a softmax weight of exactly
zero, and zero times a finite number adds nothing, so what lies there cannot reach a result.

A cache outlives the call that made it. So its tensors are made outside inference mode: those can be written to in
either mode, whichever the next call is in. And a call that is interrupted at any point leaves it fit for `restore`
and `restart`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import Tensor

from gemma_cli.engines.local.model.query_log import QueryLog
from gemma_cli.engines.local.model.schema.architecture import LayerShape

SLACK = 64
"""Rows that can be written beyond a position that is rolled back to: the longest draft and its bonus token."""

EVERY = 1 << 30
"""Positions; more than any context has."""

BUCKET = 256
"""The shortest length in which full layers are read; the others are multiples of it."""

FINE = 4096
"""Up to here these lengths double; beyond, there are four from each power of two to the next. So a CUDA graph has to be
recorded for few of them, and no more than a quarter of a long context is read in vain."""


@dataclass
class Slots:
    """keys, values: [kv_heads, slots, head_dim]."""

    keys: Tensor
    values: Tensor

    @classmethod
    def empty(cls, shape: LayerShape, slots: int, device: torch.device, dtype: torch.dtype) -> Slots:
        with torch.inference_mode(False):
            keys = torch.zeros(shape.kv_heads, slots, shape.head_dim, device=device, dtype=dtype)
            return cls(keys, torch.zeros_like(keys))

    @property
    def slots(self) -> int:
        return self.keys.shape[1]

    def write(self, position: int, keys: Tensor, values: Tensor) -> None:
        """Store rows [n, kv_heads, head_dim] at positions position .. position + n - 1; n <= slots."""
        first, rows = position % self.slots, keys.shape[0]
        head = self.slots - first
        for home, new in ((self.keys, keys.transpose(0, 1)), (self.values, values.transpose(0, 1))):
            if rows <= head:
                home[:, first : first + rows].copy_(new)
            else:
                home[:, first:].copy_(new[:, :head])
                home[:, : rows - head].copy_(new[:, head:])

    def span(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Keys and values of positions start .. stop - 1 in order, [kv_heads, n, head_dim]; a view where they lie
        in one piece."""
        first, last = start % self.slots, start % self.slots + stop - start
        if last <= self.slots:
            return self.keys[:, first:last], self.values[:, first:last]
        rest = last - self.slots
        return (
            torch.cat((self.keys[:, first:], self.keys[:, :rest]), 1),
            torch.cat((self.values[:, first:], self.values[:, :rest]), 1),
        )

    def grow(self, slots: int) -> None:
        """Add slots; only for a layer whose positions have not wrapped. Both tensors grow, or neither."""
        if slots > self.slots:
            self.keys, self.values = _longer(self.keys, slots), _longer(self.values, slots)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A length, and a copy of the rings at that time. Full layers are not copied: their rows stay until overwritten."""

    length: int
    rings: dict[int, tuple[Tensor, Tensor]]

    @property
    def nbytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self.rings.values())


@dataclass(frozen=True, eq=False)
class Stretch:
    """A copy of positions start .. stop - 1 of the full layers, and of the rings as they were at `stop`: with the
    stretches before it, all that another cache needs to go on from `stop`."""

    start: int
    stop: int
    buffers: dict[int, tuple[Tensor, Tensor]]
    rings: dict[int, tuple[Tensor, Tensor]]

    @property
    def nbytes(self) -> int:
        pairs = (*self.buffers.values(), *self.rings.values())
        return sum(keys.nbytes + values.nbytes for keys, values in pairs)


class Cache:
    """The keys and values of the layers that own any, addressed by layer index."""

    def __init__(
        self,
        layers: Iterable[LayerShape],
        window: int,
        device: torch.device,
        dtype: torch.dtype,
        capacity: int = 0,
        elsewhere: Mapping[int, torch.device] | None = None,
    ) -> None:
        """capacity: positions to make room for at once; more are added as needed. elsewhere: the device of layers that
        do not lie on `device`."""
        self.length = 0
        self.log: QueryLog | None = None
        self.device = device
        self.window = window
        self.ring_slots = window + SLACK
        self.capacity = _rounded(capacity)
        self._high = 0
        self._snapshots: WeakSet[Snapshot] = WeakSet()
        self._rings: dict[int, Slots] = {}
        self._buffers: dict[int, Slots] = {}
        for layer in layers:
            if layer.owns_kv:
                home, slots = (self._rings, self.ring_slots) if layer.sliding else (self._buffers, self.capacity)
                home[layer.index] = Slots.empty(layer, slots, (elsewhere or {}).get(layer.index, device), dtype)
        self.layers = {**self._rings, **self._buffers}

    def record(self, log: QueryLog | None) -> None:
        """Write the queries of what is read and decoded from now on into `log`; None: into none."""
        self.log = log
        if log:
            log.slots = self.layers[log.layer]

    def reach(self, layer: LayerShape) -> int:
        """Return how many positions a row of this layer sees, its own included."""
        return self.window if layer.sliding else EVERY

    def grow(self, rows: int) -> None:
        """Make room for `rows` rows after the valid ones; at least doubles, so that growing costs little in all."""
        needed = self.length + rows
        if needed > self.capacity:
            capacity = _rounded(max(needed, 2 * self.capacity))
            for buffer in self._buffers.values():
                buffer.grow(capacity)
            self.capacity = capacity  # not before all layers have it: there may be no memory for one of them

    def reserve(self, rows: int) -> None:
        """Announce a pass that writes `rows` rows after the valid ones. ValueError where a pass that was broken off has
        overwritten what they would see: then only `restore` helps."""
        if self.length < self._high - SLACK:
            raise ValueError(f"an interrupted pass of {self._high} rows has overwritten rows before row {self.length}")
        self.grow(rows)
        self._high = max(self._high, self.length + rows)

    def advance(self, rows: int) -> None:
        """The first `rows` rows of the pass are valid."""
        self.length += rows

    def rollback(self, length: int) -> None:
        """Forget the positions from `length` on. Raises ValueError where the rings no longer hold what that needs."""
        if not max(0, self._high - SLACK) <= length <= self.length:
            raise ValueError(
                f"the cache cannot roll back from row {self.length} to row {length} after writing {self._high} rows"
            )
        self._forget_snapshots_after(length)
        self.length = length

    def restart(self) -> None:
        """Clear the cache and reuse its memory, so that recorded graphs stay valid."""
        self._snapshots.clear()
        self.length = self._high = 0

    def snapshot(self) -> Snapshot:
        """Return a snapshot for `restore`; it is valid while no row before it is overwritten."""
        rings = {index: (ring.keys.clone(), ring.values.clone()) for index, ring in self._rings.items()}
        snapshot = Snapshot(self.length, rings)
        self._snapshots.add(snapshot)
        return snapshot

    def can_restore(self, snapshot: Snapshot) -> bool:
        return snapshot in self._snapshots

    def restore(self, snapshot: Snapshot) -> None:
        """Back to the state the snapshot was taken in. ValueError if rows before its length were given up since."""
        if snapshot not in self._snapshots:
            raise ValueError("the snapshot belongs to another cache, or its rows were overwritten")
        self._forget_snapshots_after(snapshot.length)
        for index, (keys, values) in snapshot.rings.items():
            self._rings[index].keys.copy_(keys)
            self._rings[index].values.copy_(values)
        self.length = self._high = snapshot.length

    def stretch(self, start: int) -> Stretch:
        """Copy the positions from `start` on."""
        with torch.inference_mode(False):  # as the cache's own: for calls in either mode
            buffers = {
                index: (slots.keys[:, start : self.length].clone(), slots.values[:, start : self.length].clone())
                for index, slots in self._buffers.items()
            }
            rings = {index: (ring.keys.clone(), ring.values.clone()) for index, ring in self._rings.items()}
        return Stretch(start, self.length, buffers, rings)

    def extend(self, stretches: Sequence[Stretch]) -> None:
        """Take in stretches, each of which begins where the one before it ends, the first where this cache ends."""
        last = stretches[-1]
        self.grow(last.stop - self.length)
        for one in stretches:
            for index, (keys, values) in one.buffers.items():
                self._buffers[index].keys[:, one.start : one.stop].copy_(keys)
                self._buffers[index].values[:, one.start : one.stop].copy_(values)
        for index, (keys, values) in last.rings.items():
            self._rings[index].keys.copy_(keys)
            self._rings[index].values.copy_(values)
        self.length = self._high = last.stop

    def _forget_snapshots_after(self, length: int) -> None:
        for snapshot in list(self._snapshots):
            if snapshot.length > length:
                self._snapshots.discard(snapshot)


def _longer(tensor: Tensor, slots: int) -> Tensor:
    """Copy `tensor` [kv_heads, n, head_dim] to `slots` slots, the new ones zero."""
    with torch.inference_mode(False):
        longer = tensor.new_zeros(tensor.shape[0], slots, tensor.shape[2])
        longer[:, : tensor.shape[1]].copy_(tensor)
        return longer


def bucket(position: int) -> int:
    """Return the slots of a full layer that the row at `position` reads: a function of its position alone."""
    doubled = max(BUCKET, 1 << position.bit_length())
    return doubled if doubled <= FINE else -(-(position + 1) // (doubled // 8)) * (doubled // 8)


def bucket_before(length: int) -> int:
    """Return the next shorter bucket than `length`, which is one; 0 before the first."""
    if length <= FINE:
        return 0 if length == BUCKET else length // 2
    return length - (1 << (length - 1).bit_length()) // 8


def _rounded(rows: int) -> int:
    return bucket(max(rows, 1) - 1)


SNAPSHOTS = 2
"""Number of snapshots: each takes the keys and values of the sliding layers (6 MiB for E2B, 0.8 GiB for 31B)."""
