"""How fast our kernels and torch's read weights for a few rows, beside how fast memory is read at all.

    OMP_NUM_THREADS=1 python -m tests.benchmark.kernels

GB/s of weights of E2B's shapes, 1 GB of each, and the best of seven rounds in turns. Eight
and four bits are counted with their scales, so that a kernel that reads less is not the slower for it: milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local import native
from gemma_cli.engines.local.device import choose_dtype
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.quantized import Int4Linear, Int8Linear

CPU = torch.device("cpu")
SHAPES = ((12288, 1536), (1536, 12288), (1536, 4096))
BYTES = 1 << 30
COUNTS = (1, 2, 3, 4, 5, 6, 8, 16)
REPEATS = 7

Product = Callable[[Tensor], object]


def fastest(products: Sequence[Product], x: Tensor) -> list[float]:
    """Seconds, in turns."""
    best = [float("inf")] * len(products)
    for _ in range(REPEATS):
        for index, product in enumerate(products):
            began = perf_counter()
            product(x)
            best[index] = min(best[index], perf_counter() - began)
    return best


def all_of(linears: Sequence[Callable[[Tensor], object]]) -> Product:
    return lambda x: [linear(x) for linear in linears]


def without(kind: type[Linear], weight: Tensor) -> Linear:
    """As on a machine without our kernels."""
    ours, native.loaded = native.loaded, lambda: None  # type: ignore[assignment]
    try:
        return kind(weight)
    finally:
        native.loaded = ours


def main() -> None:
    kernels = native.loaded()
    assert kernels, "no kernels here: see gemma doctor"
    choose_dtype("bfloat16", CPU, 1 << 34)  # caps oneDNN's instructions where they crash
    buffer = torch.ones(BYTES // 4)
    with torch.inference_mode():
        print("bfloat16, GB/s | rows | memory | torch, packed | F.linear | ours")
        for out, width in SHAPES:
            count = BYTES // (out * width * 2)
            weights = [torch.randn(64, width).bfloat16().repeat(out // 64, 1) for _ in range(count)]
            packed = [without(Linear, weight) for weight in weights]
            plain = [lambda x, weight=weight: F.linear(x, weight) for weight in weights]
            arms = [lambda _: kernels.read(buffer), all_of(packed), all_of(plain), all_of(list(map(Linear, weights)))]
            for rows in COUNTS:
                read, *seconds = fastest(arms, torch.randn(rows, width).bfloat16())
                rates = [buffer.nbytes / read, *(count * out * width * 2 / each for each in seconds)]
                print(f"{out} x {width} | {rows} |", " | ".join(f"{rate / 1e9:.1f}" for rate in rates), flush=True)
        print("\n12288 x 1536, ms a product | rows | int8, torch | ours | int4, torch | ours | bfloat16, ours")
        weights = [torch.randn(64, 1536).bfloat16().repeat(192, 1) for _ in range(24)]
        kinds = [[without(Int8Linear, w) for w in weights], list(map(Int8Linear, weights))]
        kinds += [[without(Int4Linear, w) for w in weights], list(map(Int4Linear, weights)), list(map(Linear, weights))]
        for rows in (*COUNTS, 128):
            seconds = fastest([all_of(kind) for kind in kinds], torch.randn(rows, 1536).bfloat16())
            print(f"12288 x 1536 | {rows} |", " | ".join(f"{each / 24 * 1e3:.2f}" for each in seconds), flush=True)


if __name__ == "__main__":
    main()
