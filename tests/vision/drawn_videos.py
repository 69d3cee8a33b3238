"""Videos of drawn scenes, one shape or more a second, whose content is known to the word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from training.data import scenes

SIZE = (320, 256)


def draw_video(
    path: Path, shots: Sequence[scenes.Scene], codec: str = "libx264", seconds: float = 1.0, sound: bool = False
) -> Path:
    """Write a video that shows each scene for so many seconds; sound: a tone under all of it."""
    rate = 10
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.bit_rate, stream.codec_context.gop_size = 4_000_000, 10
        if sound:
            voice = out.add_stream({".webm": "libopus", ".ts": "mp2"}.get(path.suffix, "aac"), rate=48000)
            voice.layout = "stereo"
        for shot in shots:
            pixels = np.asarray(scenes.draw(shot).resize(SIZE))
            for _ in range(round(rate * seconds)):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
        if sound:
            _tone(out, voice, len(shots) * seconds)
    return path


def _tone(out: av.container.OutputContainer, voice: av.AudioStream, seconds: float) -> None:
    time = np.arange(round(seconds * 48000)) / 48000
    samples = np.repeat((0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)[None], 2, 0)
    resampler = av.AudioResampler(voice.format, voice.layout, voice.rate, voice.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
    frame.rate, frame.pts = 48000, 0
    for resampled in (*resampler.resample(frame), *resampler.resample(None)):
        out.mux(voice.encode(resampled))
    out.mux(voice.encode(None))
