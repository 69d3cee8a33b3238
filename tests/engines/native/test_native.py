"""Our C kernels: what they compute, that a row's bits depend on it alone, and what happens where they do not build.

They are built four times, for this processor, without its AMX, and for two that know less, whose code is other code.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gemma_cli.engines.local.device import processor
from gemma_cli.engines.local.model.cache import EVERY, SLACK, Slots
from gemma_cli.engines.local.model.layers.rounding import (
    BLOCK,
    GROUP,
    eight_bits,
    four_bits,
    from_eight_bits,
    from_four_bits,
)
from gemma_cli.engines.local.native import build
from gemma_cli.engines.local.native.ops import Bits, Kernels, Scattered
from tests.engines.helpers.kernels import CAN_BUILD

pytestmark = pytest.mark.skipif(not CAN_BUILD, reason="needs gcc")

DTYPES = (torch.float32, torch.bfloat16)
COUNTS = (1, 2, 3, 5, 6, 7, 16, 17)
ROWS = 17


TILES = ("native -DNO_TILES",) if "amx_bf16" in processor() else ()  # without AMX it is the same as native
OTHER_BUILDS = ("x86-64-v3 -mtune=znver3", "x86-64")  # each takes seconds to compile
BUILDS = ("native", *TILES, *(pytest.param(build, marks=pytest.mark.slow) for build in OTHER_BUILDS))
"""Tuning counts too: for AMD, gcc keeps products and sums apart that it fuses for Intel."""


@pytest.fixture(scope="module", params=BUILDS)
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """The library that `gemma` itself builds for this processor, and others built here."""
    if request.param == "native":
        built = build.library()
        if built.why == "the kernels compute wrong results on this processor" and "amx" in processor():
            pytest.skip("this machine announces AMX and lacks it")
        assert built.path, built.why
        return Kernels(built.path)
    made = tmp_path_factory.mktemp("kernels") / "made.so"
    flags = [*build.flags("x86_64"), *f"-march={request.param}".split()]
    subprocess.run(["gcc", *flags, *sorted(build.SOURCES.glob("*.c")), "-o", made, "-lm"], check=True)
    checked = subprocess.run([sys.executable, "-c", build._CHECK, made], check=False).returncode
    assert checked == 0
    return Kernels(made)


def test_the_compiler_has_nothing_to_remark() -> None:
    """Apart from the tests of what the kernels compute, or a remark would hide that the result is wrong."""
    flags = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", *build.flags(platform.machine())]
    subprocess.run(["gcc", *flags, *sorted(build.SOURCES.glob("*.c"))], check=True)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same_alone(product: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """What a product gives, which is the same for each row among fewer and elsewhere."""
    whole = product(rows)
    for count in COUNTS:
        assert torch.equal(product(rows[:count]), whole[:count])
    assert torch.equal(product(rows.roll(5, 0)), whole.roll(5, 0))
    return whole


def near(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """To the rounding of `dtype`; expected: float64."""
    fine = dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=2e-5 if fine else 2e-2, rtol=2e-5 if fine else 1e-2)


@pytest.mark.parametrize(("out", "width"), [(64, 96), (16, 32), (48, 1536), (37, 50), (3, 8), (5, 1536)])
def test_products_in_bfloat16(kernels: Kernels, out: int, width: int) -> None:
    weight, x = (normal(out, width) / width**0.5).bfloat16(), normal(40, width, seed=1).bfloat16()
    whole = Scattered([weight])
    found = same_alone(lambda rows: kernels.linear(rows, whole), x)
    near(found, x.double() @ weight.double().T, torch.bfloat16)
    assert torch.equal(kernels.linear(x.T.contiguous().T, whole), found)


@pytest.mark.parametrize("outs", [(16, 48), (16, 16, 32), (5, 59), (1, 2, 1), (7, 30, 1, 4)])
def test_a_weight_in_several_places_gives_what_each_gives(kernels: Kernels, outs: tuple[int, ...]) -> None:
    """On any number of threads."""
    lying = [(normal(out, 1536, seed=out) / 40).bfloat16() for out in outs]
    x = normal(40, 1536, seed=1).bfloat16()
    tiled = all(out % 16 == 0 for out in outs)  # or AMX would compute the parts that it takes, and not the whole
    expected = torch.cat([kernels.linear(x, Scattered([one])) for one in lying], 1) if tiled else None
    found = same_alone(lambda rows: kernels.linear(rows, Scattered(lying)), x)
    near(found, x.double() @ torch.cat(lying).double().T, torch.bfloat16)
    assert expected is None or torch.equal(found, expected)
    try:
        kernels.set_threads(3)
        assert torch.equal(kernels.linear(x, Scattered(lying)), found)
    finally:
        kernels.set_threads(1)


@pytest.mark.parametrize(("out", "width"), [(256, 96), (100, 33), (7, 5), (1, 1), (193, 260)])
def test_products_in_float32(kernels: Kernels, out: int, width: int) -> None:
    weight, rows = normal(out, width), normal(ROWS, width, seed=1)
    packed = kernels.pack_floats(weight)
    product = same_alone(lambda x: kernels.float_linear(x, packed, out), rows)
    torch.testing.assert_close(product.double(), rows.double() @ weight.double().T, atol=1e-4, rtol=1e-5)


def test_torchs_tiles_are_left_as_they_were(kernels: Kernels) -> None:
    """oneDNN does not look again at how it left them."""
    weight = normal(64, 96).bfloat16()
    many, few = normal(128, 96, seed=1).bfloat16(), normal(5, 96, seed=2).bfloat16()
    lies = Scattered([weight])
    expected = torch.nn.functional.linear(many, weight), kernels.linear(few, lies)
    for _ in range(3):
        assert torch.equal(torch.nn.functional.linear(many, weight), expected[0])
        assert torch.equal(kernels.linear(few, lies), expected[1])
    near(expected[0][:17], many[:17].double() @ weight.double().T, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bits", "out", "width"), [(4, 64, 96), (4, 37, 32), (8, 64, 96), (8, 37, 50), (8, 3, 8)])
def test_products_with_rounded_weights(kernels: Kernels, bits: int, out: int, width: int, dtype: torch.dtype) -> None:
    rounded = four_bits if bits == 4 else eight_bits
    numbers, scale = rounded(normal(out, width) / width**0.5)
    x = normal(ROWS, width, seed=1).to(dtype)
    x[3], x[4, 7] = 0, 300.0
    packed = kernels.pack([(numbers, scale)], (out, width), bits)  # type: ignore[arg-type]
    assert len(packed) == kernels.packed_bytes(out, width, bits)  # type: ignore[arg-type]
    found = same_alone(lambda rows: kernels.rounded_linear(rows, packed, scale, out, bits), x)  # type: ignore[arg-type]
    assert found.dtype == dtype
    widened = (from_four_bits if bits == 4 else from_eight_bits)(numbers, scale, torch.float64)
    expected = x.double() @ widened.T
    error = (found - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=1)
    assert error.max() < (5e-5 if dtype == torch.float32 else 4e-3)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_weight_is_packed_alike_in_parts_and_at_once(kernels: Kernels, bits: int) -> None:
    shape = (2 * BLOCK + 5, 96)
    weight = normal(*shape)
    rounded = four_bits if bits == 4 else eight_bits
    parts = [rounded(weight[first : first + BLOCK]) for first in range(0, shape[0], BLOCK)]
    whole = kernels.pack([rounded(weight)], shape, bits)  # type: ignore[arg-type]
    assert torch.equal(kernels.pack(parts, shape, bits), whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(64, 96), (37, 64), (3, 1536), (100, 50), (5, 7)])
def test_rounding_is_that_of_torch(kernels: Kernels, shape: tuple[int, int], bits: Bits, dtype: torch.dtype) -> None:
    """To the last bit: weights of any size, rows and groups of zeros, numbers half way between two."""
    if bits == 4 and shape[1] % GROUP:
        pytest.skip("four bits take complete groups")
    weight = (normal(*shape) * normal(shape[0], 1, seed=1).exp() ** 3).to(dtype)
    weight[1] = 0
    weight[2] = torch.arange(shape[1]) % 17 - 8
    weight[0, :GROUP] = -0.0
    rounded = (four_bits if bits == 4 else eight_bits)(weight)
    packed, scales = kernels.round_and_pack(weight, bits)
    assert torch.equal(packed, kernels.pack([rounded], shape, bits))
    assert bits == 4 or torch.equal(scales, rounded[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_none(kernels: Kernels, bad: float) -> None:
    """Or a damaged checkpoint would talk."""
    x = normal(3, 64)
    x[1, 40] = bad
    numbers, scale = four_bits(normal(16, 64, seed=1))
    made = kernels.rounded_linear(x, kernels.pack([(numbers, scale)], (16, 64), 4), scale, 16, 4)
    assert made[1].isnan().all()
    assert made[[0, 2]].isfinite().all()
    x[1, 40] = float("nan")
    for result in (kernels.norm(x, None, 1e-6), kernels.soft_cap(x, 30.0), kernels.gated(x, x)):
        assert result[1, 40].isnan()
        assert result[[0, 2]].isfinite().all()
    rounded = kernels.norm(x.bfloat16(), None, 1e-6)
    assert rounded[1].isnan().all()
    for out in (5, 16):
        assert kernels.linear(x.bfloat16(), Scattered([torch.ones(out, 64).bfloat16()]))[1].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [192, 50, 8])
def test_norms(kernels: Kernels, width: int, dtype: torch.dtype) -> None:
    x, residual = normal(ROWS, width).to(dtype), normal(ROWS, width, seed=1).to(dtype)
    weight = normal(width, seed=2)
    x[3] = 0
    wide = x.double()
    expected = wide / (wide.square().mean(1, keepdim=True) + 1e-6).sqrt()
    near(same_alone(lambda rows: kernels.norm(rows, weight, 1e-6), x), expected * weight, dtype)
    near(kernels.norm(x, None, 1e-6, dtype=torch.float32), expected, torch.float32)
    added = kernels.norm(x, weight, 1e-6, residual)
    assert added.dtype == dtype
    near(added, residual.double() + expected * weight, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [384, 50])
def test_gates_and_caps(kernels: Kernels, width: int, dtype: torch.dtype) -> None:
    both = (normal(ROWS, 2 * width) * 4).to(dtype)
    both[0, :4] = torch.tensor([-200.0, -12.0, 90.0, 0.0])

    def gated(rows: Tensor) -> Tensor:
        return kernels.gated(*rows.chunk(2, -1))

    gate, up = both.double().chunk(2, -1)
    near(same_alone(gated, both), torch.nn.functional.gelu(gate, approximate="tanh") * up, dtype)
    capped = same_alone(lambda rows: kernels.soft_cap(rows, 30.0), both * 8)
    assert capped.dtype == torch.float32
    torch.testing.assert_close(capped.double(), 30 * torch.tanh((both * 8).double() / 30), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [64, 16, 8])
@pytest.mark.parametrize("kind", ["own", "keys are values", "shared"])
def test_heads_are_turned(kernels: Kernels, kind: str, dim: int, dtype: torch.dtype) -> None:
    heads, kv = 4, 2
    turned, copied = (heads, 0) if kind == "shared" else (heads + kv, kv)
    product = normal(ROWS, turned + (copied if kind == "own" else 0), dim).to(dtype)
    scale, angles = normal(turned, dim, seed=1), normal(ROWS, 1, dim // 2, seed=2).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin() * torch.cat((-torch.ones(dim // 2), torch.ones(dim // 2)))
    found, value = kernels.turn(product, scale, cos, sin, copied, 1e-6)
    wide = product.double()
    flat = wide / (wide.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    scaled = flat[:, :turned] * scale
    near(found, scaled * cos + scaled.roll(dim // 2, -1) * sin, torch.float32)
    assert value.shape[1] == copied
    if copied:
        near(value, flat[:, -copied:], torch.float32)
    part = kernels.turn(product[4:6], scale, cos[4:6], sin[4:6], copied, 1e-6)
    assert torch.equal(part[0], found[4:6])
    assert torch.equal(part[1], value[4:6])


def expected_attention(query: Tensor, keys: Tensor, values: Tensor, window: int) -> Tensor:
    """Of rows that are the last ones of keys and values [kv_heads, n, dim], float64 throughout."""
    rows, heads, dim = query.shape
    n = keys.shape[1]
    group = heads // keys.shape[0]
    wide_keys, wide_values = (x.double().repeat_interleave(group, 0) for x in (keys, values))
    scores = query.double().transpose(0, 1) @ wide_keys.transpose(1, 2)
    back = torch.arange(n - rows, n)[:, None] - torch.arange(n)
    weights = scores.masked_fill((back < 0) | (back >= window), -torch.inf).softmax(-1)
    return (weights @ wide_values).transpose(0, 1).reshape(rows, heads * dim)


@pytest.mark.parametrize(("heads", "kv", "dim"), [(8, 1, 64), (4, 2, 32), (6, 3, 24), (2, 2, 8)])
@pytest.mark.parametrize("window", [37, EVERY])
def test_attention(kernels: Kernels, heads: int, kv: int, dim: int, window: int) -> None:
    """Rows one by one, in passes, over a ring that wraps and over slots that grow: each the same bits, and right."""
    length, ring = 150, window + 11 if window != EVERY else 160
    query = normal(length, heads, dim) / dim**0.25
    keys, values = normal(kv, length, dim, seed=1), normal(kv, length, dim, seed=2)
    expected = expected_attention(query, keys, values, window)
    results = []
    for step in (1, 3, 10):
        slots = Slots(torch.zeros(kv, ring, dim), torch.zeros(kv, ring, dim))
        said = []
        for at in range(0, length, step):
            rows = slice(at, min(at + step, length))
            both = torch.cat(
                (query[rows], keys.transpose(0, 1)[rows], values.transpose(0, 1)[rows]), 1
            )  # as `turn` has
            new = (both[:, heads : heads + kv], both[:, heads + kv :])
            said.append(kernels.attend(both[:, :heads], slots, at, window, new))
        results.append(torch.cat(said))
    torch.testing.assert_close(results[0].double(), expected, atol=2e-5, rtol=2e-5)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("scale", [1e-30, 40.0, 1e6])
def test_attention_with_scores_far_apart(kernels: Kernels, scale: float) -> None:
    """Past 88 the exponential of a float32 is infinite: scores count from the largest. Equal rows weigh the same."""
    query, keys, values = normal(9, 4, 32) * scale, normal(2, 70, 32, seed=1), normal(2, 70, 32, seed=2)
    keys[:, 40] = keys[:, 50]
    found = kernels.attend(query, Slots(keys, values), 61, EVERY)
    torch.testing.assert_close(found.double(), expected_attention(query, keys, values, EVERY), atol=1e-4, rtol=1e-4)
    zeros = kernels.attend(query * 0, Slots(keys, values), 61, EVERY)
    torch.testing.assert_close(zeros.double(), expected_attention(query * 0, keys, values, EVERY), atol=2e-5, rtol=2e-5)


def test_many_rows_attend_as_few_do(kernels: Kernels) -> None:
    keys, values, query = normal(2, 100, 32), normal(2, 100, 32, seed=1), normal(70, 4, 32, seed=2)
    slots = Slots(keys, values)
    whole = kernels.attend(query, slots, 30, 50)
    torch.testing.assert_close(whole.double(), expected_attention(query, keys, values, 50), atol=2e-5, rtol=2e-5)
    kernels.set_threads(2)
    try:
        assert torch.equal(kernels.attend(query, slots, 30, 50), whole)
    finally:
        kernels.set_threads(1)
    assert torch.equal(kernels.attend(query[40:43], slots, 70, 50), whole[40:43])


@pytest.fixture
def team(kernels: Kernels) -> Iterator[Kernels]:
    """Kernels whose number of threads is put back to one."""
    yield kernels
    kernels.set_threads(1)


SHAPES = [(8, 1, 512, EVERY, 1120), (8, 1, 256, 512, 576), (16, 8, 256, 1024, 1088), (4, 2, 32, 128, 192)]
"""Heads, heads of keys, width, window, slots: full and sliding layers of E2B, sliding ones of 12B and of pocket."""


@pytest.mark.parametrize(("heads", "kv", "dim", "window", "count"), SHAPES)
def test_long_contexts_give_a_row_the_same_bits(
    team: Kernels, heads: int, kv: int, dim: int, window: int, count: int
) -> None:
    """On any number of threads, among any rows, wherever the ring wraps, and whatever rejected drafts left behind."""
    slots = Slots(normal(kv, count, dim), normal(kv, count, dim, seed=1))
    position = 1050 if window == EVERY else 5 * count - 5  # of the first row; a ring wraps among the rows
    query = normal(9, heads, dim, seed=2) / dim**0.25
    whole = team.attend(query, slots, position, window)
    order = torch.arange(max(0, position - window + 1), position + 9) % count
    expected = expected_attention(query, slots.keys[:, order], slots.values[:, order], window)
    torch.testing.assert_close(whole.double(), expected, atol=2e-5, rtol=2e-5)
    for threads in (1, 2, 3, 7):
        team.set_threads(threads)
        for first, stop in ((0, 1), (8, 9), (0, 2), (1, 4), (2, 7), (0, 9)):
            later = (position + torch.arange(stop, SLACK)) % count  # slots of rows that are not there
            dirty = Slots(slots.keys.clone(), slots.values.clone())
            dirty.keys[:, later], dirty.values[:, later] = 100.0, -100.0
            found = team.attend(query[first:stop], dirty, position + first, window)
            assert torch.equal(found, whole[first:stop]), (threads, first, stop)


def test_queries_whose_scores_do_not_fit_are_computed_in_turn(team: Kernels) -> None:
    """And those of many threads in parts of other sizes than one thread's."""
    slots, query = Slots(normal(1, 32768, 8), normal(1, 32768, 8, seed=1)), normal(300, 1, 8, seed=2)
    alone = team.attend(query, slots, 32400, EVERY)
    team.set_threads(3)
    assert torch.equal(team.attend(query, slots, 32400, EVERY), alone)


