"""Recordings of made-up words that a program can hear, so that what was said is known to the word.

A word is 0.3 s of one loudness, and its loudness says which word it is. The detector takes what is loud for a voice;
the engine hears whole words and mumbles where half a word is left. Run as a program it is `gemma` with that engine, so
that it can be killed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.events import Delta, Done, Event, Timings, Usage
from gemma_cli.core.messages import SAMPLE_RATE, Audio, Request

ROOT = Path(__file__).parents[2]
LENGTH = round(0.3 * SAMPLE_RATE)
KINDS = 900

INFO = EngineInfo("words", None, "cpu", "float32", 8192, frozenset({"audio"}))


def say(words: Iterable[int], gap: float = 0.05) -> np.ndarray:
    """Words with a gap after each, in seconds: under 0.1 s nobody would cut there."""
    silence = np.zeros(round(gap * SAMPLE_RATE), np.float32)
    pieces = [np.concatenate([np.full(LENGTH, 0.05 + word / 1000, np.float32), silence]) for word in words]
    return np.concatenate([np.empty(0, np.float32), *pieces])


def pause(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def record(path: Path, *stretches: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(stretches), SAMPLE_RATE, subtype="FLOAT")
    return path


def loudness(samples: np.ndarray) -> np.ndarray:
    """Stands for the voice detector: a frame is speech when anything is heard in it."""
    return (np.abs(samples).reshape(-1, 512).max(axis=1) > 0.01).astype(np.float32)


def hear(samples: np.ndarray) -> str:
    """The words in a piece; "mm" for what is left of one at a cut."""
    edges = np.flatnonzero(np.diff(samples, prepend=0.0, append=0.0))
    heard = []
    for start, end in pairwise(edges):
        if samples[start] > 0.01:
            word = round((float(samples[start]) - 0.05) * 1000)
            heard.append(f"w{word}" if end - start == LENGTH else "mm")
    return " ".join(heard)


def answer(request: Request, samples: np.ndarray | None) -> str:
    """What is heard, or where there is nothing to hear the text that was asked about."""
    return request.messages[-1].text.partition("\n\n")[2] if samples is None else hear(samples)


@dataclass
class WordEngine:
    """Replies with `reply`, to which samples are None in a request without sound.

    Every decoded piece is a line of `log`, as soon as it is asked for; once there are more than `most`, it waits for
    ever, so that a test can kill it however slow the machine is.
    """

    reply: Callable[[Request, Any], str] = lambda request, samples: answer(request, samples)
    log: Path | None = None
    pause: float = 0.0
    most: int = 1 << 30
    info: EngineInfo = INFO
    requests: list[Request] = field(default_factory=list)

    def stream(self, request: Request) -> Generator[Event, None, None]:
        self.requests.append(request)
        audio = next((part for part in request.messages[-1].parts if isinstance(part, Audio)), None)
        if self.log and audio:
            with self.log.open("a") as log:
                log.write(f"{audio.digest}\n")
            if len(self.log.read_text().splitlines()) > self.most:
                threading.Event().wait()
        time.sleep(self.pause)
        text = self.reply(request, audio.samples if audio else None)
        yield Delta("answer", text)
        spoken = len(text.split())
        whole = spoken <= request.sampling.max_tokens
        yield Done("stop" if whole else "length", Usage(10, spoken), Timings(ttft_s=0.1, decode_s=0.1))


def main() -> int:
    from gemma_cli.cli import run
    from gemma_cli.common import opening
    from gemma_cli.media import audio

    most = int(os.environ.get("WORDS_MOST", WordEngine.most))
    engine = WordEngine(log=Path(os.environ["WORDS_LOG"]), pause=0.02, most=most)
    opening.open_engine = lambda spec: engine  # type: ignore[assignment]
    audio.VoiceDetector = lambda: loudness  # type: ignore[assignment,misc]
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
