"""Which GPU holds which layers of a model that one GPU does not hold.

    place(costs, free) -> Placement | None         None: it fits on none of them, nor on all together

The layers lie in order, so many on one GPU and the next on the next; a pass goes through them once, and only the rows
travel. What belongs to the ends lies with the end layers: per-layer embeddings with the first; embeddings, final norm,
head and drafter with the last (`Placement.device`), where ids come in and choices are made. Layers that read another
layer's keys lie with that layer, and so does the drafter: so from `Costs.tail` on everything is on the last GPU.

Accelerate's infer_auto_device_map does not serve: it divides nn.Modules by the bytes of their parameters, and this
model is no nn.Module, counts its keys and working space too, and has layers that must stay together. What it sums is
known here to the byte (estimate.py); what is free on each GPU is accelerate's answer (fit.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

SHARES = 1024
"""Steps in which the share of each GPU that is taken is made as small as will do."""


@dataclass(frozen=True)
class Costs:
    """Bytes of what cannot be divided. layers: weights, keys and values of each decoder layer; first, last: what lies
    with the first and the last of them; tail: the layer from which on none is parted from the last. working: what a
    device needs beside what lies there; last_working: the last one."""

    first: int
    layers: tuple[int, ...]
    last: int
    tail: int
    working: int
    last_working: int


@dataclass(frozen=True)
class Placement:
    """device: of the last layers, and of all there is if `layers` is empty; else layers: the device of each."""

    device: torch.device
    layers: tuple[torch.device, ...] = ()


def place(costs: Costs, free: Mapping[torch.device, int]) -> Placement | None:
    """Over as few devices as hold it, those with the most bytes free, and of each about the same share."""
    for count in range(1, len(free) + 1):
        most = sorted(free, key=lambda device: -free[device])[:count]
        chosen = [(device, free[device]) for device in free if device in most]
        # Any may be the last, whose load is another. Where that is all the same it is the first, torch's own default.
        orders = [[*chosen[:last], *chosen[last + 1 :], chosen[last]] for last in range(count)]
        share, order = min(((_share(costs, order), order) for order in orders), key=lambda found: found[0])
        if share <= SHARES:
            return _filled(costs, order, share)
    return None


def _share(costs: Costs, order: Sequence[tuple[torch.device, int]]) -> int:
    """The least share of the devices that holds all; SHARES + 1: there is none."""
    return bisect_left(range(SHARES + 1), True, key=lambda share: _filled(costs, order, share) is not None)


def _filled(costs: Costs, order: Sequence[tuple[torch.device, int]], share: int) -> Placement | None:
    """Each device filled up to its share before the next is begun."""
    lies: list[torch.device] = []
    for device, size in order[:-1]:
        left = size * share // SHARES - costs.working
        while len(lies) < costs.tail:
            left -= costs.layers[len(lies)] + (0 if lies else costs.first)
            if left < 0:
                break
            lies.append(device)
    last, size = order[-1]
    rest = sum(costs.layers[len(lies) :]) + costs.last + costs.last_working + (0 if lies else costs.first)
    if rest > size * share // SHARES:
        return None
    if not lies:
        return Placement(last)
    return Placement(last, (*lies, *[last] * (len(costs.layers) - len(lies))))
