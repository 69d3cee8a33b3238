"""Every field of a checkpoint's JSON files that is read here, with its rule and its default.

Defaults are those of transformers' classes; tests compare them. Ranges end at a few times the largest released model:
up to there the estimate of memory (estimate.py), which runs before anything is allocated, is itself bounded in memory
and time. architecture.py and media_config.py check that fields fit each other.
"""

from __future__ import annotations

from typing import Any, Literal

from gemma_cli.engines.local.model.schema.json_fields import (
    REQUIRED,
    Either,
    Flag,
    Integer,
    ListOf,
    Number,
    Object,
    OneOf,
    Rule,
    TableOf,
    Text,
)

Kind = Literal["sliding_attention", "full_attention"]
SLIDING: Kind = "sliding_attention"
FULL: Kind = "full_attention"

VOCAB = Integer(1, 1 << 20)
HIDDEN = Integer(1, 1 << 14)
EPSILON = Number(1e-12, 1)
THETA = Number(1, 1e12)

Fields = dict[str, tuple[Rule, Any]]

_ROPE = Object(
    {
        "rope_type": (OneOf(("default", "proportional"), ": gemma supports no other rotation"), "default"),
        "rope_theta": (THETA, REQUIRED),
        "partial_rotary_factor": (Number(1e-3, 1), 1.0),
        "factor": (Number(1e-3, 1e6), 1.0),
    }
)

_PER_LAYER = Object({"head_dim": (Integer(2, 4096), None), "num_key_value_heads": (Integer(1, 512), None)}, closed=True)

_TEXT: Fields = {
    "hidden_size": (HIDDEN, 2304),
    "intermediate_size": (Integer(1, 1 << 18), 9216),
    "hidden_activation": (OneOf(("gelu_pytorch_tanh",), ": gemma supports no other activation"), "gelu_pytorch_tanh"),
    "num_hidden_layers": (Integer(1, 256), 30),
    "num_attention_heads": (Integer(1, 512), 8),
    "num_key_value_heads": (Integer(1, 512), 4),
    "head_dim": (Integer(2, 4096), 256),
    "global_head_dim": (Integer(2, 4096), 512),
    "num_global_key_value_heads": (Integer(1, 512), None),
    "per_layer_config": (TableOf(_PER_LAYER), {}),
    "layer_types": (ListOf(OneOf((SLIDING, FULL)), 1, 256), None),
    "num_kv_shared_layers": (Integer(0, 256), 0),
    "attention_k_eq_v": (Flag(), False),
    "use_double_wide_mlp": (Flag(), False),
    "vocab_size": (VOCAB, 262_144),
    "sliding_window": (Integer(1, 4096), 512),
    "max_position_embeddings": (Integer(1, 1 << 24), 131_072),
    "rms_norm_eps": (EPSILON, 1e-6),
    "final_logit_softcapping": (Number(1e-3, 1e6), None),
    "pad_token_id": (Integer(0, 1 << 20), 0),
    "tie_word_embeddings": (Flag(), True),
    "rope_parameters": (Object({SLIDING: (_ROPE, None), FULL: (_ROPE, None)}), None),
    "use_bidirectional_attention": (
        OneOf((None, "vision"), ": models with other attention do not generate text"),
        None,
    ),
}

TEXT = Object(
    _TEXT
    | {
        "hidden_size_per_layer_input": (Integer(0, 8192), 256),
        "vocab_size_per_layer_input": (Integer(0, 1 << 20), 262_144),
        "enable_moe_block": (Flag(), False),
        "num_experts": (Integer(1, 1024), None),
        "top_k_experts": (Integer(1, 1024), None),
        "moe_intermediate_size": (Integer(1, 1 << 17), None),
    }
)
"""The decoder of a target or a drafter: Gemma4TextConfig."""

UNIFIED_TEXT = Object(
    _TEXT
    | {
        "sliding_window": (_TEXT["sliding_window"][0], 1024),
        "max_position_embeddings": (_TEXT["max_position_embeddings"][0], 262_144),
        "use_bidirectional_attention": (_TEXT["use_bidirectional_attention"][0], "vision"),
        "hidden_size_per_layer_input": (Integer(0, 0), 0),
        "vocab_size_per_layer_input": (Integer(0, 1 << 20), 0),
        "enable_moe_block": (OneOf((False,), ": gemma supports no experts in models of this type"), False),
    }
)
"""The decoder of the 12B kind: Gemma4UnifiedTextConfig."""

