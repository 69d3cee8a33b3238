"""Speech whose word times are known: espeak-ng reports where each word and each phoneme begins.

A segment is one sentence or several by one voice. Lively ones change their tempo from sentence to sentence and hesitate
between words. In a `segment` voices and sentences are held-out ones.
"""

import ctypes
import random
from dataclasses import dataclass

import numpy as np
import soxr  # type: ignore[import-untyped]

from training.data import grammar, voices
from training.data.speech import HEARD_RATE

_WORD, _PHONEME = 1, 7  # espeak_EVENT_TYPE


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("text", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))

Word = tuple[str, float | None, float | None]
"""As written, start and end in seconds; None where espeak-ng reports none, as it merges some words."""


@dataclass(frozen=True)
class TimedSegment:
    """samples: float32 [n] at HEARD_RATE. text: as it is written."""

    language: str
    text: str
    samples: np.ndarray
    words: tuple[Word, ...]


class _Events:
    """A callback that collects samples and events while it stands in for the one of `voices`."""

    def __init__(self) -> None:
        self.chunks: list[np.ndarray] = []
        self.events: list[tuple[int, int, int, str]] = []
        self.callback = _CALLBACK(self._take)

    def _take(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]") -> int:
        if samples and count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events and events[index].type:
            event = events[index]
            name = event.id.text.decode("utf-8", "replace") if event.type == _PHONEME else ""
            self.events.append((event.type, event.text_position, event.sample, name))
            index += 1
        return 0


def say(spoken: str, voice: voices.Voice) -> tuple[np.ndarray, list[Word]]:
    """Synthesize a text: float32 samples at voices.SAMPLE_RATE, and its words with their times."""
    espeak, heard = voices._espeak(), _Events()
    espeak.use(voice)
    encoded = spoken.encode()
    flags = voices._UTF8 | voices._END_PAUSE
    espeak.library.espeak_SetSynthCallback(heard.callback)
    espeak.library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, flags, None, None)
    espeak.library.espeak_SetSynthCallback(espeak.callback)
    samples = np.concatenate(heard.chunks).astype(np.float32) / 32_768
    return samples, _timed(spoken, samples, heard.events)


def _timed(spoken: str, samples: np.ndarray, events: list[tuple[int, int, int, str]]) -> list[Word]:
    """The whitespace words of a text with the times of espeak's events; a pause inside ends a word early."""
    rate = voices.SAMPLE_RATE
    last = float(np.flatnonzero(np.abs(samples) > 0.01)[-1]) / rate
    begins = [index for index, event in enumerate(events) if event[0] == _WORD]
    words: list[Word] = []
    place = 0
    for text in spoken.split():
        first = spoken.index(text, place) + 1  # espeak counts characters from 1
        place = first + len(text) - 1
        start = end = None
        for order, index in enumerate(begins):
            _, position, sample, _ = events[index]
            if not first <= position <= place:
                continue
            following = begins[order + 1] if order + 1 < len(begins) else len(events)
            stop = events[following][2] / rate if following < len(events) else last
            inside = [event for event in events[index + 1 : following] if event[0] == _PHONEME][1:]
            pauses = [sample / rate for _, _, sample, name in inside if not name.strip("_:! ")]
            start, end = sample / rate if start is None else start, min([stop, last, *pauses])
        words.append((text, start, end))
    return words


@dataclass(frozen=True)
class Speech:
    """Sentences by one voice. samples: float32 at voices.SAMPLE_RATE; words: as written, with their times."""

    samples: np.ndarray
    words: tuple[Word, ...]
    sentences: tuple[grammar.Sentence, ...]


def speak(
    rng: random.Random,
    language: str,
    sentences: int,
    lively: bool,
    held_out: bool,
    longest_pause: float,
) -> Speech:
    """Say random sentences one after another, with pauses of 0.1 to `longest_pause` seconds between them."""
    rate = voices.SAMPLE_RATE
    voice = voices.sample_voice(rng, language, held_out)
    sound = [np.zeros(int(rng.uniform(0.1, 0.4) * rate), np.float32)]
    words: list[Word] = []
    spoken_sentences: list[grammar.Sentence] = []
    while len(spoken_sentences) < sentences:
        tempo = rng.randint(110, 230) if lively else voice.rate
        sentence = grammar.sample_sentence(rng, held_out)
        spoken, written = sentence.spoken[language], sentence.written[language]
        samples, timed = say(spoken, voices.Voice(voice.name, voice.variant, tempo, voice.pitch, voice.pitch_range))
        if len(timed) != len(written.split()):
            continue
        hesitations = {index: rng.uniform(0.12, 0.45) for index in range(1, len(timed)) if rng.random() < 0.15}
        begin = sum(map(len, sound)) / rate
        samples, timed = _trimmed(samples, timed)
        samples, timed = _hesitating(samples, timed, hesitations if lively else {})
        shown = zip(written.split(), timed, strict=True)
        words += [(text, _later(start, begin), _later(end, begin)) for text, (_, start, end) in shown]
        spoken_sentences.append(sentence)
        sound += [samples, np.zeros(int(rng.uniform(0.1, longest_pause) * rate), np.float32)]
    return Speech(np.concatenate(sound), tuple(words), tuple(spoken_sentences))


def segment(
    rng: random.Random,
    language: str,
    sentences: int,
    lively: bool = False,
    snr_db: tuple[float, float] = (20, 40),
) -> TimedSegment:
    """A random segment of so many held-out sentences, with pauses of 0.1 to 0.3 s between them and white noise.

    snr_db: the least and the greatest ratio of the speech to the noise.
    """
    speech = speak(rng, language, sentences, lively, held_out=True, longest_pause=0.3)
    heard = soxr.resample(speech.samples, voices.SAMPLE_RATE, HEARD_RATE)
    level = float(np.sqrt(np.mean(heard**2))) * 10 ** (-rng.uniform(*snr_db) / 20)
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(heard)) * level
    text = " ".join(sentence.written[language] for sentence in speech.sentences)
    return TimedSegment(language, text, np.clip(heard + noise, -1, 1).astype(np.float32), speech.words)


def _trimmed(samples: np.ndarray, words: list[Word]) -> tuple[np.ndarray, list[Word]]:
    """Without the silence around, but for 10 ms."""
    rate = voices.SAMPLE_RATE
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    first, last = max(0, int(loud[0]) - rate // 100), min(len(samples), int(loud[-1]) + rate // 100)
    earliest = float(loud[0]) / rate
    moved = [
        (text, None if s is None else max(s, earliest) - first / rate, _later(e, -first / rate)) for text, s, e in words
    ]
    return samples[first:last], moved


def _hesitating(samples: np.ndarray, words: list[Word], pauses: dict[int, float]) -> tuple[np.ndarray, list[Word]]:
    """With silence before the words of these indices, for so many seconds."""
    rate = voices.SAMPLE_RATE
    parts: list[np.ndarray] = []
    moved: list[Word] = []
    cut, shift = 0, 0.0
    for index, (text, start, end) in enumerate(words):
        if index in pauses and start is not None:
            here = int(start * rate)
            parts += [samples[cut:here], np.zeros(int(pauses[index] * rate), np.float32)]
            shift += len(parts[-1]) / rate
            cut = here
        moved.append((text, _later(start, shift), _later(end, shift)))
    return np.concatenate([*parts, samples[cut:]]), moved


def _later(time: float | None, seconds: float) -> float | None:
    return None if time is None else time + seconds
