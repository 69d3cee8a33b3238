"""One training pass of the genuine text decoder over a packed batch."""

from typing import Any

import torch
from torch.nn import functional as F
from transformers import Gemma4ForConditionalGeneration

from training.stages.packing import Batch


def hidden_states(model: Gemma4ForConditionalGeneration, batch: Batch, **more: object) -> Any:
    """The text model's output for packed rows, with soft tokens in their places as `Gemma4Model.forward` puts them."""
    core, config = model.model, model.config
    media = {"image": config.image_token_id, "audio": config.audio_token_id}
    is_media = torch.zeros_like(batch.ids, dtype=torch.bool)
    for token in media.values():
        is_media |= batch.ids == token
    ids = torch.where(is_media, config.text_config.pad_token_id, batch.ids)
    embeddings = core.language_model.embed_tokens(ids)
    per_layer = core.language_model.get_per_layer_inputs(ids, embeddings)
    for medium, features in batch.features.items():
        embedder = core.embed_audio if medium == "audio" else core.embed_vision
        place = (batch.ids == media[medium])[..., None].expand_as(embeddings)
        embeddings = embeddings.masked_scatter(place, embedder(features).to(embeddings))
    return core.language_model(
        inputs_embeds=embeddings,
        per_layer_inputs=per_layer,
        attention_mask={"full_attention": batch.full, "sliding_attention": batch.sliding},
        position_ids=batch.positions,
        use_cache=False,
        **more,
    )


def logits_of(model: Gemma4ForConditionalGeneration, hidden: torch.Tensor) -> torch.Tensor:
    """The head on chosen positions only: (n, hidden) -> (n, vocabulary), soft-capped as the model does."""
    cap = model.config.text_config.final_logit_softcapping
    logits: torch.Tensor = cap * torch.tanh(model.lm_head(hidden) / cap)
    return logits


def loss_and_accuracy(model: Gemma4ForConditionalGeneration, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy over the wanted tokens, each answer weighing as the root of its length; share predicted right."""
    hidden = hidden_states(model, batch).last_hidden_state
    logits = logits_of(model, hidden.flatten(0, 1)[batch.predictors])
    losses = F.cross_entropy(logits, batch.targets, reduction="none")
    right = (logits.argmax(-1) == batch.targets).float()
    return (losses * batch.weights).sum() / batch.weights.sum(), right
