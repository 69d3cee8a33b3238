"""Row counts that were measured before, saved for each build of the kernels and shape of a model.

    row_rule(target) -> RowRule         as batch_invariance.measured, which runs where nothing was saved

Which counts agree is a property of the processor, the kernels, torch and the number of its threads, and of the shapes
and formats of the weights, not of the weights. Measuring it takes longer than everything else that loading does, so it
is done once for all of these. Only a rule that is exact is saved, and only for a CPU: its kernels have a name that
changes with every byte of their sources. A file that is missing, broken or cannot be written is no loss.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from itertools import pairwise
from typing import Any

import torch

from gemma_cli.core.errors import GemmaError
from gemma_cli.engines.local import native
from gemma_cli.engines.local.device import CAP, last_level_cache, processor
from gemma_cli.engines.local.loading.batch_invariance import MOST, linears, measured
from gemma_cli.engines.local.model.row_rule import RowRule
from gemma_cli.engines.local.model.target import Target
from gemma_cli.store import paths
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.bounded_read import read_text

VERSION = 1
"""Of what batch_invariance measures, and how."""

SAVED = 64
"""Rules in the file at most; the oldest make way."""


def row_rule(target: Target) -> RowRule:
    """The rule for this model on its device, measured only where it was not before."""
    if target.device.type != "cpu":
        return measured(target)
    file, key = paths.cache_dir() / "row-counts.json", _key(target)
    saved = _read()
    if rule := _rule(saved.get(key)):
        return rule
    rule = measured(target)
    if rule.exact:
        saved = {**_read(), key: list(rule.counts)}
        with suppress(GemmaError):
            write_whole(file, json.dumps(dict(list(saved.items())[-SAVED:])))
    return rule


def _key(target: Target) -> str:
    """Everything that a measurement depends on."""
    head = target.head
    kinds = {(linear.shape, type(linear).__name__, linear.packed, linear.group) for linear in (head, *linears(target))}
    heads = {(layer.heads, layer.kv_heads, layer.head_dim, layer.sliding) for layer in target.arch.layers}
    known = (
        *(VERSION, native.build_name(target.device), torch.__version__, processor(), os.environ.get(CAP[0])),
        *(torch.get_num_threads(), last_level_cache(target.device), str(target.dtype), str(target.kv_dtype)),
        *(sorted(kinds), sorted(heads), target.arch.window, target.arch.hidden, target.arch.ple),
        sorted({layer.feed_forward.down.shape[1] for layer in target.layers}),
    )
    return hashlib.sha256(repr(known).encode()).hexdigest()[:32]


def _read() -> dict[str, Any]:
    try:
        saved = json.loads(read_text(paths.cache_dir() / "row-counts.json", 1 << 20))
    except (OSError, ValueError, RecursionError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _rule(counts: Any) -> RowRule | None:
    """The rule that was saved; None where that is not one."""
    if not isinstance(counts, list) or not counts or not all(type(count) is int for count in counts):
        return None
    rising = all(low < high for low, high in pairwise(counts))
    return RowRule(tuple(counts), exact=True) if rising and counts[0] >= 1 and counts[-1] <= MOST else None
