"""What config.json says, held to transformers' own config classes: the same shapes from the same values, whichever
fields are left out."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gemma4.modeling_gemma4 import Gemma4TextRotaryEmbedding

from gemma_cli.engines.local.loading.synthetic import NAMES, drafter_config, target_config
from gemma_cli.engines.local.model.schema.architecture import (
    Architecture,
    LayerShape,
    check_target,
    read_architecture,
    read_drafter,
)
from gemma_cli.engines.local.model.schema.json_fields import FieldError
from tests.engines.helpers import shapes


def stock_rope(config: Any, kind: str) -> tuple[tuple[float, ...], float]:
    rope_type = config.rope_parameters[kind]["rope_type"]
    default = Gemma4TextRotaryEmbedding.compute_default_rope_parameters
    compute = default if rope_type == "default" else ROPE_INIT_FUNCTIONS[rope_type]
    frequencies, factor = compute(config.per_layer_config[kind], "cpu", layer_type=kind)
    return tuple(frequencies.tolist()), factor


def stock_layer(config: Any, index: int) -> LayerShape:
    own = config.num_hidden_layers - config.num_kv_shared_layers
    kind = config.layer_types[index]
    earlier = [i for i in range(own) if config.layer_types[i] == kind]
    return LayerShape(
        index=index,
        sliding=kind == "sliding_attention",
        heads=config.num_attention_heads,
        kv_heads=config.per_layer_config[index].num_key_value_heads,
        head_dim=config.per_layer_config[index].head_dim,
        intermediate=config.intermediate_size * (2 if config.use_double_wide_mlp and index >= own > 0 else 1),
        source=index if index < own else earlier[-1] if earlier else -1,
        value_is_key=config.attention_k_eq_v and kind == "full_attention",
    )


def stock_architecture(config: Any) -> Architecture:
    """The same from a transformers config."""
    moe = getattr(config, "enable_moe_block", False)
    ple = getattr(config, "hidden_size_per_layer_input", 0)
    unified = config.model_type == "gemma4_unified_text"
    both_ways = config.use_bidirectional_attention == "vision"
    return Architecture(
        layers=tuple(stock_layer(config, index) for index in range(config.num_hidden_layers)),
        hidden=config.hidden_size,
        vocab=config.vocab_size,
        window=config.sliding_window,
        context=config.max_position_embeddings,
        eps=config.rms_norm_eps,
        softcap=config.final_logit_softcapping,
        pad_id=config.pad_token_id,
        tied=config.tie_word_embeddings,
        ple=ple,
        ple_vocab=config.vocab_size_per_layer_input if ple else 0,
        experts=config.num_experts if moe else 0,
        experts_per_row=config.top_k_experts if moe else 0,
        expert_intermediate=config.moe_intermediate_size if moe else 0,
        vision_mask=("everywhere" if unified else "sliding") if both_ways else "causal",
        rope={kind: stock_rope(config, kind) for kind in sorted(set(config.layer_types))},
    )


def stock(values: dict[str, Any]) -> Any:
    return CONFIG_MAPPING[values["model_type"]].from_dict(dict(values))


@pytest.mark.parametrize("name", NAMES)
def test_released_shapes_are_read_as_transformers_reads_them(name: str) -> None:
    values = target_config(name)
    assert read_architecture(values) == stock_architecture(stock(values))
    config = drafter_config(name)
    drafter = read_drafter(config, read_architecture(config["text_config"]))
    reference = stock(config)
    assert drafter.decoder == stock_architecture(reference.text_config)
    assert drafter.backbone == reference.backbone_hidden_size
    ordered = (reference.num_centroids, reference.centroid_intermediate_top_k)
    assert (drafter.centroids, drafter.active_centroids) == (ordered if reference.use_ordered_embeddings else (0, 0))


@given(data=st.data(), name=st.sampled_from(shapes.NAMES))
@settings(max_examples=40, deadline=None)
def test_what_is_left_out_has_the_defaults_of_transformers(data: st.DataObject, name: str) -> None:
    values = shapes.text_config(name).to_dict()
    tied = {"model_type", "num_hidden_layers", "layer_types", "per_layer_config", "num_kv_shared_layers"}
    moe = {"enable_moe_block", "num_experts", "top_k_experts", "moe_intermediate_size"}
    dropped = data.draw(st.sets(st.sampled_from(sorted(values.keys() - tied - moe))))
    kept = {key: value for key, value in values.items() if key not in dropped}
    assert read_architecture(kept) == stock_architecture(stock(kept))


@pytest.mark.parametrize("name", NAMES)
def test_layers_may_be_numbered_as_transformers_saves_them(name: str) -> None:
    """With as many digits for each as the last one has."""
    values = stock(target_config(name)).to_dict()
    assert all(len(key) == 2 for key in values["per_layer_config"])
    assert read_architecture(json.loads(json.dumps(values))) == read_architecture(target_config(name))


def test_a_config_that_says_nothing_is_read_as_transformers_reads_it() -> None:
    for kind in ("gemma4_text", "gemma4_unified_text"):
        assert read_architecture({"model_type": kind}) == stock_architecture(stock({"model_type": kind}))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("hidden_size", "64", 'hidden_size is "64", but a whole number from 1 to 16384 is required'),
        ("hidden_size", 10**9, "hidden_size is 1000000000, but a whole number from 1 to 16384 is required"),
        ("hidden_size", 64.0, "hidden_size is 64.0, but a whole number"),
        ("sliding_window", 0, "sliding_window is 0"),
        ("sliding_window", 1e30, "sliding_window is 1e+30, but a whole number from 1 to 4096 is required"),
        ("sliding_window", float("nan"), "sliding_window is nan, but a whole number"),
        ("num_attention_heads", True, "num_attention_heads is true, but a whole number"),
        ("num_key_value_heads", 3, "num_key_value_heads of layer 0 is 3, but num_attention_heads (4) must"),
        ("head_dim", 15, "head_dim of layer 0 is 15, but an even number"),
        ("rms_norm_eps", "small", 'rms_norm_eps is "small", but a number from 1e-12 to 1 is required'),
        ("rms_norm_eps", float("inf"), "rms_norm_eps is inf, but a number"),
        ("final_logit_softcapping", -30.0, "final_logit_softcapping is -30.0, but a number"),
        ("attention_k_eq_v", 1, "attention_k_eq_v is 1, but true or false is required"),
        ("hidden_activation", "silu", 'hidden_activation is "silu", but "gelu_pytorch_tanh"'),
        ("layer_types", ["full_attention"], 'layer_types is ["full_attention"], but a list of 10 values is required'),
        ("layer_types", ["linear_attention"] * 10, 'layer_types[0] is "linear_attention", but "sliding_attention" or'),
        ("layer_types", [["full_attention"]] * 10, 'layer_types[0] is ["full_attention"], but'),
        ("layer_types", "full_attention", 'layer_types is "full_attention", but a list'),
        ("num_kv_shared_layers", 11, "num_kv_shared_layers is 11, but the model has only 10 layers"),
        (
            "per_layer_config",
            {"4": {"intermediate_size": 8}},
            "per_layer_config.4.intermediate_size is 8, but gemma does not",
        ),
        (
            "per_layer_config",
            {"10": {}},
            'per_layer_config is "10", but each key must be the number of one of the 10 layers',
        ),
        (
            "per_layer_config",
            {"4": {}, "04": {}},
            'per_layer_config is "04", but each key must be the number of one of the 10 layers, and',
        ),
        ("per_layer_config", {"-1": {}}, 'per_layer_config is "-1", but each key must be'),
        ("per_layer_config", {"\u0664": {}}, 'per_layer_config is "\u0664", but each key must be'),
        ("per_layer_config", [1], "per_layer_config is [1], but an object is required"),
        ("per_layer_config", {"0": {"head_dim": 32}}, "head_dim of sliding_attention layers is [16, 32]"),
        ("rope_parameters", {"full_attention": {"rope_theta": 1e6}}, "rope_parameters.sliding_attention is null"),
        ("rope_parameters", 3, "rope_parameters is 3, but an object is required"),
        ("use_bidirectional_attention", "all", "models with other attention do not generate text"),
        ("vocab_size_per_layer_input", 100, "vocab_size_per_layer_input is 100, but at least vocab_size (320)"),
        ("pad_token_id", 320, "pad_token_id is 320, but the vocabulary has only 320"),
        ("pad_token_id", -1, "pad_token_id is -1, but a whole number"),
        ("enable_moe_block", True, "num_experts is null, but enable_moe_block is true"),
        ("vocab_size", "x" * 10**6, f'vocab_size is "{"x" * 40}…", but a whole number'),
        ("vocab_size", int("9" * 4000), f"vocab_size is {'9' * 40}…, but a whole number"),
        ("vocab_size", [[]] * 10**6, "vocab_size is a list of 1000000, but a whole number"),
    ],
)
def test_a_field_that_cannot_be_is_named(field: str, value: object, says: str) -> None:
    with pytest.raises(FieldError, match=re.escape(says)):
        read_architecture(shapes.text_config("e2b").to_dict() | {field: value})


def test_more_experts_a_row_than_there_are_is_refused() -> None:
    values = shapes.text_config("26b-a4b").to_dict()
    with pytest.raises(FieldError, match="top_k_experts is 9, but num_experts is only 8"):
        read_architecture(values | {"top_k_experts": 9})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"num_kv_shared_layers": 10}, "sliding_attention"),
        ({"num_kv_shared_layers": 6}, "full_attention"),
        ({"layer_types": ["full_attention"] * 10, "per_layer_config": {}}, "sliding_attention"),
    ],
)
def test_a_target_has_a_layer_of_each_kind_with_keys_of_its_own(changes: dict[str, Any], kind: str) -> None:
    decoder = read_architecture(shapes.text_config("e2b").to_dict() | changes)
    with pytest.raises(FieldError, match=f"num_kv_shared_layers is .*, but a {kind} layer must have its own"):
        check_target(decoder)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("backbone_hidden_size", None, None),
        ("backbone_hidden_size", [1536], "backbone_hidden_size is [1536], but a whole number"),
        ("num_centroids", 3, "num_centroids is 3, but the vocabulary size (262144) must"),
        ("centroid_intermediate_top_k", 4096, "centroid_intermediate_top_k is 4096, but num_centroids is only 2048"),
        ("use_ordered_embeddings", "yes", 'use_ordered_embeddings is "yes", but true or false is required'),
    ],
)
def test_a_field_of_a_drafter_that_cannot_be_is_named(field: str, value: object, says: str | None) -> None:
    config = drafter_config("e2b") | {field: value}
    decoder = read_architecture(config["text_config"])
    if says is None:
        assert read_drafter(config, decoder).backbone == 1536
        return
    with pytest.raises(FieldError, match=re.escape(says)):
        read_drafter(config, decoder)


def test_rotations_nobody_has_measured_are_refused() -> None:
    yarn = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 8.0}
    values = shapes.text_config("e2b").to_dict()
    with pytest.raises(FieldError, match=r'rope_parameters.full_attention.rope_type is "yarn", but "default" or'):
        read_architecture(values | {"rope_parameters": values["rope_parameters"] | {"full_attention": yarn}})


def test_a_drafter_with_keys_of_its_own_is_refused() -> None:
    with pytest.raises(FieldError, match="num_kv_shared_layers is 60, but a drafter cannot have its own keys"):
        read_drafter({}, read_architecture(target_config("31b")))
