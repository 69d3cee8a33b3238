"""The peer says what we say, counts as we count, and is made of the same weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import Gemma4ForCausalLM

from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.events import Turn, collect
from gemma_cli.core.messages import GREEDY, Drafting, Request, Sampling, ask
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.loading.checkpoint import tensors
from gemma_cli.engines.local.measure import roofline
from gemma_cli.engines.local.measure.transformers_peer import filled
from gemma_cli.engines.measure import open_stock, read_bandwidth, round_bytes
from gemma_cli.engines.scripted import Reply, ScriptedEngine
from gemma_cli.store.models.checkpoints import locate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine(EngineSpec("pocket"))


@pytest.fixture(scope="module")
def stock(engine: Engine) -> Engine:
    return open_stock(engine)


def said(engine: Engine, drafts: int, sampling: Sampling = GREEDY, text: str = "Count from 1 to 6.") -> Turn:
    return collect(engine.stream(Request(ask(text), replace(sampling, max_tokens=24), Drafting(drafts))))


@pytest.mark.parametrize("drafts", [0, 3])
def test_the_peer_reads_the_same_prompt_and_says_the_same(engine: Engine, stock: Engine, drafts: int) -> None:
    ours, theirs = said(engine, drafts), said(stock, drafts)
    assert theirs.text == ours.text == "1, 2, 3, 4, 5, 6"
    assert theirs.usage == ours.usage
    assert theirs.finish_reason == "stop"
    assert theirs.timings.ttft_s
    assert theirs.timings.decode_s


def test_the_peers_rounds_are_its_target_passes(stock: Engine) -> None:
    turn = said(stock, 3)
    assert 1 + sum(passed.accepted + 1 for passed in turn.speculation.rounds) == turn.usage.completion_tokens
    assert {passed.drafted for passed in turn.speculation.rounds[:-1]} == {3}
    plain = said(stock, 0).speculation
    assert (plain.drafted, plain.target_passes) == (0, turn.usage.completion_tokens - 1)


def test_the_peer_samples_by_its_seed(stock: Engine) -> None:
    request = Request(ask("Hello"), Sampling(temperature=8.0, top_p=1.0, max_tokens=8), Drafting(0))
    texts = [
        collect(stock.stream(replace(request, sampling=replace(request.sampling, seed=seed)))).text
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_the_peer_ends_where_it_must(stock: Engine) -> None:
    for drafts in (0, 3):
        request = Request(ask("Count from 1 to 6."), replace(GREEDY, max_tokens=5), Drafting(drafts))
        turn = collect(stock.stream(request))
        assert (turn.usage.completion_tokens, turn.finish_reason) == (5, "length")


def test_no_peer_beside_what_is_not_run_here() -> None:
    scripted = ScriptedEngine([Reply("well")])
    with pytest.raises(UsageError, match="scripted"):
        open_stock(scripted)
    assert (read_bandwidth(scripted), round_bytes(scripted, 2, 10)) == (None, None)


def test_a_stock_model_takes_tables_as_they_are_and_runs() -> None:
    config = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8}
    config |= {"global_head_dim": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 8}
    config |= {"vocab_size_per_layer_input": 40, "hidden_size_per_layer_input": 4, "num_kv_shared_layers": 0}
    config |= {"layer_types": ["sliding_attention", "full_attention"]}
    table = torch.randn(40, 16, dtype=torch.bfloat16)
    model = filled(Gemma4ForCausalLM, config, {"model.embed_tokens.weight": table}, CPU, torch.bfloat16)
    assert model.get_input_embeddings().weight.data_ptr() == model.lm_head.weight.data_ptr() == table.data_ptr()
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert model(torch.tensor([[3, 5, 7]])).logits.isfinite().all()


# What a round reads


def test_a_round_reads_every_matrix_of_the_decoder_once(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against the checkpoint's file: all its matrices but the per-layer table, which is looked up."""
    monkeypatch.setattr(roofline, "last_level_cache", lambda device: 0)
    matrices = {
        name: value
        for name, value in tensors(locate("pocket")[1], "model.language_model.").items()
        if value.dim() == 2 and name != "embed_tokens_per_layer.weight"
    }
    shared = [f"layers.{i}.self_attn.{part}_proj.weight" for i in (5, 6, 7) for part in "kv"]
    weights = 4 * sum(value.numel() for name, value in matrices.items() if name not in shared)
    nothing_before = round_bytes(engine, 0, 0)
    assert nothing_before == weights
    step = round_bytes(engine, 1, 0) - nothing_before
    assert round_bytes(engine, 5, 0) == weights + 5 * step
    assert 0 < step < weights / 2


def test_keys_and_values_are_read_up_to_the_window(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "last_level_cache", lambda device: 0)
    arch = engine.target.arch
    per_token = {layer: 8 * layer.kv_heads * layer.head_dim for layer in arch.layers}
    full = sum(size for layer, size in per_token.items() if not layer.sliding)
    empty = round_bytes(engine, 0, 0)
    assert round_bytes(engine, 0, arch.window) - empty == arch.window * sum(per_token.values())
    assert round_bytes(engine, 0, arch.window + 10) - round_bytes(engine, 0, arch.window) == 10 * full


def test_what_fits_the_processors_cache_is_not_bound_by_memory(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "last_level_cache", lambda device: 1 << 40)
    assert round_bytes(engine, 4, 100) is None


def test_bandwidth_is_a_plausible_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "FLOOR", 8 << 20)
    monkeypatch.setattr(roofline, "CEILING", 8 << 20)
    assert 1e7 < roofline.bandwidth(CPU) < 1e14


def test_media_are_not_for_the_peer(stock: Engine) -> None:
    import numpy as np

    from gemma_cli.core.messages import Image

    picture = Image("d", "p.png", np.zeros((48, 48, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="supports only text"):
        collect(stock.stream(Request(ask(picture, "What?"))))
