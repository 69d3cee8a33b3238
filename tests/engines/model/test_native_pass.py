"""Passes in one call into C: the bits of Target.run, whatever the weights, the rows, the threads and the cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gemma_cli
from gemma_cli.core.engine import Quantization
from gemma_cli.engines.local import native
from gemma_cli.engines.local.loading.build import build_target
from gemma_cli.engines.local.loading.load import load_target
from gemma_cli.engines.local.loading.random_weights import RandomWeights
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.native_pass import NativePass
from gemma_cli.engines.local.model.query_log import QueryLog, alignment_layer
from gemma_cli.engines.local.model.row_rule import RowRule
from gemma_cli.engines.local.model.schema.architecture import read_architecture
from gemma_cli.engines.local.model.target import Target
from tests.engines.helpers.kernels import CAN_BUILD

pytestmark = pytest.mark.skipif(not CAN_BUILD, reason="needs gcc")

CPU = torch.device("cpu")
POCKET = Path(gemma_cli.__file__).parent / "pocket" / "pocket"
VOCAB = 300
S, F = "sliding_attention", "full_attention"

COMMON: dict[str, Any] = {
    **{"model_type": "gemma4_text", "vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 96, "head_dim": 16},
    **{"global_head_dim": 32, "sliding_window": 24, "max_position_embeddings": 4096, "num_attention_heads": 4},
}
SHAPES: dict[str, dict[str, Any]] = {
    "shared keys": {
        **{"num_hidden_layers": 5, "layer_types": [S, F, S, F, S], "num_kv_shared_layers": 2},
        **{"hidden_size_per_layer_input": 12, "vocab_size_per_layer_input": VOCAB, "use_double_wide_mlp": True},
        **{"num_key_value_heads": 1, "final_logit_softcapping": 30.0},
    },
    "keys are values": {
        **{"num_hidden_layers": 3, "layer_types": [S, S, F], "num_key_value_heads": 2, "attention_k_eq_v": True},
        **{"num_global_key_value_heads": 1, "hidden_size_per_layer_input": 0, "final_logit_softcapping": None},
    },
    "experts": {
        **{"num_hidden_layers": 2, "layer_types": [S, F], "num_key_value_heads": 2, "hidden_size_per_layer_input": 0},
        **{"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16},
    },
}
FORMATS = [("float32", None), ("bfloat16", None), ("float32", "int8"), ("bfloat16", "int4"), ("float32", "int4")]


class Uneven(RandomWeights):
    """Norms and scalars are random as well, so that one that is left out shows."""

    def take(self, name: str, shape: Any, dtype: torch.dtype | None = None) -> Tensor:
        taken = super().take(name, shape, dtype)
        if len(shape) > 1 or not taken.is_floating_point():
            return taken
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(sum(name.encode())))
        return (1 + 0.2 * noise).to(taken.dtype)


def small(shape: str, dtype: torch.dtype = torch.float32, quantize: Quantization | None = None) -> Target:
    arch = read_architecture(COMMON | SHAPES[shape])
    target = build_target(arch, Uneven(CPU, dtype, quantize), CPU, dtype)
    target.set_rows(RowRule(tuple(range(1, 17)), exact=True))
    return target


@contextmanager
def reference(target: Target) -> Iterator[None]:
    """While it lasts, the target's passes are those of Target.run."""
    there = target.native_pass
    target.__dict__["native_pass"] = "the reference is asked for"
    try:
        yield
    finally:
        target.__dict__["native_pass"] = there


@contextmanager
def threads(count: int) -> Iterator[None]:
    kernels = native.on(CPU)
    assert kernels
    kernels.set_threads(count)
    try:
        yield
    finally:
        kernels.set_threads(1)


def tokens(count: int, vocab: int = VOCAB, seed: int = 0) -> Tensor:
    return torch.randint(0, vocab, (count,), generator=torch.Generator().manual_seed(seed))


