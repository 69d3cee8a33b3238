"""Does cutting a long recording cost anything? Words, times and memory of a long one against its parts one by one.

    python -m tests.speech.long_recording --minutes 10

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
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 16_000
NEAR_S = 0.3
NEAR_RATE = 0.005
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
    """long.flac, short.flac (its first 30 s) and part-NNNN.flac for each number; what is said when in long.flac.

    Nothing of it is held in memory: the kernel counts the peak of a process into that of the children it starts.
    """
    rng = random.Random(seed)
    said: list[Said] = []
    position = 0.0
    with soundfile.SoundFile(folder / "long.flac", "w", RATE, 1) as long:
        while position < minutes * 60:
            number = rng.randrange(1000)
            samples = speak(number, folder)
            silence = np.zeros(round(rng.uniform(0.7, 6.0) * RATE), np.float32)
            soundfile.write(folder / f"part-{len(said):04}.flac", samples, RATE)
            loud = np.flatnonzero(np.abs(samples) > 0.01) / RATE
            begun = position + len(silence) / RATE
            said.append(Said(number, begun + loud[0], begun + loud[-1]))
            long.write(np.concatenate([silence, samples]))
            position = begun + len(samples) / RATE
    beginning, _ = soundfile.read(folder / "long.flac", 30 * RATE)
    soundfile.write(folder / "short.flac", beginning, RATE)
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
    return report(long, parts, said, memory=(memory, little), seconds=seconds)


def report(long: dict, parts: list[dict], said: list[Said], memory: tuple[float, float], seconds: float) -> int:
    """Print the comparison; the result is the exit code. memory: peak MB of the whole and of its first 30 s."""
    cues = long["segments"]
    truth = [str(number.number) for number in said]
    whole = mistakes(truth, words(cue["text"] for cue in cues))
    alone = mistakes(truth, words(part["text"] for part in parts))
    off = [furthest(number, cues) for number in said]
    hours = long["duration_s"] / 3600
    print(f"recording      {hours:.2f} h, {len(said)} numbers, heard in {seconds:.0f} s with loading")
    print(
        f"cues           {len(cues)}; furthest from the truth {max(off):.3f} s, {sum(x > NEAR_S for x in off)} too far"
    )
    print(f"in one         {whole}, word error rate {whole.rate(len(truth)):.2%}")
    print(f"one by one     {alone}, word error rate {alone.rate(len(truth)):.2%}")
    ratio = memory[0] / memory[1]
    print(f"peak memory    {memory[0]:.0f} MB; {memory[1]:.0f} MB for its first 30 s: {ratio:.2f} times")
    same = abs(whole.rate(len(truth)) - alone.rate(len(truth))) <= NEAR_RATE
    right = len(cues) == len(said) and max(off) <= NEAR_S and same and not (whole.lost or whole.doubled)
    return 0 if right and ratio < 1.5 else 1


@dataclass(frozen=True)
class Mistakes:
    """What of an alignment is not equal; doubled: words that nobody said, whatever they are."""

    wrong: int
    lost: int
    doubled: int

    def __str__(self) -> str:
        return f"{self.wrong} wrong, {self.lost} lost, {self.doubled} doubled"

    def rate(self, count: int) -> float:
        return (self.wrong + self.lost + self.doubled) / count


def words(texts: Iterable[str]) -> list[str]:
    return [word.strip(".,") for text in texts for word in text.split()]


def mistakes(truth: list[str], heard: list[str]) -> Mistakes:
    """Of the alignment with the fewest (Levenshtein's), found row by row."""
    row = [(count, Mistakes(0, 0, count)) for count in range(len(heard) + 1)]
    for word in truth:
        above = row
        row = [(above[0][0] + 1, replace(above[0][1], lost=above[0][1].lost + 1))]
        for column, said in enumerate(heard, 1):
            (cost, so_far), (up, over), (left, before) = above[column - 1], above[column], row[-1]
            if word == said:
                row.append((cost, so_far))
            elif cost <= min(up, left):
                row.append((cost + 1, replace(so_far, wrong=so_far.wrong + 1)))
            elif up <= left:
                row.append((up + 1, replace(over, lost=over.lost + 1)))
            else:
                row.append((left + 1, replace(before, doubled=before.doubled + 1)))
    return row[-1][1]


def furthest(number: Said, cues: list[dict]) -> float:
    """Seconds between a number and the cue that is nearest to it, at the end where they differ more."""
    return min(max(abs(cue["start"] - number.start), abs(cue["end"] - number.end)) for cue in cues)


if __name__ == "__main__":
    sys.exit(main())
