"""What is gained by hearing many short files in one call, and in it several pieces together.

    python -m tests.speech.many_files --files 100 --rounds 3 --calls 5

Numbers are spoken by espeak-ng. Together and one by one: the same requests to one loaded engine, in turns, one by one
with drafts as the command would; read and segmented before. In one call and in separate ones: `gemma transcribe` over
all files, and over one file, `--calls` times. Seconds are of the wall and, in brackets, of the processor, which other
work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import soundfile

from gemma_cli.core.engine import Engine, EngineSpec, stream_many
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Event, collect
from gemma_cli.core.messages import Drafting, Request
from gemma_cli.engines import open_engine
from gemma_cli.speech.instructions import transcription
from gemma_cli.speech.pipeline import Task, request_of
from gemma_cli.speech.recording import survey
from tests.speech.long_recording import RATE, speak


def make(folder: Path, files: int) -> list[Path]:
    rng = random.Random(0)
    paths = [folder / f"{number:03}.wav" for number in range(files)]
    for path in paths:
        soundfile.write(path, speak(rng.randrange(1000), folder), RATE)
    return paths


def requests(paths: list[Path], engine: Engine) -> list[Request]:
    task = Task(lambda: engine, transcription(None), Drafting(adaptive=True))
    asked = []
    for path in paths:
        with survey(str(path)) as recording:
            asked += [request_of(task, piece) for piece in recording.pieces()]
    return asked


def alone(engine: Engine, asked: list[Request]) -> list[str]:
    return [collect(engine.stream(request)).text for request in asked]


def together(engine: Engine, asked: list[Request]) -> list[str]:
    events: list[list[Event]] = [[] for _ in asked]
    for index, event in stream_many(engine, asked):
        assert not isinstance(event, InputError)
        events[index].append(event)
    return [collect(of_one).text for of_one in events]


def timed(run: Callable[[], list[str]]) -> tuple[list[str], float, float]:
    """(texts, wall, processor seconds)."""
    wall, processor = time.perf_counter(), time.process_time()
    texts = run()
    return texts, time.perf_counter() - wall, time.process_time() - processor


def call(paths: list[Path]) -> tuple[float, float]:
    """Wall and processor seconds of one `gemma transcribe`."""
    before, began = _children(), time.perf_counter()
    command = [sys.executable, "-m", "gemma_cli", "transcribe", "-m", "pocket", "--json", *map(str, paths)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began, _children() - before


def _children() -> float:
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compare_batches(paths: list[Path], rounds: int) -> bool:
    """Print what answering together saves; whether every text is the same."""
    engine = open_engine(EngineSpec(model="pocket"))
    asked = requests(paths, engine)
    for warm in (alone, together):
        warm(engine, asked[:20])
    arms: dict[str, list[tuple[float, float]]] = {"one by one": [], "together": []}
    texts = []
    for _ in range(rounds):
        for name, arm in (("one by one", alone), ("together", together)):
            _forget(engine)
            said, wall, processor = timed(lambda arm=arm: arm(engine, asked))  # type: ignore[misc]
            arms[name].append((wall, processor))
            texts.append(said)
    for name, seconds in arms.items():
        wall, processor = (median(of) for of in zip(*seconds, strict=True))
        print(f"{name:12} {wall:6.2f} s ({processor:.2f} s)  {len(asked) / wall:5.1f} pieces/s")
    ratios = [one[1] / two[1] for one, two in zip(*arms.values(), strict=True)]
    walls = [one[0] / two[0] for one, two in zip(*arms.values(), strict=True)]
    print(f"ratio        {median(walls):.2f} ({median(ratios):.2f}; least {min(ratios):.2f}, most {max(ratios):.2f})")
    same = all(said == texts[0] for said in texts)
    print(f"texts        {'the same' if same else 'DIFFERENT'}")
    return same


def _forget(engine: Engine) -> None:
    """Sounds that were heard before are not encoded again: both arms begin with none."""
    engine.towers._kept.clear()  # type: ignore[attr-defined]
    engine.towers._counts.clear()  # type: ignore[attr-defined]


def compare_calls(paths: list[Path], calls: int) -> None:
    walls, processors = zip(*(call([path]) for path in paths[:calls]), strict=True)
    whole = call(paths)
    separate = len(paths) * median(walls), len(paths) * median(processors)
    print(f"one call     {whole[0]:6.1f} s ({whole[1]:.1f} s) for {len(paths)} files")
    print(f"one each     {separate[0]:6.1f} s ({separate[1]:.1f} s), {calls} of them measured")
    print(f"ratio        {separate[0] / whole[0]:.1f} ({separate[1] / whole[1]:.1f})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        paths = make(Path(name), chosen.files)
        same = compare_batches(paths, chosen.rounds)
        if chosen.calls:
            compare_calls(paths, chosen.calls)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
