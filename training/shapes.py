"""The pocket model's shapes: Gemma 4's own classes, every number small, and how its weights begin.

The traits of E2B are all kept: per-layer embeddings, four sliding layers to each full one, the last layers reusing
earlier keys and values, a larger head in full layers with a quarter of it rotated, query/key/value norms, soft-capped
logits, a conformer that hears at 25 Hz, a vision tower with pooled patches, a drafter that reads the target's KV.
"""

import torch
from torch import nn
from transformers import (
    Gemma4AssistantConfig,
    Gemma4AssistantForCausalLM,
    Gemma4AudioConfig,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4TextConfig,
    Gemma4VisionConfig,
    PreTrainedModel,
)
from transformers.models.gemma4 import modeling_gemma4 as gemma4

from training.data.speech import MEL_BINS

VOCABULARY = 2_048
HIDDEN = 192
WINDOW = 128
HEADS, HEAD_DIM, GLOBAL_HEAD_DIM, KV_HEADS = 4, 32, 64, 2
LAYER_TYPES = ["sliding_attention"] * 4 + ["full_attention"] + ["sliding_attention"] * 2 + ["full_attention"]
CONTEXT = 4_096


def audio_config() -> Gemma4AudioConfig:
    """The audio tower: 40 ms a token, four conformer layers, each looking half a second back."""
    return Gemma4AudioConfig(
        hidden_size=144,
        num_hidden_layers=4,
        num_attention_heads=4,
        subsampling_conv_channels=[MEL_BINS, 24],  # the class takes the mel bins from the first number
        output_proj_dims=HIDDEN,
        use_clipped_linears=False,
    )


def vision_config() -> Gemma4VisionConfig:
    """The vision tower: 16-pixel patches pooled two by two, so a square picture is 64 tokens of 32 pixels."""
    return Gemma4VisionConfig(
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=32,
        pooling_kernel_size=2,
        position_embedding_size=512,
        default_output_length=70,  # vLLM reads it
    )


def text_config() -> Gemma4TextConfig:
    """The text decoder: eight layers, full attention at the fifth and last, the last three without KV of their own."""
    return Gemma4TextConfig(
        vocab_size=VOCABULARY,
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=384,
        num_hidden_layers=len(LAYER_TYPES),
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        global_head_dim=GLOBAL_HEAD_DIM,
        hidden_size_per_layer_input=16,
        layer_types=list(LAYER_TYPES),
        num_kv_shared_layers=3,
        sliding_window=WINDOW,
        max_position_embeddings=CONTEXT,
        final_logit_softcapping=30.0,
        use_double_wide_mlp=False,
    )


def target_config(ids: dict[str, int]) -> Gemma4Config:
    """The whole model. ids: the control tokens' ids, from the tokenizer."""
    return Gemma4Config(
        text_config=text_config(),
        vision_config=vision_config(),
        audio_config=audio_config(),
        boi_token_id=ids["<|image>"],
        eoi_token_id=ids["<image|>"],
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        boa_token_id=ids["<|audio>"],
        eoa_token_index=ids["<audio|>"],
        audio_token_id=ids["<|audio|>"],
    )


def drafter_config() -> Gemma4AssistantConfig:
    """The drafter: one sliding and one full layer over the target's keys and values, 64 centroids of 32 tokens."""
    text = Gemma4TextConfig(
        vocab_size=VOCABULARY,
        vocab_size_per_layer_input=0,
        hidden_size_per_layer_input=0,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        global_head_dim=GLOBAL_HEAD_DIM,
        layer_types=["sliding_attention", "full_attention"],
        num_kv_shared_layers=2,
        sliding_window=WINDOW,
        max_position_embeddings=CONTEXT,
        use_double_wide_mlp=False,
    )
    return Gemma4AssistantConfig(
        text_config=text,
        backbone_hidden_size=HIDDEN,
        use_ordered_embeddings=True,
        num_centroids=64,
        centroid_intermediate_top_k=8,
    )


@torch.no_grad()
def begin(model: PreTrainedModel) -> None:
    """Overwrite the library's starting weights where they would waste the first thousand steps.

    Attention is unscaled behind query and key norms, so norms of one start the logits at a deviation of sqrt(head_dim):
    both begin at head_dim ** -0.25. The vision tower's position table begins at ones, that is without position. The
    embedding is tied to the head and scaled by sqrt(hidden) on the way in: 0.02 gives logits of about one tenth.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear) and not isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.7 * module.in_features**-0.5)
        if isinstance(module, gemma4.Gemma4TextAttention | gemma4.Gemma4VisionAttention):
            module.q_norm.weight.fill_(module.head_dim**-0.25)
            if hasattr(module, "k_norm"):
                module.k_norm.weight.fill_(module.head_dim**-0.25)
        if isinstance(module, gemma4.Gemma4VisionPatchEmbedder):
            nn.init.normal_(module.position_embedding_table, std=0.3)
    for name, parameter in model.named_parameters():
        if name.endswith(("embed_tokens.weight", "embed_tokens_per_layer.weight")):
            nn.init.normal_(parameter, std=0.05)
    model.tie_weights()


def new_target(ids: dict[str, int], seed: int = 0) -> Gemma4ForConditionalGeneration:
    """An untrained pocket model in float32; packed rows pass boolean masks, which sdpa takes and eager does not."""
    torch.manual_seed(seed)
    model = Gemma4ForConditionalGeneration._from_config(target_config(ids), attn_implementation="eager")
    model.set_attn_implementation({"text_config": "sdpa", "vision_config": "sdpa"})  # the audio tower knows eager alone
    begin(model)
    return model


def new_drafter(seed: int = 0) -> Gemma4AssistantForCausalLM:
    """An untrained drafter in float32."""
    torch.manual_seed(seed)
    model = Gemma4AssistantForCausalLM._from_config(drafter_config(), attn_implementation="sdpa")
    begin(model)
    return model


def new_audio_tower(seed: int = 0) -> gemma4.Gemma4AudioModel:
    """An untrained audio tower in float32."""
    torch.manual_seed(seed)
    model = gemma4.Gemma4AudioModel._from_config(audio_config())
    begin(model)
    return model


def new_vision_tower(seed: int = 0) -> gemma4.Gemma4VisionModel:
    """An untrained vision tower in float32."""
    torch.manual_seed(seed)
    model = gemma4.Gemma4VisionModel._from_config(vision_config(), attn_implementation="sdpa")
    begin(model)
    return model
