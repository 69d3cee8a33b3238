"""The tile of each kernel, by the shape of the weight and the class of the card; never by timing, for a tile decides
the order of sums and so the bits.

    linear_tile(card, out, width, bits) -> LinearTile
    attention_tile(card, group, dim) -> AttentionTile
    attention_parts(slots) -> int
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Bits = Literal[16, 8, 4]

ROWS = 16
"""Rows of a tile: the fewest that the matrix units multiply, and as many as a pass of drafts has."""

FEW = 64
"""Rows up to which the kernels for few rows serve; weights are read once for every ROWS of them."""

MOST_CHOSEN = 128
"""Tokens that may take part in a choice by a kernel; a choice among more is torch's."""

PROGRAMS = 2
"""Programs of a kernel that each multiprocessor should have, so that enough reads are in flight to fill its memory's
bandwidth (64 x 128 tiles in 3 stages hold 32 KB a program; about 18 KB a multiprocessor are needed on an H100)."""

MOST_PARTS = 4
"""Parts of the inner dimension at most: each costs 16 rows of float32 written and read once more."""


@dataclass(frozen=True)
class Card:
    """The class of a GPU. capability: (major, minor) of CUDA; processors: its multiprocessors."""

    capability: tuple[int, int]
    processors: int


@dataclass(frozen=True)
class LinearTile:
    """outputs, inputs: of a tile. parts: of the inner dimension, each `part_width` inputs. warps, stages: of a
    program."""

    outputs: int
    inputs: int
    parts: int
    part_width: int
    warps: int
    stages: int


def linear_tile(card: Card, out: int, width: int, bits: Bits) -> LinearTile:
    """Choose the widest tile with which a weight [out, width] makes PROGRAMS for every multiprocessor."""
    stages = 3 if bits == 16 else 4
    # Four bits read the rows of x as often as a tile is narrow, which soon costs as much as the weights.
    choices = ((64, 128), (32, 128)) if bits == 4 else ((64, 128), (32, 128), (16, 256))
    for outputs, inputs in choices:
        tiles = -(-out // outputs)
        parts = 1
        while tiles * parts < PROGRAMS * card.processors and parts < MOST_PARTS and width >= 4 * parts * inputs:
            parts *= 2
        if tiles * parts >= PROGRAMS * card.processors:
            break
    part_width = -(-width // (parts * inputs)) * inputs
    return LinearTile(outputs, inputs, -(-width // part_width), part_width, warps=4, stages=stages)


@dataclass(frozen=True)
class AttentionTile:
    """pairs: (row, query head) pairs of a tile; keys: slots read at a time."""

    pairs: int
    keys: int
    warps: int
    stages: int


def attention_tile(card: Card, group: int, dim: int) -> AttentionTile:
    """Choose the tile for heads of `dim`, `group` of which share keys.

    It depends on nothing else: rows fill as many tiles as they need. On Hopper 64 pairs read keys once for 8 rows of 8
    heads; elsewhere a tile of as many pairs does not fit in shared memory, or spills registers.
    """
    if dim >= 512:
        if card.capability[0] == 9 and group >= 8:
            return AttentionTile(64, 32, warps=8, stages=2)
        return AttentionTile(16, 32, warps=4, stages=2)
    return AttentionTile(16, 64, warps=4, stages=2)


SHORT, LONG, MANY = 256, 1024, 32
"""Slots of each of the first MANY parts of attention, and of the others: as in source/attention.py."""


def attention_parts(slots: int) -> int:
    """Return the number of parts that cover `slots`."""
    return -(-slots // SHORT) if slots <= MANY * SHORT else MANY + -(-(slots - MANY * SHORT) // LONG)


@dataclass(frozen=True)
class ExpertTile:
    """outputs, inputs: of a tile (of gates, and as many ups)."""

    outputs: int
    inputs: int
    warps: int
    stages: int


def expert_tiles(bits: Bits) -> tuple[ExpertTile, ExpertTile]:
    """Choose the tiles of an expert's two layers: with 8 experts of 704 units 176 and 704 programs."""
    stages = 3 if bits == 16 else 4
    return ExpertTile(32, 128, warps=4, stages=stages), ExpertTile(32, 64, warps=4, stages=4)
