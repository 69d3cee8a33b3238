"""Estimate of the memory that a model needs beside weights, keys and values: for prompts, and for recorded rounds."""

from __future__ import annotations

from gemma_cli.engines.local.model.attention import SCORES
from gemma_cli.engines.local.model.row_rule import FIXED
from gemma_cli.engines.local.model.target import Target, chunk_size

ROOM = 4096
"""Tokens of context to be provided for; keys and values of more are made as they come."""

GRAPHS, KERNELS, EXPERT_KERNELS, NODE = 16, 32, 130, 1 << 10
"""Graphs that are recorded for ROOM tokens, kernels of a layer in each, with experts counted for five rows, and bytes
that CUDA keeps for a kernel: the last has not been measured."""


def pass_bytes(target: Target) -> int:
    """What the widest layer of a prefill pass holds at once, in float32: its feed-forward network, a few states, and
    attention; or the logits of the rows that are verified."""
    arch, rows = target.arch, chunk_size(target)
    wide = max(layer.intermediate for layer in arch.layers)
    states = rows * (3 * wide + 8 * arch.hidden + len(arch.layers) * arch.ple * 3)
    return 4 * max(states + _attention(target, rows), 3 * 8 * arch.vocab)


def _attention(target: Target, rows: int) -> int:
    """Numbers in float32 that a prefill pass needs beside its states: on a CPU scores with their softmax over ROOM
    keys; elsewhere those of one block of keys, however many there are, their copy in the keys' format, and six sums for
    each query."""
    heads = max(layer.heads for layer in target.arch.layers)
    if target.device.type == "cpu":
        return 2 * heads * rows * min(ROOM, target.context)
    block = min(SCORES, heads * rows * target.context)
    sums = 6 * rows * max(layer.heads * layer.head_dim for layer in target.arch.layers)
    return block + block * target.kv_dtype.itemsize // 4 + sums


def graph_bytes(target: Target, quantized: bool) -> int:
    """What recorded rounds hold: their kernels, the states, masks and logits of one pass, and the experts' weights that
    a row gathers, in float32 as well where they are widened. Nothing off CUDA."""
    if target.device.type != "cuda":
        return 0
    arch = target.arch
    gathered = arch.experts_per_row * 3 * arch.hidden * arch.expert_intermediate
    rows = FIXED * (3 * max(layer.intermediate for layer in arch.layers) + 8 * arch.hidden + 4 * arch.vocab)
    kernels = GRAPHS * len(arch.layers) * (EXPERT_KERNELS if arch.experts else KERNELS) * NODE
    return 4 * rows + gathered * target.dtype.itemsize * (3 if quantized else 1) + kernels
