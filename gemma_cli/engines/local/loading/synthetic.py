"""`synthetic:e2b`, `synthetic:e4b`, `synthetic:12b`, `synthetic:26b-a4b`, `synthetic:31b`: the released models' shapes
with random weights, made on the device. They say nothing sensible; they take the time and memory the real ones take,
so a machine can be measured without a download.

    open_synthetic("e2b", device, dtype) -> (Target, Drafter)

Shapes: transformers' conversion scripts and configs for the targets, published drafter configs and model cards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gemma_cli.core.engine import Quantization
from gemma_cli.core.errors import UsageError
from gemma_cli.engines.local.allocator import freed_at_once
from gemma_cli.engines.local.loading.build import build_drafter, build_target
from gemma_cli.engines.local.loading.random_weights import RandomWeights
from gemma_cli.engines.local.loading.saved_rules import row_rule
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.layers.quantized import of_drafter
from gemma_cli.engines.local.model.schema.architecture import read_architecture, read_drafter
from gemma_cli.engines.local.model.target import Target

VOCAB = 262144

_EDGE = {
    "vocab_size_per_layer_input": VOCAB,
    "hidden_size_per_layer_input": 256,
    "sliding_window": 512,
    "max_position_embeddings": 131072,
    "num_attention_heads": 8,
}
_LARGE = {
    "attention_k_eq_v": True,
    "use_bidirectional_attention": "vision",
    "sliding_window": 1024,
    "max_position_embeddings": 262144,
}
_NO_PLE = {"hidden_size_per_layer_input": 0}

# Sliding layers to each full one, then what the config says.
_TARGETS: dict[str, tuple[int, dict[str, Any]]] = {
    "e2b": (
        4,
        _EDGE
        | {"num_hidden_layers": 35, "hidden_size": 1536, "intermediate_size": 6144, "num_key_value_heads": 1}
        | {"num_kv_shared_layers": 20, "use_double_wide_mlp": True},
    ),
    "e4b": (
        5,
        _EDGE
        | {"num_hidden_layers": 42, "hidden_size": 2560, "intermediate_size": 10240, "num_key_value_heads": 2}
        | {"num_kv_shared_layers": 18},
    ),
    "12b": (
        5,
        _LARGE
        | {"num_hidden_layers": 48, "hidden_size": 3840, "intermediate_size": 15360, "num_attention_heads": 16}
        | {"num_key_value_heads": 8, "num_global_key_value_heads": 1},
    ),
    "26b-a4b": (
        5,
        _LARGE
        | _NO_PLE
        | {"num_hidden_layers": 30, "hidden_size": 2816, "intermediate_size": 2112, "num_attention_heads": 16}
        | {"num_key_value_heads": 8, "num_global_key_value_heads": 2, "enable_moe_block": True}
        | {"num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 704},
    ),
    "31b": (
        5,
        _LARGE
        | _NO_PLE
        | {"num_hidden_layers": 60, "hidden_size": 5376, "intermediate_size": 21504, "num_attention_heads": 32}
        | {"num_key_value_heads": 16, "num_global_key_value_heads": 4},
    ),
}
NAMES = tuple(_TARGETS)


@freed_at_once()
def open_synthetic(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    quantize: Quantization | None = None,
    lies: Sequence[torch.device] = (),
) -> tuple[Target, Drafter]:
    """A target of a released shape and its drafter. lies: as load.load_target's. UsageError: no such shape, or the
    device cannot run `quantize`."""
    source = RandomWeights(device, dtype, quantize)
    target = build_target(read_architecture(target_config(name)), source, device, dtype, lies)
    target.set_rows(row_rule(target))
    config = drafter_config(name)
    shape = read_drafter(config, read_architecture(config["text_config"]))
    return target, build_drafter(shape, RandomWeights(device, dtype, of_drafter(quantize)), target)


def target_config(name: str) -> dict[str, Any]:
    """The text config of a released target, as config.json would hold it."""
    if name not in _TARGETS:
        raise UsageError(f"unknown synthetic model {name!r}; choose one of {', '.join(NAMES)}")
    sliding, values = _TARGETS[name]
    kinds = [_kind(index, sliding) for index in range(values["num_hidden_layers"])]
    fixed = {"model_type": _text_type(name), "vocab_size": VOCAB, "final_logit_softcapping": 30.0}
    return values | fixed | {"layer_types": kinds}


def drafter_config(name: str) -> dict[str, Any]:
    """The config of the drafter that belongs to a released target."""
    target = _TARGETS[name][1]
    edge = name in ("e2b", "e4b")
    shared = ("sliding_window", "max_position_embeddings", "num_key_value_heads")
    values = {key: target[key] for key in (*shared, "attention_k_eq_v", "num_global_key_value_heads") if key in target}
    values |= (
        {"hidden_size": 256, "intermediate_size": 2048} if edge else {"hidden_size": 1024, "intermediate_size": 8192}
    )
    values |= {"num_attention_heads": 4 if edge else target["num_attention_heads"], "vocab_size": VOCAB}
    values |= {
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 4,
        "layer_types": [_kind(index, 3) for index in range(4)],
    }
    pair = {"backbone_hidden_size": target["hidden_size"], "use_ordered_embeddings": edge}
    if name != "12b":
        values |= _NO_PLE | {"vocab_size_per_layer_input": 0}
    kind = "gemma4_unified_assistant" if name == "12b" else "gemma4_assistant"
    return pair | {"model_type": kind, "text_config": values | {"model_type": _text_type(name)}}


def _text_type(name: str) -> str:
    return "gemma4_unified_text" if name == "12b" else "gemma4_text"


def _kind(index: int, sliding: int) -> str:
    return "sliding_attention" if (index + 1) % (sliding + 1) else "full_attention"
