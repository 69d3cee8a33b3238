"""The precision of training: bfloat16 only where it is faster."""

from collections.abc import Iterator

import pytest
import torch

from training.stages import optim


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    optim.has_bfloat16.cache_clear()
    yield
    optim.has_bfloat16.cache_clear()


@pytest.mark.parametrize(("half", "single", "enabled"), [(0.4, 0.02, False), (0.01, 0.02, True)])
def test_bfloat16_is_used_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, half: float, single: float, enabled: bool
) -> None:
    """A CPU that can compute in bfloat16 but has no instructions for it takes twenty times as long."""
    monkeypatch.setattr(optim, "DEVICE", torch.device("cpu"))
    monkeypatch.setattr(optim, "choose_dtype", lambda *_: torch.bfloat16)
    monkeypatch.setattr(optim, "_product_s", {torch.bfloat16: half, torch.float32: single}.__getitem__)
    with optim.half_precision():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if enabled else torch.float32)
