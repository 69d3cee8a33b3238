"""Killed at random moments and run again, does a transcription say what it would have said?

    python -m tests.speech.killed --kills 50              # numbers spoken by espeak-ng, heard by pocket
    python -m tests.speech.killed --kills 50 --words      # made-up words (tests.speech.words), in minutes

Recordings are transcribed once to the end. Then `gemma transcribe` is
started again and again and killed with SIGKILL: once as many pieces are finished as a random draw says, and a random
time later. One that comes to its end before that is compared to the byte and begun anew. What the journal held when it
was killed must be what the next run says it goes on from, and no piece may be in it twice.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.speech.long_recording import make
from tests.speech.words import WordEngine, pause, record, say

FORMS = ("srt", "json", "txt")


@dataclass
class Victim:
    """One recording, and what is known of its runs. kept: pieces in the journal when the last run was killed."""

    folder: Path
    program: str
    options: list[str]
    pieces: int = 0
    kept: int = 0
    kills: list[int] = field(default_factory=list)
    ends: int = 0

    def begin(self, out: str, most: int = WordEngine.most) -> subprocess.Popen[str]:
        forms = [part for form in FORMS for part in ("-f", form)]
        command = [sys.executable, "-m", self.program, "transcribe", str(self.folder / "long.flac"), *forms]
        environment = os.environ | {"XDG_STATE_HOME": str(self.folder / "state")}
        environment |= {"WORDS_LOG": str(self.folder / "log"), "WORDS_MOST": str(most), "GEMMA_MODEL": "pocket"}
        return subprocess.Popen(
            [*command, "-o", str(self.folder / out), "--skip-existing", *self.options],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def whole(self) -> None:
        _, said = (process := self.begin("whole")).communicate()
        assert process.returncode == 0, said

    def run(self, pieces: float, seconds: float) -> None:
        """Until so many pieces are finished and so much time has passed, or it is done."""
        log = self.folder / "log"
        asked = len(log.read_text().splitlines()) if log.exists() else 0
        # made-up words are heard in no time: not many more of them, or a busy machine would always be too late
        most = WordEngine.most if math.isinf(pieces) else asked + int(pieces) - self.kept + 2
        process = self.begin("parts", most)
        said = ""
        while process.poll() is None and len(self.journal()) < pieces:
            time.sleep(0.02)
        try:
            _, said = process.communicate(timeout=None if math.isinf(seconds) else seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
        if process.returncode == 0:
            self.end(said)
        else:
            self.kill(said)

    def kill(self, said: str) -> None:
        written = list((self.folder / "parts").glob("long.*"))
        for path in written:
            assert path.read_bytes() == (self.folder / "whole" / path.name).read_bytes(), "written before it was whole"
        digests = self.journal()
        if len(written) == len(FORMS):  # killed on its way out
            self.kills.append(self.pieces)
            for path in [*written, *self.folder.rglob("unfinished/*.jsonl")]:
                path.unlink()
            self.kept = 0
            return
        assert len(set(digests)) == len(digests) >= self.kept, f"a piece was decoded twice, or lost: {said}"
        if "resuming" in said:
            self.check_resumed(said)
        self.kept = len(digests)
        self.kills.append(self.kept)

    def end(self, said: str) -> None:
        if self.kept:
            self.check_resumed(said)
        for form in FORMS:
            part = self.folder / "parts" / f"long.{form}"
            assert part.read_bytes() == (self.folder / "whole" / f"long.{form}").read_bytes(), form
            part.unlink()
        assert not self.journal()
        self.kept = 0
        self.ends += 1

    def check_resumed(self, said: str) -> None:
        found = re.search(r"(\d+) segments are done", said)
        assert found, said
        assert int(found[1]) == self.kept, said

    def journal(self) -> list[str]:
        """The digests of the finished pieces; a line that the kill cut off is none."""
        lines: list[str] = []
        for path in self.folder.rglob("unfinished/*.jsonl"):
            with suppress(FileNotFoundError):  # the run has just come to its end
                lines += path.read_text().splitlines(keepends=True)
        return [json.loads(line)["digest"] for line in lines if line.endswith("\n")]


def make_words(folder: Path, seed: int) -> int:
    """long.flac with that many pieces of made-up words."""
    rng = random.Random(seed)
    pieces = [part for _ in range(60) for part in (say(rng.choices(range(900), k=5)), pause(rng.uniform(0.7, 2.0)))]
    record(folder / "long.wav", *pieces).rename(folder / "long.flac")  # what it is, its content tells
    return 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("options", nargs="*")
    chosen = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        program, options = ("tests.speech.words", []) if chosen.words else ("gemma_cli", ["--model", "pocket"])
        victims = [Victim(Path(name) / str(seed), program, chosen.options or options) for seed in range(chosen.files)]
        for seed, victim in enumerate(victims):
            victim.folder.mkdir()
            if chosen.words:
                victim.pieces = make_words(victim.folder, seed)
            else:
                victim.pieces = len(make(victim.folder, chosen.minutes, seed))
            victim.whole()
            print(f"recording {seed}: {victim.pieces} pieces", flush=True)
        kills = 0
        while kills < chosen.kills:
            victim = victims[kills % len(victims)]
            victim.run(rng.uniform(victim.kept, victim.pieces), rng.uniform(0, 0.2 if chosen.words else 2.0))
            kills = sum(len(victim.kills) for victim in victims)
            print(
                f"{kills} kills; pieces finished {[v.kills for v in victims]}, whole runs {[v.ends for v in victims]}"
            )
        for victim in victims:
            victim.run(math.inf, math.inf)
            print(
                f"killed with {victim.kills} pieces finished; {victim.ends} whole runs, equal to the byte", flush=True
            )
    print(f"{kills} kills over {len(victims)} recordings: every output the same, no finished piece decoded again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