def decoded(target: Target, until: int) -> list[Tensor]:
    """Logits, states and finally the cache of passes of 1 to 16 rows, of which some are rolled back."""
    cache, outputs = target.new_cache(), []
    ids = tokens(until + 17, target.vocab_size)
    target.prefill(ids[:9], cache)
    passes = cycle((1, 5, 16, 2, 3, 7, 11, 4, 1, 13))
    while cache.length < until:
        rows = next(passes)
        outputs += target.verify(ids[cache.length :][:rows], cache)
        cache.rollback(cache.length - rows // 3)
    return outputs + held(cache)


def held(cache: Cache) -> list[Tensor]:
    return [tensor for slots in cache.layers.values() for tensor in (slots.keys, slots.values)]


def same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    assert all(torch.isfinite(one).all() for one in expected)
    assert all(one.dtype == other.dtype and torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(("dtype", "quantize"), FORMATS)
@pytest.mark.parametrize("name", ["pocket", "shared keys", "keys are values"])
def test_a_pass_has_the_bits_of_the_reference(name: str, dtype: str, quantize: Quantization | None) -> None:
    """On any number of threads, across the end of the rings and where the cache grows."""
    numbers = getattr(torch, dtype)
    target = load_target(POCKET, CPU, numbers, quantize) if name == "pocket" else small(name, numbers, quantize)
    assert isinstance(target.native_pass, NativePass)
    until = 210 if name == "pocket" else 270  # past the end of the rings; of the small ones, past the first slots
    with reference(target):
        expected = decoded(target, until)
    for count in (1, 2, 3) if quantize is None else (3,):
        with threads(count):
            same(decoded(target, until), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_several_sequences_have_the_bits_they_have_alone(dtype: torch.dtype) -> None:
    target = small("shared keys", dtype)
    counts, lengths = (1, 4, 2, 3), (70, 9, 1100, 23)

    def begun() -> list[Cache]:
        caches = [target.new_cache(length) for length in lengths]
        for cache, length in zip(caches, lengths, strict=True):
            target.prefill(tokens(length, seed=length), cache)
        return caches

    ids, caches, alone, apart = tokens(sum(counts)), begun(), begun(), begun()
    together = list(target.verify_each(ids, caches, counts))
    parts = [target.verify(own, cache) for own, cache in zip(torch.split(ids, counts), alone, strict=True)]
    with reference(target):
        expected = list(target.verify_each(ids, apart, counts))
    same(together, expected)
    same(together, [torch.cat([part[which] for part in parts]) for which in (0, 1)])
    for cache, other in zip(caches, apart, strict=True):
        assert cache.length == other.length
        same(held(cache), held(other))


def test_queries_are_recorded() -> None:
    target = small("shared keys")

    def weights() -> Tensor:
        cache, ids = target.new_cache(), tokens(20)
        cache.record(QueryLog(alignment_layer(target.arch.layers), 8))
        target.prefill(ids[:8], cache)
        for first in range(8, 20, 3):
            target.verify(ids[first : first + 3], cache)
        assert cache.log
        return cache.log.attention(0, 8, 12)

    found = weights()
    with reference(target):
        assert torch.equal(found, weights())
    assert (found.sum(-1) > 0).all()


@pytest.mark.parametrize("bad", [-1, VOCAB])
def test_an_id_that_is_not_in_the_vocabulary_is_refused(bad: int) -> None:
    target = small("shared keys")
    cache = target.new_cache()
    with pytest.raises(IndexError):
        target.verify(torch.tensor([3, bad]), cache)
    assert cache.length == 0


def test_what_has_no_native_pass_says_why() -> None:
    assert small("experts").native_pass == "it has experts"
    assert small("shared keys", torch.float16).native_pass == "it computes in torch.float16"


@pytest.mark.usefixtures("torch_only")
def test_there_is_none_without_kernels() -> None:
    assert small("shared keys").native_pass == "there are no kernels for it"
