"""Voice activity detection with Silero's network, over a block of frames at a time.

The package silero-vad (MIT) provides the weights as plain tensors. Its own front end calls TorchScript, which torch has
deprecated, once per frame of 32 ms, and sets torch to one thread on import. The network is small, so it is implemented
here; on blocks of frames it takes a tenth of the time.

It misses speech below -40 dB of full scale, so quiet sound is amplified first.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gemma_cli.core.errors import GemmaError
from gemma_cli.media.sound.level import Leveller

if TYPE_CHECKING:
    import numpy as np
    import torch

FRAME = 512
"""Samples at 16 kHz (32 ms) that get one probability."""

_CONTEXT = 64  # samples of the frame before
_WINDOW, _STRIDE = 256, 128  # of the short-time Fourier transform
_CELLS = 128


class VoiceDetector:
    """The probability of speech in each frame of one recording, given in order."""

    def __init__(self) -> None:
        import torch

        self._weights = _weights()
        self._context = torch.zeros(_CONTEXT)
        self._state = (torch.zeros(1, 1, _CELLS), torch.zeros(1, 1, _CELLS))
        self._leveller = Leveller(FRAME)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """float32 [frames] in [0, 1] for float32 [frames * FRAME] at 16 kHz; frames >= 1."""
        import torch

        with torch.inference_mode():
            known = torch.cat([self._context, torch.from_numpy(self._leveller(samples))])
            self._context = known[-_CONTEXT:].clone()
            return self._probabilities(known.unfold(0, _CONTEXT + FRAME, FRAME)).numpy()

    def _probabilities(self, frames: torch.Tensor) -> torch.Tensor:
        """[frames] of [frames, _CONTEXT + FRAME] samples; moves the state on."""
        from torch.nn.functional import conv1d, linear, pad

        weights = self._weights
        spectrum = conv1d(pad(frames, (0, _CONTEXT), "reflect")[:, None], weights["stft_conv.weight"], stride=_STRIDE)
        bins = _WINDOW // 2 + 1
        hidden = (spectrum[:, :bins].square() + spectrum[:, bins:].square()).sqrt()
        for layer, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
            weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
            hidden = conv1d(hidden, weight, bias, stride=stride, padding=1).relu()
        hidden = self._remembered(hidden.squeeze(-1))
        weight, bias = weights["final_conv.weight"].squeeze(-1), weights["final_conv.bias"]
        return linear(hidden.relu(), weight, bias)[:, 0].sigmoid()

    def _remembered(self, hidden: torch.Tensor) -> torch.Tensor:
        import torch

        cell = [self._weights[f"lstm_cell.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        outputs, *state = torch.lstm(hidden[:, None], self._state, cell, True, 1, 0.0, False, False, False)
        self._state = (state[0], state[1])
        return outputs[:, 0]


@cache
def _weights() -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    package = importlib.util.find_spec("silero_vad")  # found, not imported: importing it sets torch to one thread
    if package is None or not package.submodule_search_locations:
        raise GemmaError("silero-vad, which finds speech in recordings, is not installed: pip install silero-vad")
    weights: dict[str, torch.Tensor] = load_file(
        Path(package.submodule_search_locations[0]) / "data" / "silero_vad_16k.safetensors"
    )
    return weights
