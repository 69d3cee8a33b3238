"""Record the pictures of README.md from the real program: python -m docs.images.record [chat] [transcribe] [bench]

It types into `gemma` on a terminal of its own, writes down what comes and when (as an asciicast), and has svg-term-cli
make an animated SVG of that: Node.js is needed, `npx` fetches it, and espeak-ng speaks the recording. Starting the
program is left out, and pauses are shortened to PAUSE seconds. The bench is a PNG of its own `--plot`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pexpect
import pyte
import soundfile
import soxr

from training.data import speech, voices

IMAGES = Path(__file__).parent
COLUMNS = 84
ROWS = {"chat": 20, "transcribe": 14}
PAUSE = {"chat": 0.8, "transcribe": 0.4}
"""Seconds without a change on the screen that a viewer is made to wait at most."""

LAST = 3.0
"""Seconds for which the end is shown."""

Recorded = list[tuple[float, str]]


class Terminal:
    """A shell on a terminal of its own, with all that it writes and when."""

    def __init__(self, folder: Path, rows: int) -> None:
        place = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"PATH": place, "HOME": str(folder), "TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": "$ "}
        environment |= {"GEMMA_MODEL": "pocket", "COLORTERM": "truecolor"}
        self.output: Recorded = []
        self._shell = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile"],
            env=environment,
            cwd=str(folder),
            dimensions=(rows, COLUMNS),
            encoding="utf-8",
        )
        self._screen = pyte.Screen(COLUMNS, rows)
        self._screen.write_process_input = self._shell.send  # type: ignore[method-assign] # prompt-toolkit asks for the cursor
        self._stream, self._shown, self._unseen = pyte.Stream(self._screen), "", ""
        self.wait_for("$ ")

    def wait_for(self, text: str, seconds: float = 180) -> None:
        """Read until a text has come. Raises TimeoutError."""
        seen, until = "", time.monotonic() + seconds
        while text not in seen:
            if time.monotonic() > until:
                raise TimeoutError(f"{text!r} did not come, but {seen[-500:]!r}")
            seen += self._read(0.1)

    def rest(self, seconds: float) -> None:
        """Read for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._read(min(left, 0.1))

    def leave_out(self) -> None:
        """Show what came so far at once."""
        self.output = [(time.monotonic(), text) for _, text in self.output]

    def type(self, text: str, enter: str = "\r") -> None:
        """Type as a person does."""
        for character in text:
            self._shell.send(character)
            self.rest(0.04)
        self.rest(0.3)
        self._shell.send(enter)

    def _read(self, seconds: float) -> str:
        try:
            text = self._shell.read_nonblocking(65536, seconds)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return ""
        self._stream.feed(text)
        self._unseen += text
        cursor = self._screen.cursor
        shown = repr((self._screen.display, cursor.x, cursor.y, cursor.hidden))
        if shown != self._shown:
            self.output.append((time.monotonic(), self._unseen))
            self._shown, self._unseen = shown, ""
        return text


def chat(terminal: Terminal) -> None:
    """A conversation: a folded thought, then a reply with its speed and acceptance."""
    terminal.type("gemma chat --think --seed 7")
    terminal.wait_for("\x1b[?2004h")
    terminal.rest(1.5)
    terminal.leave_out()
    terminal.type("What is 123 + 456?")
    terminal.wait_for("579")
    terminal.rest(2.5)
    terminal.type("/think off")
    terminal.rest(1)
    terminal.type("Tell me a story about a horse with Emma, the white horse, bread and the park.")
    terminal.wait_for("Good night")
    terminal.rest(3)


def transcribe(terminal: Terminal) -> None:
    """A recording of ten minutes with its progress, then what was written."""
    terminal.type("gemma transcribe talk.wav --language English -o . -f srt")
    terminal.wait_for("talk.wav: 0")
    terminal.leave_out()
    terminal.wait_for("talk.srt\r\n")
    terminal.wait_for("$ ")
    terminal.type("head -7 talk.srt")
    terminal.wait_for("00:00:0")
    terminal.rest(2)


def bench(folder: Path) -> None:
    """Plain decoding against drafts of one to eight tokens."""
    plot = folder / "bench.png"
    command = ["gemma", "bench", "--model", "pocket", "--sweep", "0,1,2,4,8", "--plot", str(plot)]
    subprocess.run(
        command, check=True, env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    )
    plot.replace(IMAGES / "bench.png")


def recording(path: Path, seconds: float = 600) -> None:
    """Write sentences that pocket was not trained on, spoken by espeak-ng with pauses, until it is so long."""
    rng, voice = random.Random(0), voices.Voice(voices.ACCENTS["en"][0], "", 150)
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * speech.HEARD_RATE:
        utterance = speech.sample_utterance(rng, "en", held_out=True)
        if utterance.kind == "sentence":
            spoken = soxr.resample(voices.say(utterance.spoken, voice), voices.SAMPLE_RATE, speech.HEARD_RATE)
            parts += [spoken, np.zeros(round(rng.uniform(0.5, 1.2) * speech.HEARD_RATE), np.float32)]
    soundfile.write(path, np.concatenate(parts), speech.HEARD_RATE)


def asciicast(output: Recorded, rows: int, pause: float) -> str:
    """Return the recording in asciinema's format, version 2, with pauses shortened."""
    lines = [json.dumps({"version": 2, "width": COLUMNS, "height": rows})]
    at, last = 0.0, output[0][0]
    for moment, text in output:
        at, last = at + min(moment - last, pause), moment
        lines.append(json.dumps([round(at, 3), "o", text]))
    lines.append(json.dumps([round(at + LAST, 3), "o", ""]))
    return "\n".join(lines) + "\n"


def record(name: str, play: Callable[[Terminal], None], folder: Path) -> None:
    """Play a scene and write NAME.svg."""
    terminal = Terminal(folder, ROWS[name])
    play(terminal)
    cast = folder / f"{name}.cast"
    cast.write_text(asciicast(terminal.output, ROWS[name], PAUSE[name]), encoding="utf-8")
    svg = IMAGES / f"{name}.svg"
    maker = ["npx", "--yes", "svg-term-cli@2.1.1", "--in", str(cast), "--out", str(svg), "--window", "--padding", "8"]
    subprocess.run(maker, check=True)
    print(f"{svg}: {svg.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Record what is named, or everything."""
    wanted = sys.argv[1:] or ["chat", "transcribe", "bench"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "transcribe" in wanted:
            recording(folder / "talk.wav")
        for scene in (chat, transcribe):
            if scene.__name__ in wanted:
                record(scene.__name__, scene, folder)
        if "bench" in wanted:
            bench(folder)


if __name__ == "__main__":
    main()
