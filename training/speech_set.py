"""Pocket's held-out sentences as files, so that `gemma bench --task` can be checked against `evaluate`.

python -m training.speech_set FOLDER --count 10
gemma bench --model pocket --task transcribe --data FOLDER/en.jsonl --from en

The first writes FOLDER/LANGUAGE.jsonl with its sound, and prints the rows that `evaluate` measures for these sentences
with transformers. The second measures them with gemma, plain and drafted: the figures are the same.
"""

import argparse
import json
from pathlib import Path

import soundfile

from training.data.held_out import Item, spoken_sentences
from training.data.speech import HEARD_RATE
from training.evaluate import Pocket, measured


def write(folder: Path, code: str, items: list[Item]) -> Path:
    """Write a list of sentences with their sound, sample for sample."""
    (folder / code).mkdir(parents=True, exist_ok=True)
    lines = []
    for number, item in enumerate(items):
        name = f"{code}/{number:03}.wav"
        soundfile.write(folder / name, item.sound, HEARD_RATE, subtype="FLOAT")
        lines.append(json.dumps({"audio": name, "text": item.answer}, ensure_ascii=False))
    path = folder / f"{code}.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def main() -> None:
    """Write and measure the sentences of every language."""
    parser = argparse.ArgumentParser("python -m training.speech_set", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--count", type=int, default=40, help="sentences: 3 times as many in English, else 2 times")
    options = parser.parse_args()
    pocket = Pocket(Path(__file__).parents[1] / "gemma_cli" / "pocket")
    for code, items in spoken_sentences(options.count).items():
        write(options.folder, code, items)
        measured(pocket, items, f"{code}: sentences heard")


if __name__ == "__main__":
    main()
