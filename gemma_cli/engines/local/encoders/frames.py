"""Frames of videos, scaled as transformers' Gemma4VideoProcessor scales them.

That one calls torchvision, which for pixels of 8 bits calls the operator used here; Pillow's, which scales pictures,
rounds differently by a grey level now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    import numpy as np


def scaled(pixels: np.ndarray, processor: Any, budget: int | None) -> np.ndarray:
    """Return uint8 [height, width, 3] at the size within the budget of a frame.

    processor: the checkpoint's image processor, which knows its patches. Raises ValueError for what has no size there.
    """
    from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size

    height, width, _ = pixels.shape
    pooled = processor.pooling_kernel_size
    patches = (budget or processor.max_soft_tokens) * pooled**2
    size = get_aspect_ratio_preserving_size(height, width, processor.patch_size, patches, pooled)
    if size == (height, width):
        return pixels
    frame = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
    found: np.ndarray = F.interpolate(frame, size, mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()
    return found
