"""Damaged pictures of every format through the command: described or refused in one line, within bounds of memory."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from tests.soak.outcome import Outcome
from tests.vision.mutated import ALLOWED, each
from training.data import scenes

PROMISE = "a damaged picture is described, or refused in one line that names it, within 600 MB"

COUNT = 1000
COMMAND = ("describe-image", "--quiet", "--max-tokens", "1", "--format", "jsonl")


def trial(scale: float) -> Outcome:
    """Try `1000 * scale` damaged pictures in 13 forms."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbers = range(max(13, round(COUNT * scale)))
        failures, most = each(_seeds(folder), COMMAND, folder, numbers)
    if most > ALLOWED:
        failures.append(f"{most / 1e6:.0f} MB above the beginning")
    return Outcome(len(numbers), failures, f"At most {most / 1e6:.0f} MB above the beginning.")


def _seeds(folder: Path) -> list[Path]:
    rng = random.Random(0)
    pictures = [scenes.draw(scenes.sample_scene(rng)).resize((320, 240)) for _ in range(3)]
    first, *others = pictures
    forms = {
        "a.png": {}, "b.jpg": {}, "c.jpg": {"progressive": True}, "d.webp": {}, "e.webp": {"lossless": True},
        "f.gif": {},
        "g.bmp": {}, "h.tiff": {"compression": "tiff_lzw"}, "i.tiff": {"save_all": True, "append_images": others},
        "j.avif": {}, "k.gif": {"save_all": True, "append_images": others}, "l.tiff": {"compression": "jpeg"},
    }  # fmt: skip
    for file, options in forms.items():
        first.save(folder / file, **options)
    first.convert("CMYK").save(folder / "m.jpg")
    return sorted(folder.iterdir())
