"""A check of every kernel on a GPU against torch, on small shapes: `python -m ...self_check INDEX` runs it on one GPU.

It runs in a process of its own before the kernels are first used on a machine, because a kernel that reads or writes
where it must not ends what its process can do on the GPU. The compiled kernels stay in Triton's cache.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from gemma_cli.engines.local.triton_kernels.layout import pack
from gemma_cli.engines.local.triton_kernels.ops import Functions
from gemma_cli.engines.local.triton_kernels.reference import Reference
from gemma_cli.engines.local.triton_kernels.stack import Stack

ERROR = 1e-2
"""Relative error of a result, as a norm; rounding to bfloat16 makes about 2e-3."""

ROWS = 5
EPS = 1e-6


class Wrong(AssertionError):
    """A kernel's result is wrong, or depends on other rows."""


def check(functions: Functions, device: torch.device, size: int = 256) -> dict[str, float]:
    """Run every function on ROWS rows and on each row alone; return the relative errors. size: inputs of a layer."""
    generator = torch.Generator(device).manual_seed(0)
    errors: dict[str, float] = {}
    for name, compute in _calls(size, device, generator).items():
        found, expected = compute(functions, slice(0, ROWS)), compute(Reference(), slice(0, ROWS))
        error = ((found.double() - expected.double()).norm() / expected.double().norm()).item()
        errors[name] = max(error, errors.get(name, 0.0))
        if not error < ERROR:
            raise Wrong(f"{name}: relative error {error:.1e}")
        for row in range(ROWS):
            if not torch.equal(compute(functions, slice(row, row + 1))[0], found[row]):
                raise Wrong(f"{name}: a row alone differs from itself among {ROWS}")
    return errors


def _calls(
    size: int, device: torch.device, generator: torch.Generator
) -> dict[str, Callable[[Functions, slice], Tensor]]:
    """A call of each function for some of the rows."""

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device, generator=generator).to(torch.bfloat16)

    def place(rows: slice) -> Tensor:
        return torch.tensor([40 + rows.start], device=device)

    out, dim, experts, inner = size // 2 + 16, 32, 16, 48
    x, other, weight = random(ROWS, size), random(ROWS, size), random(out, size) / size**0.5
    scale = torch.rand(max(out, size), device=device, generator=generator) + 0.5
    bytes_ = torch.randint(-127, 128, (out, size), device=device, generator=generator, dtype=torch.int8)
    nibbles = torch.randint(0, 16, (out, size), device=device, generator=generator, dtype=torch.uint8)
    words, scales = pack([(nibbles, random(out, size // 32).abs() / 50)], (out, size), device)
    beside = random(ROWS, 2 * out)[:, out:]
    query, keys, values = random(ROWS, 4, dim) / 3, random(2, 64, dim), random(2, 64, dim)
    product = random(ROWS, 8, dim)
    turning = torch.rand(6, dim, device=device, generator=generator) + 0.5
    frequencies = torch.rand(dim // 2, device=device, generator=generator)
    logits, per_expert = random(ROWS, experts), scale[:experts]
    up = Stack(16, size, random(experts, 2 * inner, size) / size**0.5, scale)
    down = Stack(16, inner, random(experts, size, inner) / inner**0.5, scale)

    def turned(f: Functions, rows: slice) -> Tensor:
        home = keys.clone(), values.clone()
        cos, sin = f.rotation(place(rows), frequencies, 1.0, rows.stop - rows.start)
        heads = f.turn(product[rows], turning, cos, sin, place(rows), *home, 4, EPS)
        at = torch.arange(40 + rows.start, 40 + rows.stop, device=device)
        stored = [each.index_select(1, at).transpose(0, 1) for each in home]
        return torch.cat((heads, *stored), 1)

    def chosen_experts(f: Functions, rows: slice) -> Tensor:
        real = torch.tensor([rows.stop - rows.start], device=device)
        parts, choice = f.experts(x[rows], logits[rows], per_expert, real, 4, up, down)
        added = f.add_experts(parts, choice, other[rows], [weighted, weighted, weighted, weighted], x[rows], EPS, 0.5)
        return torch.cat((*added, parts.view(rows.stop - rows.start, -1)), 1)

    weighted = scale[:size]
    return {
        "linear, 16 bits": lambda f, rows: f.linear(x[rows], 16, weight, None),
        "linear, 8 bits": lambda f, rows: f.linear(x[rows], 8, bytes_, scale[:out] / 500),
        "linear, 4 bits": lambda f, rows: f.linear(x[rows], 4, words, scales),
        "gated_linear, 16 bits": lambda f, rows: f.gated_linear(x[rows], 16, weight, None, None),
        "gated_linear, 8 bits": lambda f, rows: f.gated_linear(x[rows], 8, bytes_, scale[:out] / 500, None),
        "gated_linear, 4 bits": lambda f, rows: f.gated_linear(x[rows], 4, words, scales, None),
        "gated_linear": lambda f, rows: f.gated_linear(x[rows], 16, weight, None, beside[rows]),
        "norm": lambda f, rows: f.norm(x[rows], weighted, EPS),
        "add_norm": lambda f, rows: torch.cat(f.add_norm(x[rows], other[rows], weighted, EPS, 0.5, weighted), 1),
        "add_norms": lambda f, rows: torch.cat(f.add_norms(x[rows], other[rows], weighted, EPS, [weighted] * 3), 1),
        "add": lambda f, rows: f.add(x[rows], other[rows], weighted, EPS, 0.5),
        "turn": turned,
        "attend, full": lambda f, rows: f.attend(query[rows], keys, values, place(rows), 0),
        "attend, ring": lambda f, rows: f.attend(query[rows], keys, values, place(rows) + 128, 24),
        "soft_cap": lambda f, rows: f.soft_cap(x[rows] * 9, 30.0),
        "experts": chosen_experts,
    }


def main() -> int:
    """Check the GPU of the number given; on failure the last line of the output says why."""
    from gemma_cli.engines.local.triton_kernels.ops import functions

    device = torch.device("cuda", int(sys.argv[1]))
    try:
        with torch.inference_mode():
            check(functions, device)
            torch.cuda.synchronize(device)
    except Exception as error:  # whatever it is, these kernels are not to be used
        print(str(error).strip().partition("\n")[0] or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
