"""Damaged videos through the command: described or refused in one line, within bounds of memory."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from tests.soak.outcome import Outcome
from tests.vision.drawn_videos import draw_video
from tests.vision.mutated import ALLOWED, each
from training.data import scenes

PROMISE = "a damaged video is described, or refused in one line that names it, within 600 MB"

COUNT = 500
COMMAND = ("describe-video", "--quiet", "--max-tokens", "1", "--max-frames", "3")
FORMS = (("a.mp4", "libx264"), ("b.mkv", "libx264"), ("c.webm", "libvpx"), ("d.avi", "mpeg4"), ("e.ts", "mpeg2video"))


def trial(scale: float) -> Outcome:
    """Try `500 * scale` damaged videos in five containers, with sound and without."""
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), random.Random(0)
        shots = [scenes.sample_scene(rng) for _ in range(3)]
        seeds = [draw_video(folder / file, shots, codec=codec, sound=file > "b") for file, codec in FORMS]
        numbers = range(max(5, round(COUNT * scale)))
        failures, most = each(seeds, COMMAND, folder, numbers)
    if most > ALLOWED:
        failures.append(f"{most / 1e6:.0f} MB above the beginning")
    return Outcome(len(numbers), failures, f"At most {most / 1e6:.0f} MB above the beginning.")
