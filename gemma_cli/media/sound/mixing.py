"""Mixing of channels to one.

The mean of all channels loses sound that two of them contain with opposite signs. So for each second in which the mean
is far weaker than the loudest channel would make it, that channel is used instead. A channel does not count while it
has been silent from the start, so it does not weaken the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemma_cli.core.errors import InputError
from gemma_cli.media.sound.findings import Findings

if TYPE_CHECKING:
    import numpy as np

_WINDOW_S = 1.0
_CANCELLED = 0.25  # share of the power that only the loudest channel would give the mean
_SILENT = 1e-5  # of the loudest channel's power
_NOTHING = 1e-9  # power, of full scale: below the last bit of 16
_AS_LOUD = 0.25  # share of the loudest channel's power above which the previous channel stays


class Mixer:
    """Mixes blocks of one rate and one number of channels; channel: the only one to take, from 1."""

    def __init__(self, rate: int, channels: int, name: str, findings: Findings, channel: int | None = None) -> None:
        import numpy as np

        findings.channels.append(channels)
        if channel and channel > channels:
            has = f"{channels} channel{'s' if channels > 1 else ''}"
            raise InputError(f"{name}: --channel {channel} does not exist; the sound has {has}")
        self._rate, self._channels, self._findings = rate, channels, findings
        self._only = channel or (1 if channels == 1 else None)
        self._window = round(rate * _WINDOW_S)
        self._held = np.empty((0, channels), np.float32)
        self._active = np.zeros(channels, bool)
        self._louder: int | None = None
        self._cancelled = 0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Mix the complete part of float32 [n, channels] and earlier samples; float32 [m]."""
        import numpy as np

        if self._only:
            return np.ascontiguousarray(block[:, self._only - 1])
        self._held = np.concatenate([self._held, block])
        complete = len(self._held) - len(self._held) % self._window
        windows, self._held = self._held[:complete], self._held[complete:]
        return self._mixed(windows)

    def rest(self) -> np.ndarray:
        """Mix the rest, and record findings about the channels."""
        import numpy as np

        if self._only:
            return np.empty(0, np.float32)
        rest, self._held = self._held, self._held[:0]
        mixed = self._mixed(rest)
        self._report()
        return mixed

    def _mixed(self, block: np.ndarray) -> np.ndarray:
        import numpy as np

        windows = [self._one(block[start : start + self._window]) for start in range(0, len(block), self._window)]
        return np.concatenate(windows) if windows else np.empty(0, np.float32)

    def _one(self, window: np.ndarray) -> np.ndarray:
        import numpy as np

        power = np.square(window, dtype=np.float64).mean(axis=0)
        loudest = int(power.argmax())
        if power[loudest] < _NOTHING:
            return window.mean(axis=1, dtype=np.float32)  # type: ignore[no-any-return]
        self._active |= power > power[loudest] * _SILENT
        mixed: np.ndarray = window[:, self._active].mean(axis=1, dtype=np.float32)
        share = power[loudest] / int(self._active.sum()) ** 2
        if np.square(mixed, dtype=np.float64).mean() >= share * _CANCELLED:
            return mixed
        if self._louder is None or power[self._louder] < power[loudest] * _AS_LOUD:
            self._louder = loudest
        self._cancelled += len(window)
        return np.ascontiguousarray(window[:, self._louder])

    def _report(self) -> None:
        silent = [str(number) for number, active in enumerate(self._active, 1) if not active]
        if len(silent) < self._channels <= 2 * len(silent):
            several = len(silent) > 1
            self._findings.remark(
                f"channel{'s' if several else ''} {', '.join(silent)} of {self._channels} "
                f"{'are' if several else 'is'} silent and not used"
            )
        if self._cancelled and self._louder is not None:
            self._findings.remark(
                f"the channels cancel each other out for {self._cancelled / self._rate:.0f} s, so gemma reads only "
                f"channel {self._louder + 1} there (to read a single channel everywhere, give --channel)"
            )