def large_products(kernels: Kernels) -> Callable[[], list[Tensor]]:
    """What every kind of product gives whose work is shared out among threads."""
    rows, weight = normal(5, 512), normal(300, 512, seed=1)
    floats = kernels.pack_floats(weight)
    eight, scales = eight_bits(weight)
    packed = kernels.pack([(eight, scales)], (300, 512), 8)
    slots, query = Slots(normal(2, 900, 64), normal(2, 900, 64, seed=1)), normal(40, 4, 64, seed=2)
    return lambda: [
        kernels.float_linear(rows, floats, 300),
        kernels.linear(rows.bfloat16(), Scattered([weight.bfloat16()])),
        kernels.rounded_linear(rows, packed, scales.float().flatten(), 300, 8),
        kernels.attend(query, slots, 860, EVERY),
        kernels.norm(rows.repeat(200, 1), None, 1e-6),
    ]


def test_bits_do_not_depend_on_the_number_of_threads(team: Kernels) -> None:
    products = large_products(team)
    alone = products()
    for count in (2, 7, 3, 1):
        team.set_threads(count)
        for _ in range(6):
            assert all(map(torch.equal, products(), alone))


def test_a_team_serves_threads_that_call_at_once(team: Kernels) -> None:
    products = large_products(team)
    alone = products()
    team.set_threads(3)

    def same(_: int) -> bool:
        return all(map(torch.equal, products(), alone))

    with ThreadPoolExecutor(4) as callers:
        assert all(callers.map(same, range(30)))


