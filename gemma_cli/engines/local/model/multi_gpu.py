"""A target with its layers on several devices (placement.py). The same forward: what is overridden here is where.

A pass begins and ends where the head lies, `device`. Its rows travel to the first layers' device and from there on;
masks and rotations do not, every device has tables of its own. A model on one device has none of this.

It has not been run on several GPUs. The tests run it on pretended ones, which refuse every operation that mixes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import cast

import torch
from torch import Tensor

from gemma_cli.engines.local.model.attention import Chunk, FewRows, Masks
from gemma_cli.engines.local.model.batched_attention import BatchedAttention, PaddedRows
from gemma_cli.engines.local.model.cache import SLACK, Cache
from gemma_cli.engines.local.model.layer import Attend, DecoderLayer
from gemma_cli.engines.local.model.layers.rope import Rope
from gemma_cli.engines.local.model.target import Target


class Rows:
    """Attention of rows that visit several devices; `on` gives what stands for it on one. real: as layer.Attend's."""

    fused = None

    def __init__(self, real: int, on: Callable[[torch.device], Attend]) -> None:
        self.real, self.on = real, on


@dataclass
class SpreadTarget(Target):
    """lies: the device of each layer, in order, the last ones' being `device`. ropes_on: the rotations of each."""

    lies: tuple[torch.device, ...] = ()
    ropes_on: Mapping[torch.device, Mapping[str, Rope]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._masks_on = {device: Masks(self.arch.window, self.arch.window + SLACK, device) for device in self.ropes_on}

    @property
    def functions(self) -> None:
        """No kernels of whole passes: a pass visits several devices."""
        return

    @property
    def devices(self) -> tuple[torch.device, ...]:
        return tuple(dict.fromkeys(self.lies))

    def new_cache(self, capacity_hint: int = 0) -> Cache:
        elsewhere = dict(enumerate(self.lies))
        return Cache(self.arch.layers, self.arch.window, self.device, self.kv_dtype, capacity_hint, elsewhere)

    def _few(self, cache: Cache, start: int, rows: int, real: int) -> Attend:
        return _attend(real, lambda on: FewRows(cache, self._masks_on[on], self.ropes_on[on], start, rows, real))

    def _padded(self, cache: Cache, position: int, count: int) -> Attend:
        few = self._few(cache, position, self.rows.filled(count), count)
        return _attend(count, lambda on: PaddedRows(cast("FewRows", _on(few, on))))

    def _chunk(self, cache: Cache, rows: int, images: Tensor | None) -> Attend:
        start = cache.length

        def on(device: torch.device) -> Attend:
            here = None if images is None else images.to(device)
            return Chunk(cache, self.arch, self.ropes_on[device], start, rows, here)

        return _attend(rows, on)

    def _together(self, parts: Sequence[Attend], rows: int) -> Attend:
        return _attend(
            sum(part.real for part in parts), lambda on: BatchedAttention([_on(part, on) for part in parts], rows)
        )

    def _per_layer(self, ids: Tensor, embedded: Tensor) -> Tensor | None:
        first = self.lies[0]
        return super()._per_layer(ids.to(first), embedded.to(first))

    def _run(self, layers: Sequence[DecoderLayer], x: Tensor, per_layer: Tensor | None, rows: Attend) -> Tensor:
        at, here = None, rows
        for layer in layers:
            device = self.lies[layer.index]
            if device is not at:
                at, x, here = device, x.to(device), _on(rows, device)
                per_layer = None if per_layer is None else per_layer.to(device)
            x = layer(x, None if per_layer is None else per_layer[:, layer.index], here)
        return x


def spread(
    target: Target, lies: Sequence[torch.device], ropes_on: Mapping[torch.device, Mapping[str, Rope]]
) -> SpreadTarget:
    """`target`, whose parts were put on several devices."""
    parts = {part.name: getattr(target, part.name) for part in fields(target)}
    return SpreadTarget(**parts, lies=tuple(lies), ropes_on=ropes_on)


def part_on(target: SpreadTarget, device: torch.device) -> Target:
    """Return the part of `target` on `device`, to be measured; without a head there, a similar layer."""
    layers = [layer for layer, on in zip(target.layers, target.lies, strict=True) if on == device]
    last = device == target.device
    return Target(
        arch=target.arch,
        device=device,
        dtype=target.dtype,
        embedding=target.embedding,
        head=target.head if last else layers[0].feed_forward.gate_up,
        layers=layers,
        norm=target.norm if last else layers[0].input_norm,
        ropes=target.ropes_on[device],
        per_layer=target.per_layer if device == target.lies[0] else None,
    )


# To Target, Rows is an Attend: it hands them on and asks nothing of them but `real`.


def _attend(real: int, on: Callable[[torch.device], Attend]) -> Attend:
    return cast("Attend", Rows(real, on))


def _on(rows: Attend, device: torch.device) -> Attend:
    return cast("Rows", rows).on(device)
