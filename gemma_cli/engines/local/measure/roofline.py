"""Bytes that a decoding round must read, and the memory bandwidth of this machine: the two numbers that bound decoding
at batch size 1. the two numbers that bound decoding at batch 1.

A round with K drafts reads the target's weights once and the drafter's K times, and the keys and values that each
pass may see. Counted is what has to be read, whatever the kernels read beyond it; activations, norms and the rows of
look-up tables are left out, they are less than a hundredth.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import chain
from time import perf_counter

import torch

from gemma_cli.engines.local import native
from gemma_cli.engines.local.device import last_level_cache
from gemma_cli.engines.local.model.drafter import CentroidHead, Drafter
from gemma_cli.engines.local.model.layer import DecoderLayer
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.schema.architecture import LayerShape
from gemma_cli.engines.local.model.target import Target

CACHES = 8
"""The buffer that is read is so many times the last-level cache, so that hardly any of it is found there."""

_ALL = 1 << 20  # rows that ask for every expert
FLOOR, CEILING = 256 << 20, 1 << 30  # bytes of that buffer
READS = 5


def bandwidth(device: torch.device) -> float:
    """Bytes a second: the fastest of a few readings of a buffer with as many threads as decoding has, by our kernel or
    as a sum of float32, which on a CPU may read half as fast."""
    buffer = torch.ones(_buffer_bytes(device) // 4, device=device)
    kernels = native.on(device)
    read = partial(kernels.read, buffer) if kernels else buffer.sum
    read()
    best = 0.0
    for _ in range(READS):
        _wait(device)
        began = perf_counter()
        read()
        _wait(device)
        best = max(best, buffer.nbytes / (perf_counter() - began))
    return best


def of_round(target: Target, drafter: Drafter | None, drafts: int, length: int) -> int | None:
    """Bytes that a round with `drafts` drafts after `length` tokens reads; None where the weights fit the last-level
    cache, so that memory does not bound them."""
    weights = _target_weights(target, drafts + 1)
    if weights < last_level_cache(target.device):
        return None
    read = weights + _keys(target, (layer.attention.shape for layer in target.layers), length)
    if drafter is None or not drafts:
        return read
    step = _drafter_weights(drafter) + _keys(target, (layer.attention.shape for layer in drafter.layers), length)
    return read + drafts * step


def _buffer_bytes(device: torch.device) -> int:
    return min(max(CACHES * last_level_cache(device), FLOOR), CEILING)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def of_weights(target: Target) -> int:
    """Bytes of all weights that a pass of the target may read, experts included."""
    return _target_weights(target, _ALL)


def _target_weights(target: Target, rows: int) -> int:
    linears = chain((target.head,), *(_linears(layer) for layer in target.layers))
    read = sum(linear.nbytes for linear in linears)
    if target.per_layer is not None:
        read += target.per_layer.project.nbytes
    return read + round(sum(_experts(layer, rows) for layer in target.layers))


def _drafter_weights(drafter: Drafter) -> int:
    linears = chain((drafter.before, drafter.after), *(_linears(layer) for layer in drafter.layers))
    read = sum(linear.nbytes for linear in linears)
    head = drafter.head
    if isinstance(head, CentroidHead):
        return read + head.centroids.nbytes + head.rows[0].nbytes * head.clusters
    return read + head.weight.nbytes


def _linears(layer: DecoderLayer) -> Iterable[Linear]:
    yield from (layer.attention.qkv, layer.attention.out, layer.feed_forward.gate_up, layer.feed_forward.down)
    if layer.per_layer_input is not None:
        yield from (layer.per_layer_input.gate, layer.per_layer_input.project)
    if layer.experts is not None:
        yield layer.experts.router


def _experts(layer: DecoderLayer, rows: int) -> float:
    """Bytes of the experts that `rows` rows are expected to ask for, if they choose independently."""
    experts = layer.experts
    if experts is None:
        return 0.0
    every = len(experts.gate_up)
    asked = every * (1 - (1 - experts.per_row / every) ** rows)
    return asked * (experts.gate_up[0].nbytes + experts.down[0].nbytes)


def _keys(target: Target, layers: Iterable[LayerShape], length: int) -> int:
    """Bytes of keys and values that one pass reads after `length` tokens."""
    size, window = target.kv_dtype.itemsize, target.arch.window
    seen = ((min(length, window) if shape.sliding else length, shape) for shape in layers)
    return sum(2 * tokens * shape.kv_heads * shape.head_dim * size for tokens, shape in seen)
