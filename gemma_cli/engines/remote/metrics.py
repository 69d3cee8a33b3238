"""Counters of drafts in a server's /metrics, in Prometheus' text form."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?$", re.ASCII)


@dataclass(frozen=True)
class DraftCounters:
    """Counts over all requests of a server: target passes with a draft, tokens drafted, and tokens accepted."""

    drafts: float = 0.0
    drafted: float = 0.0
    accepted: float = 0.0

    def __add__(self, other: DraftCounters) -> DraftCounters:
        return DraftCounters(self.drafts + other.drafts, self.drafted + other.drafted, self.accepted + other.accepted)

    def __sub__(self, other: DraftCounters) -> DraftCounters:
        return DraftCounters(self.drafts - other.drafts, self.drafted - other.drafted, self.accepted - other.accepted)


def read_counters(text: str, prefix: str) -> DraftCounters | None:
    """Read counters with vLLM's names after `prefix`, summed over labels; None if the server has none."""
    found: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        sample = _SAMPLE.match(line.strip())
        if not sample or not sample[1].startswith(f"{prefix}spec_decode_num_"):
            continue
        name = sample[1].removeprefix(f"{prefix}spec_decode_num_").removesuffix("_total")
        try:
            value = float(sample[3])
        except ValueError:
            continue
        if not math.isfinite(value):
            continue
        found[name] += value
    if not {"drafts", "draft_tokens", "accepted_tokens"} <= found.keys():
        return None
    return DraftCounters(found["drafts"], found["draft_tokens"], found["accepted_tokens"])