def test_a_process_that_forks_has_a_team_again(team: Kernels) -> None:
    products = large_products(team)
    team.set_threads(3)
    parent = products()
    child = os.fork()
    if not child:
        os._exit(0 if all(map(torch.equal, products(), parent)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(map(torch.equal, products(), parent))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine on which nothing was built yet: its cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GEMMA_KERNELS", raising=False)
    build.library.cache_clear()
    yield tmp_path / "cache"
    build.library.cache_clear()


def compiler(folder: Path, body: str) -> str:
    """A PATH whose gcc is a shell script."""
    folder.mkdir()
    (folder / "gcc").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "gcc").chmod(0o755)
    return str(folder)


@pytest.fixture
def built_before() -> Path:
    """The library in the cache of whoever runs the tests, which is built there once."""
    path = build.library().path
    assert path
    return path


def test_a_library_is_built_once(
    built_before: Path, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a compiler that copies what was compiled before, and leaves no other file."""
    made = 'while [ "$1" != -o ]; do shift; done'
    path = compiler(tmp_path / "bin", f'{made}; exec /bin/cp {built_before} "$2"')
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    built = build.library()
    assert built.path
    assert built.path.read_bytes() == built_before.read_bytes()
    assert built.path.is_relative_to(fresh)
    assert {file.name for file in built.path.parent.iterdir()} == {built.path.name, f"{built.path.stem}.json"}
    build.library.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert build.library() == built


def test_without_a_compiler_torch_does(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert build.library() == build.Built(None, "no C compiler is installed: install gcc or clang")
    monkeypatch.undo()


def test_it_can_be_asked_not_to(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_KERNELS", "torch")
    assert build.library() == build.Built(None, "GEMMA_KERNELS=torch")
    assert not fresh.exists()


def test_a_compiler_that_fails_is_asked_once(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", compiler(tmp_path / "bin", f"echo x >> {tmp_path}/asked; echo 'no omp.h' >&2; exit 1"))
    for ending in ("no omp.h", "to try again)"):
        built = build.library()
        assert bool(built.notice) == (ending == "no omp.h")
        assert built.path is None
        assert "gcc cannot compile the kernels: no omp.h" in built.why
        assert built.why.endswith(ending)
        build.library.cache_clear()
    assert (tmp_path / "asked").read_text() == "x\n" * len(build.VARIANTS)
    next(fresh.rglob("*.txt")).unlink()
    assert not build.library().why.endswith("to try again)")
    assert (tmp_path / "asked").read_text() == "x\n" * 2 * len(build.VARIANTS)


def test_kernels_that_crash_here_are_not_used(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a virtual machine whose processor lacks what it announces."""
    (tmp_path / "trap.c").write_text("int self_check(void) { __builtin_trap(); }")
    real = subprocess.run(["which", "gcc"], capture_output=True, text=True, check=True).stdout.strip()
    made = 'while [ "$1" != -o ]; do shift; done'
    path = compiler(tmp_path / "bin", f'{made}; exec {real} -shared -fPIC {tmp_path}/trap.c -o "$2"')
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    built = build.library()
    assert (built.path, built.why) == (None, "the kernels compute wrong results on this processor")
    assert built.notice
    assert not list(fresh.rglob("*.so"))


def test_a_cache_that_cannot_be_written_is_told(fresh: Path) -> None:
    fresh.write_text("a file")
    built = build.library()
    assert built.path is None
    assert "cannot be written" in built.why
    assert built.why in built.notice
