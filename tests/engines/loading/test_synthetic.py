"""Synthetic models have the sizes of the released ones and run like any other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    Gemma4AssistantConfig,
    Gemma4AssistantForCausalLM,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    Gemma4UnifiedAssistantConfig,
    Gemma4UnifiedAssistantForCausalLM,
    Gemma4UnifiedForCausalLM,
    Gemma4UnifiedTextConfig,
)

from gemma_cli.core.errors import UsageError
from gemma_cli.engines.local.loading.batch_invariance import measure_rows
from gemma_cli.engines.local.loading.build import build_drafter, build_target
from gemma_cli.engines.local.loading.random_weights import RandomWeights
from gemma_cli.engines.local.loading.synthetic import NAMES, drafter_config, target_config
from gemma_cli.engines.local.model.schema.architecture import read_architecture, read_drafter
from tests.engines.helpers import shapes

CPU = torch.device("cpu")


def parameters(model: Any) -> int:
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize(
    ("name", "billions"), [("e2b", 4.63), ("e4b", 7.46), ("12b", 11.9), ("26b-a4b", 25.2), ("31b", 30.7)]
)
def test_targets_have_the_published_size(name: str, billions: float) -> None:
    """Of the text decoder alone: the towers are not made."""
    model, config = (
        (Gemma4UnifiedForCausalLM, Gemma4UnifiedTextConfig) if name == "12b" else (Gemma4ForCausalLM, Gemma4TextConfig)
    )
    with torch.device("meta"):
        assert parameters(model(config(**target_config(name)))) == pytest.approx(billions * 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "millions"), [("e2b", 78), ("e4b", 78.8), ("12b", 400), ("26b-a4b", 400), ("31b", 500)]
)
def test_drafters_have_the_published_size(name: str, millions: float) -> None:
    model, config = (
        (Gemma4UnifiedAssistantForCausalLM, Gemma4UnifiedAssistantConfig)
        if name == "12b"
        else (Gemma4AssistantForCausalLM, Gemma4AssistantConfig)
    )
    with torch.device("meta"):
        assert parameters(model(config(**drafter_config(name)))) == pytest.approx(millions * 1e6, rel=0.13)


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_make_a_model_that_runs(name: str) -> None:
    """The builder and the classes of synthetic models, on shapes small enough to hold."""
    torch.set_num_threads(1)
    source = RandomWeights(CPU, torch.float32)
    target = build_target(read_architecture(shapes.text_config(name).to_dict()), source, CPU, torch.float32)
    target.set_rows(measure_rows(target))
    cache = target.new_cache()
    _, hidden = target.prefill(torch.arange(3, 60), cache)
    config = shapes.stock_drafter(name).config.to_dict()
    drafter = build_drafter(read_drafter(config, read_architecture(config["text_config"])), source, target)
    logits, _, _ = drafter.step(torch.tensor([5]), hidden, drafter.begin(target, cache, cache.length))
    assert logits.isfinite().all()
    logits, _ = target.verify(torch.arange(60, 65), cache)
    assert logits.isfinite().all()
    assert logits.argmax(-1).unique().numel() > 1


def test_rows_of_random_weights_differ() -> None:
    weight = RandomWeights(CPU, torch.float32).take("w", (2048, 1024))
    assert weight.unique(dim=0).shape[0] == 2048
    assert weight.std().item() == pytest.approx(1024**-0.5, rel=0.01)


def test_a_shape_that_was_never_released_is_refused() -> None:
    with pytest.raises(UsageError, match="choose one of e2b, e4b, 12b, 26b-a4b, 31b"):
        target_config("7b")
