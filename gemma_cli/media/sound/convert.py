"""Blocks of sound in any form to mono float32 at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import SAMPLE_RATE
from gemma_cli.media.sound.findings import Findings
from gemma_cli.media.sound.mixing import Mixer

if TYPE_CHECKING:
    import numpy as np
    import soxr  # type: ignore[import-untyped]

_RATES = range(1_000, 1_000_001)

Blocks = Iterator[tuple[int, "np.ndarray"]]
"""(sample rate, float32 [n, channels]); both may change from one block to the next."""


def mono_16_khz(blocks: Blocks, name: str, findings: Findings, channel: int | None = None) -> Iterator[np.ndarray]:
    """Convert blocks to float32 [n] in [-1, 1] at SAMPLE_RATE, each as soon as it comes.

    channel: the only one to take, from 1; with None all are mixed. Raises InputError.
    """
    import numpy as np

    form: _Form | None = None
    seconds = 0.0
    for rate, block in blocks:
        if form is None or form.key != (rate, block.shape[1]):
            if form:
                yield form.rest()
            form = _Form(rate, block.shape[1], name, findings, channel)
        yield form.take(_finite(block, seconds, rate, findings))
        seconds += len(block) / rate
    yield form.rest() if form else np.empty(0, np.float32)


class _Form:
    """The conversion of blocks with one sample rate and one number of channels."""

    def __init__(self, rate: int, channels: int, name: str, findings: Findings, channel: int | None) -> None:
        if rate not in _RATES:
            raise InputError(f"{name}: the sample rate is {rate} Hz; convert the sound to a rate from 1 kHz to 1 MHz")
        self.key = rate, channels
        self._mixer = Mixer(rate, channels, name, findings, channel)
        self._resampler: soxr.ResampleStream | None = None
        if rate != SAMPLE_RATE:
            import soxr

            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    def take(self, block: np.ndarray) -> np.ndarray:
        return self._resampled(self._mixer(block))

    def rest(self) -> np.ndarray:
        return self._resampled(self._mixer.rest(), last=True)

    def _resampled(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        import numpy as np

        if self._resampler:
            samples = self._resampler.resample_chunk(samples, last=last)
        clipped: np.ndarray = np.clip(samples, -1.0, 1.0)
        return clipped


def _finite(block: np.ndarray, seconds: float, rate: int, findings: Findings) -> np.ndarray:
    """The block with silence in place of samples that are not numbers."""
    import numpy as np

    finite = np.isfinite(block)
    if finite.all():
        return block
    bad = np.flatnonzero(~finite.all(axis=1))
    for at in bad[np.diff(bad, prepend=-rate) >= rate]:
        findings.damaged(seconds + int(at) / rate, "invalid samples (NaN or infinity)")
    return np.where(finite, block, np.float32(0.0))
