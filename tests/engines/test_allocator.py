"""What loading frees goes back to the system, and nothing large lies beside a weight while it is rounded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gemma_cli.engines.local import native
from gemma_cli.engines.local.allocator import freed_at_once
from gemma_cli.engines.local.loading.random_weights import RandomWeights
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.quantized import Int4Linear, Int8Linear

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CPU = torch.device("cpu")
MIB = 1 << 20
ROOT = Path(__file__).parents[2]
WEIGHTS = {"small": (100, (256, 1536)), "experts": (4, (1408, 2816))}
"""How many linear layers of which shape."""


def status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def taken_and_held() -> dict[str, tuple[int, int]]:
    """Return what a process takes for weights of each kind and what they hold, both in bytes."""
    torch.set_num_threads(1)
    sizes = {}
    for name, (count, shape) in WEIGHTS.items():
        source = RandomWeights(CPU, torch.bfloat16, "int4")
        source.linear("warm", (64, shape[1]))
        with freed_at_once():
            before = status("RssAnon")
            weights: list[Linear] = source.linears("layers.0.weight", (count, *shape))
            sizes[name] = status("RssAnon") - before, sum(linear.nbytes for linear in weights)
    return sizes


def test_weights_take_what_they_hold() -> None:
    """Of E2B's per-layer inputs and 26B-A4B's experts: nothing stays between them of what making them took.

    In a process of its own: what earlier tests have freed would be used again and not be counted.
    """
    code = "import json, tests.engines.test_allocator as here; print(json.dumps(here.taken_and_held()))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for name, (taken, held) in json.loads(ended.stdout).items():
        assert taken < 1.05 * held + 2 * MIB, name


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_a_weight_is_rounded_with_little_beside_it(kind: type[Linear]) -> None:
    """A feed-forward weight of E2B: at the most, what it keeps and a few MB."""
    if native.on(CPU) is None:
        pytest.skip("torch's kernels take a weight at once")
    torch.set_num_threads(1)
    weight = torch.randn(6144, 1536).bfloat16()
    with freed_at_once():
        kind(weight[:64])
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        linear = kind(weight)
        most = status("VmHWM") - before
    assert most < linear.nbytes + 8 * MIB  # an eight-bit copy alone would take 9