_DRAFTER: Fields = {
    "use_ordered_embeddings": (Flag(), False),
    "num_centroids": (Integer(1, 1 << 16), 2048),
    "centroid_intermediate_top_k": (Integer(1, 1 << 16), 32),
}
DRAFTER = Object(_DRAFTER | {"backbone_hidden_size": (HIDDEN, 1536)})
UNIFIED_DRAFTER = Object(_DRAFTER | {"backbone_hidden_size": (HIDDEN, 3840)})
"""Fields of a drafter's config outside its text_config."""

_GROUP = Object(
    {
        "num_bits": (OneOf((4,)), REQUIRED),
        "type": (OneOf(("int",)), REQUIRED),
        "symmetric": (OneOf((True,)), REQUIRED),
        "strategy": (OneOf(("group",)), REQUIRED),
        "group_size": (OneOf((32, 64, 128, 256)), REQUIRED),
        "actorder": (OneOf(("weight", "static")), None),
    }
)
QUANTIZATION = Object(
    {
        "quant_method": (OneOf(("compressed-tensors",)), REQUIRED),
        "format": (OneOf(("pack-quantized",)), REQUIRED),
        "config_groups": (
            TableOf(
                Object(
                    {
                        "weights": (_GROUP, REQUIRED),
                        "input_activations": (OneOf((None,)), None),
                        "output_activations": (OneOf((None,)), None),
                    }
                ),
                least=1,
            ),
            REQUIRED,
        ),
    }
)
"""The one form of quantized weights that is read: see compressed_tensors.py."""

_ACTIVATION = OneOf(("gelu_pytorch_tanh", "gelu", "gelu_new", "relu", "silu"))

VISION = Object(
    {
        "hidden_size": (Integer(1, 8192), 768),
        "intermediate_size": (Integer(1, 1 << 16), 3072),
        "num_hidden_layers": (Integer(1, 128), 16),
        "num_attention_heads": (Integer(1, 256), 12),
        "num_key_value_heads": (Integer(1, 256), 12),
        "head_dim": (Integer(4, 512), 64),
        "hidden_activation": (_ACTIVATION, "gelu_pytorch_tanh"),
        "rms_norm_eps": (EPSILON, 1e-6),
        "attention_bias": (Flag(), False),
        "rope_parameters": (
            Object({"rope_type": (OneOf(("axial",)), "axial"), "rope_theta": (THETA, 100.0)}),
            {"rope_type": "axial", "rope_theta": 100.0},
        ),
        "pooling_kernel_size": (Integer(1, 4), 3),
        "patch_size": (Integer(1, 64), 16),
        "position_embedding_size": (Integer(1, 1 << 16), 10 * 1024),
        "use_clipped_linears": (Flag(), False),
        "standardize": (Flag(), False),
    }
)
"""The vision tower: Gemma4VisionConfig."""

UNIFIED_VISION = Object(
    {
        "patch_size": (Integer(1, 64), 16),
        "pooling_kernel_size": (Integer(1, 4), 3),
        "mm_embed_dim": (HIDDEN, 3840),
        "mm_posemb_size": (Integer(1, 1 << 16), 1120),
        "rms_norm_eps": (EPSILON, 1e-6),
        "output_proj_dims": (HIDDEN, 3840),
    }
)

AUDIO = Object(
    {
        "hidden_size": (Integer(2, 8192), 1024),
        "num_hidden_layers": (Integer(1, 128), 12),
        "num_attention_heads": (Integer(1, 256), 8),
        "hidden_act": (_ACTIVATION, "silu"),
        "subsampling_conv_channels": (ListOf(Integer(4, 1024), 2, 2), [128, 32]),
        "conv_kernel_size": (Integer(1, 64), 5),
        "residual_weight": (Number(-1e3, 1e3), 0.5),
        "attention_chunk_size": (Integer(1, 256), 12),
        "attention_context_left": (Integer(1, 256), 13),
        "attention_context_right": (Integer(0, 256), 0),
        "attention_logit_cap": (Number(1e-3, 1e6), 50.0),
        "attention_invalid_logits_value": (Number(-1e38, 0), -1e9),
        "use_clipped_linears": (Flag(), True),
        "rms_norm_eps": (EPSILON, 1e-6),
        "gradient_clipping": (Number(1e-3, 1e38), 1e10),
        "output_proj_dims": (HIDDEN, 1536),
    }
)
"""The audio tower: Gemma4AudioConfig."""

