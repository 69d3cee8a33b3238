"""What config.json says, held to transformers' own config classes: the same shapes from the same values, whichever
fields are left out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gemma4.modeling_gemma4 import Gemma4TextRotaryEmbedding

from gemma_cli.engines.local.loading.synthetic import NAMES, drafter_config, target_config
from gemma_cli.engines.local.model.architecture import Architecture, LayerShape, read_architecture, read_drafter
from tests.engines import shapes


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


def test_a_config_that_says_nothing_is_read_as_transformers_reads_it() -> None:
    for kind in ("gemma4_text", "gemma4_unified_text"):
        assert read_architecture({"model_type": kind}) == stock_architecture(stock({"model_type": kind}))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("hidden_size", "64", "hidden_size is '64', not a whole number"),
        ("sliding_window", 0, "sliding_window is 0"),
        ("num_attention_heads", True, "num_attention_heads is True"),
        ("rms_norm_eps", "small", "rms_norm_eps is 'small', not a number"),
        ("attention_k_eq_v", 1, "attention_k_eq_v is 1, neither true nor false"),
        ("layer_types", ["full_attention"], "layer_types is not a list of 10"),
        ("layer_types", ["linear_attention"] * 10, "layer_types is not a list of 10"),
        ("num_kv_shared_layers", 11, "num_kv_shared_layers is more than the 10 layers"),
        ("per_layer_config", {"4": {"intermediate_size": 8}}, "gives layers a intermediate_size of their own"),
        ("per_layer_config", [1], "per_layer_config is not a table"),
        ("rope_parameters", {"full_attention": {"rope_theta": 1e6}}, "rope_parameters does not say how the sliding"),
        ("rope_parameters", 3, "rope_parameters does not say"),
        ("use_bidirectional_attention", "all", "such a model does not write"),
    ],
)
def test_a_field_that_cannot_be_is_named(field: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        read_architecture(shapes.text_config("e2b").to_dict() | {field: value})


def test_rotations_nobody_has_measured_are_refused() -> None:
    yarn = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 8.0}
    values = shapes.text_config("e2b").to_dict()
    with pytest.raises(ValueError, match="rope_type 'yarn' is not supported"):
        read_architecture(values | {"rope_parameters": values["rope_parameters"] | {"full_attention": yarn}})


def test_a_drafter_with_keys_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="neither keys of its own"):
        read_drafter({}, read_architecture(target_config("31b")))
