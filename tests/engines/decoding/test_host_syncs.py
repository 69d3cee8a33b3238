"""Rounds and prefill at the true shapes of the released models, on a device without numbers (helpers/gpu): the host
never waits for it in what is recorded, and memory stays within what was foretold. Here with a layer of each kind, in
`python -m tests.soak host_syncs` with all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gemma_cli.core.engine import Quantization
from tests.engines.helpers.gpu.refusing import Waits, refusing
from tests.engines.helpers.gpu.rounds import prefill_peak, run_round

ROWS = torch.arange(6)
MASK = ROWS > 2
WAITING: dict[str, Callable[[], object]] = {
    "item": lambda: ROWS[0].item(),
    "float": lambda: float(ROWS[0]),
    "int": lambda: int(ROWS[0]),
    "bool": lambda: bool(MASK.all()),
    "tolist": lambda: ROWS.tolist(),
    "numpy": lambda: ROWS.numpy(),
    "cpu": lambda: ROWS.cpu(),
    "range": lambda: range(ROWS[3]),  # type: ignore[arg-type]
    "slice": lambda: ROWS[ROWS[2] :],
    "number in a call": lambda: torch.add(ROWS, ROWS, alpha=ROWS[1].item()),
    "mask": lambda: ROWS[MASK],
    "assignment by a mask": lambda: ROWS.clone().__setitem__(MASK, 0),
    "masked_select": lambda: ROWS.masked_select(MASK),
    "nonzero": lambda: ROWS.nonzero(),
    "where": lambda: torch.where(MASK),
    "unique": lambda: ROWS.unique(),
    "bincount": lambda: ROWS.bincount(minlength=9),
    "equal": lambda: torch.equal(ROWS, ROWS),
    "repeat_interleave": lambda: ROWS.repeat_interleave(ROWS),
    "tensor_split": lambda: torch.tensor_split(ROWS, ROWS[1:3]),
    "numbers of the host": lambda: torch.tensor([1, 2]),
}
FREE: dict[str, Callable[[], object]] = {
    "index": lambda: ROWS[ROWS.flip(0)],
    "masked_fill": lambda: ROWS.masked_fill(MASK, 0),
    "where": lambda: torch.where(MASK, ROWS, 0),
    "linear": lambda: torch.nn.functional.linear(ROWS.float()[None], ROWS.float()[None]),
    "repeat_interleave": lambda: ROWS.repeat_interleave(ROWS, output_size=15),
    "slice": lambda: ROWS[2:].new_zeros(3),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_whatever_waits_is_refused(mode: Callable[[], torch.no_grad]) -> None:
    with mode():
        for name, waiting in WAITING.items():
            with refusing(), pytest.raises(Waits):
                print(name, waiting())
        with refusing():
            for free in FREE.values():
                free()
    assert ROWS.tolist() == [0, 1, 2, 3, 4, 5], "outside, everything is as it was"


@pytest.mark.parametrize(
    ("name", "quantize"), [("e2b", "int8"), ("e4b", None), ("12b", "int4"), ("26b-a4b", "int8"), ("31b", None)]
)
def test_a_round_never_waits_for_the_device(name: str, quantize: Quantization | None) -> None:
    assert run_round(name, quantize)["verify"] > 0


def test_a_round_by_torch_s_kernels_never_waits_either() -> None:
    assert run_round("26b-a4b", "int4", fused=False)["verify"] > 100


@pytest.mark.parametrize("name", ["e2b", "31b"])
def test_a_prompt_takes_the_memory_that_was_foretold(name: str) -> None:
    taken, foretold = prefill_peak(name, 1 << 17)
    assert foretold / 2 < taken < foretold < 1 << 30