UNIFIED_AUDIO = Object({"audio_embed_dim": (Integer(1, 1 << 14), 640), "rms_norm_eps": (EPSILON, 1e-6)})

_CHANNELS = ListOf(Number(-1e6, 1e6), 3, 3)

IMAGE_PROCESSOR = Object(
    {
        "do_convert_rgb": (Flag(), True),
        "do_resize": (OneOf((True,)), True),
        "resample": (Integer(0, 5), 3),
        "do_rescale": (Flag(), True),
        "rescale_factor": (Number(-1e6, 1e6), 1 / 255),
        "do_normalize": (Flag(), False),
        "image_mean": (_CHANNELS, [0.0, 0.0, 0.0]),
        "image_std": (ListOf(Number(1e-6, 1e6), 3, 3), [1.0, 1.0, 1.0]),
        "patch_size": (Integer(1, 64), 16),
        "max_soft_tokens": (OneOf((70, 140, 280, 560, 1120)), 280),
        "pooling_kernel_size": (Integer(1, 4), 3),
    }
)
"""Fields of the image processor: Gemma4ImageProcessorPil."""

_NO_DITHER = OneOf((0, 0.0), ": with dither, the same sound would be encoded differently each time")
_BINS = ListOf(Number(-1e6, 1e6), 1, 1024)

FEATURE_EXTRACTOR = Object(
    {
        "feature_size": (Integer(4, 1024), 128),
        "sampling_rate": (OneOf((16_000,)), 16_000),
        "padding_value": (Number(-1, 1), 0.0),
        "frame_length_ms": (Number(5, 40), 20.0),
        "hop_length_ms": (Number(5, 40), 10.0),
        "min_frequency": (Number(0, 7000), 0.0),
        "max_frequency": (Number(7000.5, 8000), 8000.0),
        "preemphasis": (Number(0, 1), 0.0),
        "preemphasis_htk_flavor": (Flag(), True),
        "fft_overdrive": (Flag(), False),
        "dither": (_NO_DITHER, 0.0),
        "input_scale_factor": (Number(-1e6, 1e6), 1.0),
        "mel_floor": (Number(1e-12, 1), 1e-3),
        "per_bin_mean": (_BINS, None),
        "per_bin_stddev": (ListOf(Number(1e-6, 1e6), 1, 1024), None),
    }
)
"""Fields of the audio feature extractor: Gemma4AudioFeatureExtractor."""

UNIFIED_FEATURE_EXTRACTOR = Object(
    {
        "feature_size": (Integer(1, 1 << 14), 640),
        "sampling_rate": (OneOf((16_000,)), 16_000),
        "padding_value": (Number(-1, 1), 0.0),
        "audio_samples_per_token": (Integer(1, 1 << 14), 640),
    }
)

_TOKEN_ID = Integer(0, (1 << 20) - 1)
_TOKEN_IDS = ListOf(_TOKEN_ID, 0, 1 << 20)

GENERATION = Object({"eos_token_id": (Either((_TOKEN_ID, _TOKEN_IDS)), []), "suppress_tokens": (_TOKEN_IDS, [])})
"""generation_config.json."""

TOKEN = Either((Text(1, 200), Object({"content": (Text(1, 200), REQUIRED)})))
"""A control token: a string, or an object that contains it."""

_TEMPLATE = Text(0, 1 << 20)
_TEMPLATES = ListOf(Object({"name": (Text(), REQUIRED), "template": (_TEMPLATE, REQUIRED)}), 0, 100)

TOKENIZER = Object(
    {
        "model_specific_special_tokens": (TableOf(TOKEN), {}),
        "extra_special_tokens": (Either((ListOf(TOKEN, 0, 10_000), TableOf(TOKEN))), None),
        "additional_special_tokens": (ListOf(TOKEN, 0, 10_000), []),
        "chat_template": (Either((_TEMPLATE, _TEMPLATES)), None),
    }
)
"""tokenizer_config.json, which also names tokens: each field that ends in "_token"."""
