"""Does cutting a long recording cost anything? Words, times and memory of a long one against its parts one by one.

    python -m tests.commands.long_recording --minutes 10

Numbers are spoken by espeak-ng with pauses of 0.7 to 6 seconds between them; where each begins and ends is measured by
loudness before they are joined. The long file and every part by itself go through `gemma transcribe --json` (with the
options given after --), the peak memory is what the kernel tells of each process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 16_000
NEAR_S = 0.3
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety"
ONES, TENS = _SMALL.split(), _TENS.split()


@dataclass(frozen=True)
class Said:
    """start, end: of what can be heard, in seconds."""

    number: int
    start: float
    end: float


def spelled(number: int) -> str:
    """As people say it: three hundred and forty seven."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")
    rest = f" and {spelled(number % 100)}" if number % 100 else ""
    return f"{ONES[number // 100]} hundred{rest}"


def speak(number: int, folder: Path) -> np.ndarray:
    path = folder / "espeak.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(path), spelled(number)], check=True)
    samples, rate = soundfile.read(path, dtype="float32")
    return soxr.resample(samples, rate, RATE)


def make(folder: Path, minutes: float, seed: int) -> list[Said]:
    """long.flac, short.flac (its first 30 s) and part-NNN.flac for each number; what is said when in long.flac."""
    rng = random.Random(seed)
    said: list[Said] = []
    stretches: list[np.ndarray] = []
    position = 0.0
    while position < minutes * 60:
        number = rng.randrange(1000)
        samples = speak(number, folder)
        silence = np.zeros(round(rng.uniform(0.7, 6.0) * RATE), np.float32)
        soundfile.write(folder / f"part-{len(said):03}.flac", samples, RATE)
        loud = np.flatnonzero(np.abs(samples) > 0.01) / RATE
        begun = position + len(silence) / RATE
        said.append(Said(number, begun + loud[0], begun + loud[-1]))
        stretches += [silence, samples]
        position = begun + len(samples) / RATE
    whole = np.concatenate(stretches)
    soundfile.write(folder / "long.flac", whole, RATE)
    soundfile.write(folder / "short.flac", whole[: 30 * RATE], RATE)
    return said


def transcribe(files: list[Path], options: list[str]) -> tuple[list[dict], float, float]:
    """(the objects, peak memory in MB, seconds) of one process."""
    with tempfile.TemporaryFile() as out:
        began = time.monotonic()
        command = [sys.executable, "-m", "gemma_cli", "transcribe", *map(str, files), "--json", *options]
        child = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            sys.exit(f"gemma transcribe failed: {os.waitstatus_to_exitcode(status)}")
        out.seek(0)
        return [json.loads(line) for line in out], usage.ru_maxrss / 1024, time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*")
    chosen = parser.parse_args()
    options = chosen.options or ["--model", "pocket"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said = make(folder, chosen.minutes, chosen.seed)
        (long,), memory, seconds = transcribe([folder / "long.flac"], options)
        _, little, _ = transcribe([folder / "short.flac"], options)
        parts, _, _ = transcribe(sorted(folder.glob("part-*.flac")), options)
    cues = long["segments"]
    alone = [part["text"] for part in parts]
    together = [cue["text"] for cue in cues]
    off = [
        max(abs(cue["start"] - truth.start), abs(cue["end"] - truth.end))
        for cue, truth in zip(cues, said, strict=False)
    ]
    print(
        f"recording      {long['duration_s'] / 60:.1f} min, {len(said)} numbers, heard in {seconds:.0f} s with loading"
    )
    print(
        f"cues           {len(cues)}; furthest from the truth {max(off):.3f} s, {sum(x > NEAR_S for x in off)} too far"
    )
    print(f"wrong          {wrong(together, said)} in the recording, {wrong(alone, said)} one by one")
    differing = [f"{a} / {b}" for a, b in zip(together, alone, strict=False) if a != b]
    print(f"differ         {len(differing)} between the two {', '.join(differing)}")
    print(f"peak memory    {memory:.0f} MB; {little:.0f} MB for its first 30 s: {memory / little:.2f} times")
    right = len(cues) == len(said) and max(off) <= NEAR_S and wrong(together, said) <= wrong(alone, said)
    return 0 if right and memory < 1.5 * little else 1


def wrong(texts: list[str], said: list[Said]) -> int:
    """How many numbers are not what was said."""
    return sum(text.strip(" .") != str(truth.number) for text, truth in zip(texts, said, strict=False))


if __name__ == "__main__":
    sys.exit(main())
