"""Tiny Gemma 4 models of every released shape, with random weights, as stock transformers modules.

Every norm, scalar and router scale is random too, so that leaving one out shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Gemma4AssistantConfig,
    Gemma4AssistantForCausalLM,
    Gemma4Config,
    Gemma4ForCausalLM,
    Gemma4ForConditionalGeneration,
    Gemma4TextConfig,
    Gemma4UnifiedAssistantConfig,
    Gemma4UnifiedAssistantForCausalLM,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedTextConfig,
)

WINDOW = 24
VOCAB = 320
IMAGE, AUDIO, VIDEO = 300, 301, 302

NAMES = ("e2b", "e4b", "12b", "26b-a4b", "31b")

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "head_dim": 16,
    "global_head_dim": 32,
    "sliding_window": WINDOW,
    "max_position_embeddings": 4096,
    "final_logit_softcapping": 30.0,
    "bos_token_id": 2,
}
_EDGE = {"vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 16}
_LARGE = {"attention_k_eq_v": True, "num_global_key_value_heads": 1, "use_bidirectional_attention": "vision"}
_NO_EDGE = {"vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 0}


def _layers(pattern: str) -> list[str]:
    return [{"s": "sliding_attention", "f": "full_attention"}[kind] for kind in pattern]


_TEXT: dict[str, dict[str, Any]] = {
    "e2b": _EDGE
    | {
        "num_hidden_layers": 10,
        "layer_types": _layers("ssssf" * 2),
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "num_kv_shared_layers": 5,
        "use_double_wide_mlp": True,
    },
    "e4b": _EDGE
    | {
        "num_hidden_layers": 9,
        "layer_types": _layers("ssf" * 3),
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_kv_shared_layers": 4,
    },
    "12b": _LARGE
    | {
        "num_hidden_layers": 6,
        "layer_types": _layers("sssssf"),
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "26b-a4b": _LARGE
    | _NO_EDGE
    | {
        "num_hidden_layers": 4,
        "layer_types": _layers("ssfsf"[1:]),
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "enable_moe_block": True,
        "num_experts": 8,
        "top_k_experts": 3,
        "moe_intermediate_size": 24,
    },
    "31b": _LARGE
    | _NO_EDGE
    | {
        "num_hidden_layers": 6,
        "layer_types": _layers("ssfssf"),
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "num_global_key_value_heads": 2,
    },
}


def text_config(name: str, **changes: Any) -> Gemma4TextConfig | Gemma4UnifiedTextConfig:
    kind = Gemma4UnifiedTextConfig if name == "12b" else Gemma4TextConfig
    return kind(**(_COMMON | _TEXT[name] | changes))


def stock_target(name: str, seed: int = 0, **changes: Any) -> Any:
    """The ...ForConditionalGeneration of a shape, without towers, float32, weights random."""
    kind, config_kind = (
        (Gemma4UnifiedForConditionalGeneration, Gemma4UnifiedConfig)
        if name == "12b"
        else (Gemma4ForConditionalGeneration, Gemma4Config)
    )
    config = config_kind(
        text_config=text_config(name, **changes),
        vision_config=None,
        audio_config=None,
        image_token_id=IMAGE,
        audio_token_id=AUDIO,
        video_token_id=VIDEO,
    )
    return randomise(kind(config), seed)


def stock_text_only(name: str, seed: int = 0) -> Gemma4ForCausalLM:
    """A decoder saved on its own: model_type gemma4_text."""
    return randomise(Gemma4ForCausalLM(text_config(name)), seed)


def stock_drafter(name: str, seed: int = 1, *, centroids: bool | None = None) -> Any:
    """The drafter of a shape: centroid head for E2B and E4B, dense for the others."""
    text = _COMMON | {key: _TEXT[name][key] for key in ("num_attention_heads", "num_key_value_heads")}
    text |= {key: _TEXT[name][key] for key in ("attention_k_eq_v", "num_global_key_value_heads") if key in _TEXT[name]}
    text |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "layer_types": _layers("sssf")}
    text |= {"num_kv_shared_layers": 4, "final_logit_softcapping": None}
    unified = name == "12b"
    if not unified:
        text |= {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    ordered = name in ("e2b", "e4b") if centroids is None else centroids
    values = {
        "backbone_hidden_size": _COMMON["hidden_size"],
        "use_ordered_embeddings": ordered,
        "num_centroids": 16,
        "centroid_intermediate_top_k": 4,
    }
    if unified:
        config = Gemma4UnifiedAssistantConfig(text_config=Gemma4UnifiedTextConfig(**text), **values)
        drafter = Gemma4UnifiedAssistantForCausalLM(config)
    else:
        drafter = Gemma4AssistantForCausalLM(Gemma4AssistantConfig(text_config=Gemma4TextConfig(**text), **values))
    randomise(drafter, seed)
    if ordered:
        order = torch.randperm(VOCAB, generator=torch.Generator().manual_seed(seed))
        drafter.masked_embedding.token_ordering.copy_(order)
    return drafter


def randomise(model: Any, seed: int) -> Any:
    """Weights of sensible size for logits that differ between tokens, drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if not value.is_floating_point() or "inv_freq" in name or "embed_scale" in name:
            continue
        noise = torch.randn(value.shape, generator=generator)
        with torch.no_grad():
            if "q_norm" in name or "k_norm" in name:
                value.copy_(1.2 * value.shape[0] ** -0.25 * (1 + 0.2 * noise))
            elif value.dim() == 1:
                value.copy_(1 + 0.1 * noise)
            elif "embed_tokens" in name:
                value.copy_(noise * 0.6)
            else:
                value.copy_(noise * value.shape[-1] ** -0.5)
    return model.eval()


def save(model: Any, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    return folder
