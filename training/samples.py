"""The small inputs in gemma_cli/samples, made by the generators: held-out voices and a held-out sentence.

python -m training samples
"""

from pathlib import Path

import soundfile
import soxr  # type: ignore[import-untyped]

from training.data import scenes, speech, voices

NUMBER = "three hundred and forty seven"
SENTENCE = "Anna buys four black balls."
SPEAKERS = {
    "number-347.wav": (NUMBER, voices.Voice("gmw/en", "Annie", 150)),
    "sentence.wav": (SENTENCE, voices.Voice("gmw/en-US", "m7", 150)),
}
SHAPES = (("circle", "red", 0.26, 0.2), ("square", "blue", 0.74, 0.2))
NOTES = "Guten Morgen. Der Hund schläft unter dem Tisch.\n"


def build(folder: Path) -> None:
    """Write every sample into a folder; 16 kHz WAV, PNG and UTF-8 text."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (text, voice) in SPEAKERS.items():
        heard = soxr.resample(voices.say(text, voice), voices.SAMPLE_RATE, speech.HEARD_RATE)
        soundfile.write(folder / name, heard, speech.HEARD_RATE, subtype="PCM_16")
    placed = tuple(scenes.Shape(form, c, x, 0.5, r, 0.0, scenes.COLOURS[c]) for form, c, x, r in SHAPES)
    scenes.draw(scenes.Scene(placed, 384, 256, (255, 255, 255))).save(folder / "shapes.png")
    (folder / "notes.de.txt").write_text(NOTES)
