"""Compile the Triton kernels for GPUs that are not here, and read from the machine code what they take.

    python -m tests.engines.triton_kernels.checks.compiled_kernels [--capabilities 80,90] [--only NAME] [--few]

prints a line of JSON for each variant: kernel, tile, capability, registers, bytes of stack, spilled loads and stores,
bytes of shared memory, instructions, matrix instructions. It needs a process of its own, without TRITON_INTERPRET, for
under it kernels are other objects; and no GPU.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gemma_cli.engines.local.triton_kernels.between import Between, warps_for
from gemma_cli.engines.local.triton_kernels.source import attention, choice, elementwise, experts, linear
from gemma_cli.engines.local.triton_kernels.tiles import Bits, Card, attention_tile, expert_tiles, linear_tile
from tests.engines.triton_kernels.checks.released_shapes import every_shape

PROCESSORS = {80: 108, 89: 128, 90: 132, 100: 148, 120: 170}
"""Multiprocessors of an A100, RTX 4090, H100, B200 and RTX 5090."""

ALIGNED = {"out", "width", "part_width", "slots"}
"""Numbers that the shapes of released models make multiples of 16, as the just-in-time compiler notices too."""


@dataclass(frozen=True)
class Variant:
    """A kernel with the constants it is compiled with."""

    kernel: str
    function: Any
    types: dict[str, str]
    constants: dict[str, Any]
    warps: int
    stages: int


@dataclass(frozen=True)
class Compiled:
    """What the machine code of a variant takes; spills counts loads and stores of local memory."""

    kernel: str
    constants: dict[str, Any]
    capability: int
    triton: str
    registers: int
    stack: int
    spills: int
    shared: int
    instructions: int
    matrix: int
    size: int


_LINEAR = {
    "x": "*bf16", "up": "*bf16", "y": "*bf16", "parts": "*fp32", "arrived": "*i32",
    "rows": "i32", "out": "i32", "width": "i32", "part_width": "i32", "up_stride": "i32",
}  # fmt: skip
_WEIGHTS: dict[Bits, dict[str, str]] = {
    16: {"weight": "*bf16", "scale": "*bf16"},
    8: {"weight": "*i8", "scale": "*fp32"},
    4: {"weight": "*u16", "scale": "*bf16"},
}


def card(capability: int) -> Card:
    """Return the card of a capability such as 89 that is in most hands."""
    return Card((capability // 10, capability % 10), PROCESSORS[capability])


def variants(capability: int) -> Iterator[Variant]:
    """Every variant that a round of a released model launches on a card of this capability."""
    seen = set()
    of = card(capability)
    every = (_linear_variants(of), _attention_variants(of), _expert_variants(), _between_variants(), _choice_variants())
    for variant in chain.from_iterable(every):
        key = (variant.kernel, *variant.constants.items(), variant.warps, variant.stages)
        if key not in seen:
            seen.add(key)
            yield variant


def _linear_variants(of: Card) -> Iterator[Variant]:
    plain = set().union(*(shapes.linear for shapes in every_shape().values()))
    pairs = set().union(*(shapes.pairs for shapes in every_shape().values()))
    times = set().union(*(shapes.times for shapes in every_shape().values()))
    ends = (
        ("linear", linear.PLAIN, plain),
        ("linear pairs", linear.PAIRS, pairs),
        ("linear times", linear.TIMES, times),
    )
    for (bits, types), (name, end, shapes) in product(_WEIGHTS.items(), ends):
        for out, width in sorted(shapes):
            tile = linear_tile(of, out, width, bits)
            even = out % tile.outputs == 0 and width == tile.parts * tile.part_width
            constants = {"BITS": bits, "BN": tile.outputs, "BK": tile.inputs, "SPLIT": tile.parts, "EVEN": even}
            constants["END"] = end.value
            yield Variant(f"{name} {bits}", linear.linear, _LINEAR | types, constants, tile.warps, tile.stages)


def _attention_variants(of: Card) -> Iterator[Variant]:
    parts = {"most": "*fp32", "weight": "*fp32", "mixed": "*fp32", "start": "*i64", "rows": "i32", "heads": "i32"}
    part = parts | {"query": "*bf16", "keys": "*bf16", "values": "*bf16", "slots": "i32"}
    together = parts | {"result": "*bf16", "parts": "i32"}
    for shape in sorted(set().union(*(shapes.attention for shapes in every_shape().values()))):
        tile = attention_tile(of, shape.group, shape.dim)
        constants = {"GROUP": shape.group, "D": shape.dim, "M": tile.pairs, "BN": tile.keys, "WINDOW": shape.window}
        yield Variant("attention part", attention.attend_part, part, constants, tile.warps, tile.stages)
        constants = {"D": shape.dim, "WINDOW": shape.window}
        yield Variant("attention sum", attention.attend_sum, together, constants, 4, 3)


def _expert_variants() -> Iterator[Variant]:
    (count, per_row, hidden, inner), *_ = (shapes.experts for shapes in every_shape().values() if shapes.experts)
    route = {"logits": "*bf16", "per_expert": "*fp32", "real": "*i64", "weight": "*fp32"}
    lists = {"index": "*i32", "chosen": "*i32", "count": "*i32", "arrived": "*i32"}
    constants = {"E": count, "TOP": per_row, "PAIRS": 16 * per_row}
    yield Variant("experts route", experts.route, route | lists, constants, 4, 3)
    for bits, weight, scale in ((16, "*bf16", "*fp32"), (8, "*i8", "*fp32"), (4, "*u16", "*bf16")):
        first, second = expert_tiles(bits)
        types = lists | {"weight": weight, "scale": scale, "rows": "i32", "hidden": "*bf16"}
        for name, function, own, n, k, tile in (
            ("up", experts.expert_up, {"x": "*bf16"}, inner, hidden, first),
            ("down", experts.expert_down, {"result": "*fp32"}, hidden, inner, second),
        ):
            constants = {"N": n, "K": k, "TOP": per_row, "BN": tile.outputs, "BK": tile.inputs, "BITS": bits}
            yield Variant(f"expert {name} {bits}", function, types | own, constants, tile.warps, tile.stages)
    types = dict.fromkeys(("dense", "residual", "total", "y"), "*bf16") | {"scalar": "fp32", "eps": "fp32"}
    types |= dict.fromkeys(("parts", "choice", "expert_weight", "dense_weight", "weight", "following"), "*fp32")
    block = triton.next_power_of_2(hidden)
    constants = {"WIDTH": hidden, "BLOCK": block, "TOP": per_row}
    yield Variant("experts added", elementwise.add_experts, types, constants, warps_for(block), 3)


def _between_variants() -> Iterator[Variant]:
    types = dict.fromkeys(("x", "y", "y2", "y3", "residual", "total", "product", "query", "keys", "values"), "*bf16")
    types |= dict.fromkeys(("weight", "first", "second", "third", "scale", "cos", "sin"), "*fp32")
    types |= {"eps": "fp32", "scalar": "fp32", "start": "*i64", "slots": "i32", "width": "i32"}
    types |= {"frequencies": "*fp32", "factor": "fp32"}
    types |= {"cap": "fp32", "count": "i32"}
    for width in sorted({width for shapes in every_shape().values() for width in shapes.hidden}):
        block = triton.next_power_of_2(width)
        constants = {"WIDTH": width, "BLOCK": block}
        yield Variant("norm", elementwise.norm, types, constants, warps_for(block), 3)
        for following in (0, 1, 3):
            chosen = constants | {"NEXT": following}
            yield Variant("norm added", elementwise.add_norm, types, chosen, warps_for(block), 3)
    for dim in (256, 512):
        for apart in (True, False):
            constants = {"HEADS": 8, "KEYS": 1, "APART": apart, "D": dim}
            yield Variant("turn", elementwise.turn, types, constants, warps_for(dim), 3)
        constants = {"HALF": dim // 2, "BLOCK": dim // 2}
        yield Variant("rotation", elementwise.rotation, types, constants, 1, 3)
    yield Variant("soft cap", elementwise.soft_cap, types | {"y": "*fp32"}, {"BLOCK": 1024}, 4, 3)


def _choice_variants() -> Iterator[Variant]:
    types = {"logits": "*fp32", "ids": "*i64", "keys": "*i64", "width": "i32", "start": "*i64", "seed": "*i64"}
    types |= {"temperature": "*fp64", "top_p": "*fp64", "least": "*fp64", "token": "*i64", "count": "i32"}
    for k, top in ((64, 64), (1, 0)):
        for named in (False, True):
            constants = {"BLOCK": Between.columns, "K": k, "NAMED": named}
            yield Variant("choice blocks", choice.best_of_blocks, types, constants, 4, 3)
        constants = {"BLOCK": Between.columns, "K": k}
        yield Variant("choice keys", choice.best_of_keys, types | {"fewer": "*i64"}, constants, 4, 3)
        constants |= {"TOP": top, "NUCLEUS": True, "FLOOR": True}
        yield Variant("choice", choice.choose, types, constants, 4, 3)


def compiled(variant: Variant, capability: int) -> Compiled:
    """Compile a variant."""
    names = variant.function.arg_names
    types = {name: "constexpr" if name in variant.constants else variant.types[name] for name in names}
    multiple = [["tt.divisibility", 16]]
    attributes = {(i,): multiple for i, name in enumerate(names) if types[name].startswith("*") or name in ALIGNED}
    source = ASTSource(variant.function, signature=types, constexprs=variant.constants, attrs=attributes)
    options = {"num_warps": variant.warps, "num_stages": variant.stages}
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    code: bytes = kernel.asm["cubin"]
    usage, listing = _dumped(code, "-res-usage"), _dumped(code, "-sass")
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    operations = re.findall(r"/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)", listing)

    def count(*names: str) -> int:
        return sum(operation.startswith(names) for operation in operations)

    return Compiled(
        kernel=variant.kernel,
        constants=variant.constants | {"warps": variant.warps, "stages": variant.stages},
        capability=capability,
        triton=triton.__version__,
        registers=int(found[1]),
        stack=int(found[2]),
        spills=count("LDL", "STL"),
        shared=kernel.metadata.shared,
        instructions=len(operations),
        matrix=count("HMMA", "HGMMA", "UTCHMMA", "IMMA"),
        size=len(code),
    )


def _dumped(code: bytes, option: str) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        return subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Compile what the options name."""
    options = argparse.ArgumentParser(
        prog="python -m tests.engines.triton_kernels.checks.compiled_kernels", description=__doc__
    )
    options.add_argument("--capabilities", default=",".join(map(str, PROCESSORS)))
    options.add_argument("--only", default="", help="kernels whose names begin so")
    options.add_argument("--few", action="store_true", help="the first variant of each kernel")
    asked = options.parse_args()
    for capability in map(int, asked.capabilities.split(",")):
        done = set()
        for variant in variants(capability):
            if variant.kernel.startswith(asked.only) and not (asked.few and variant.kernel in done):
                done.add(variant.kernel)
                print(json.dumps(asdict(compiled(variant, capability))), flush=True)


if __name__ == "__main__":
    main()
