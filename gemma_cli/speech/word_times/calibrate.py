"""Calibration of word times for a checkpoint, from recordings of speech whose words and times nobody knows.

The transcripts are the model's own. Heads are chosen by how much of their attention lies on a rising path through the
sound; the delay from the end of a word to its spike is seen at pauses, which begin where a word ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from gemma_cli.core.engine import EngineSpec, stream_many
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.core.events import Alignment, Calibration, Event, Turn, collect
from gemma_cli.core.messages import Drafting, Request
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.media.input_files import InputFile
from gemma_cli.speech import instructions
from gemma_cli.speech.pipeline import Task, request_of
from gemma_cli.speech.recording import survey
from gemma_cli.speech.word_times.align import FRAME_S, SPIKE_S
from gemma_cli.speech.word_times.voiced import STEP_S
from gemma_cli.speech.word_times.words import ATTENTIVE, SoundPlace, path_mass, rising_path, spelled_words
from gemma_cli.store.models import calibrations
from gemma_cli.store.models.checkpoints import OFF, resolve

MOST_SEGMENTS = 200
LEAST_WORDS = 40
LEAST_PAUSES = 20
"""Pauses below which the default delay is kept."""

_PAUSE_S = 0.12
_EARLIEST_S, _LATEST_S = -0.3, 0.9
"""Delays from the end of a word to its spike that are possible."""

_NEAR_S = 0.06
"""Delays this close to each other agree."""


def calibrated(name: str, files: Sequence[InputFile]) -> str:
    """Calibrate a checkpoint with some recordings, save the result, and return a line about it.

    Raises UsageError, InputError, GemmaError.
    """
    if resolve(name, OFF).folder is None:
        raise UsageError(f"{name} has no files, so there is nothing to calibrate; name a checkpoint")
    engine = open_engine(EngineSpec(model=name))
    assert isinstance(engine, LocalEngine)
    if "audio" not in engine.info.modalities:
        raise UsageError(
            f"{engine.info.model} accepts no sound, so it has no word times; name a model that accepts sound"
        )
    found = calibration(engine.info.model, transcribed(engine, files))
    calibrations.save(engine.info.model, engine.info.fingerprint, found)
    return f"{engine.info.model}: {calibrations.described(found)}"


def transcribed(engine: LocalEngine, files: Sequence[InputFile]) -> Iterator[tuple[Turn, SoundPlace]]:
    """Yield the replies to the first segments of some recordings, with their sound. Raises InputError."""
    task = Task(lambda: engine, instructions.transcription(None), Drafting(), word_times=True)
    places: list[SoundPlace] = []

    def requests() -> Iterator[Request]:
        for file in files:
            with survey(file.path) as recording:
                for piece in recording.pieces():
                    if len(places) == MOST_SEGMENTS:
                        return
                    places.append(SoundPlace.of(piece))
                    yield request_of(task, piece)

    replies: dict[int, list[Event]] = {}
    for index, event in stream_many(engine, requests()):
        if isinstance(event, InputError):
            raise event
        replies.setdefault(index, []).append(event)
    return ((collect(events), places[index]) for index, events in sorted(replies.items()))


def calibration(name: str, heard: Iterable[tuple[Turn, SoundPlace]]) -> Calibration:
    """Return the calibration of a model from its replies, or raise GemmaError where that is not possible."""
    aligned = [
        (turn.alignment, place)
        for turn, place in heard
        if turn.alignment is not None and spelled_words(turn.alignment) and turn.finish_reason == "stop"
    ]
    words = sum(len(spelled_words(alignment)) for alignment, _ in aligned)
    if words < LEAST_WORDS:
        raise GemmaError(
            f"calibration needs {LEAST_WORDS} words, and {name} found {words} in the recordings; "
            "name longer recordings of speech"
        )
    heads = following([alignment for alignment, _ in aligned])
    paths = [(_attention(alignment)[heads].mean(0), place) for alignment, place in aligned]
    mass = float(np.average([path_mass(path) for path, _ in paths], weights=[len(path) for path, _ in paths]))
    if mass < ATTENTIVE:
        raise GemmaError(
            f"the attention of {name} does not follow these recordings (score {mass:.2f}, needed: {ATTENTIVE}); "
            "name recordings that the model transcribes well"
        )
    return Calibration(tuple(heads), round(delay(paths), 3), round(mass, 3))


def following(alignments: Sequence[Alignment]) -> list[int]:
    """Return the heads whose path mass over all replies is at least half the best."""
    each = [_attention(alignment) for alignment in alignments]
    masses = np.average(
        [[path_mass(head) for head in attention] for attention in each],
        axis=0,
        weights=[attention.shape[1] for attention in each],
    )
    return np.flatnonzero(masses >= masses.max() / 2).tolist()


def delay(paths: Iterable[tuple[np.ndarray, SoundPlace]]) -> float:
    """Return the usual time from the end of a word to its spike, in seconds; the default where there are few pauses.

    A pause follows the end of a word, so the true delay lies between the pause and one of the spikes around it, for
    every pause; other delays agree only by chance.
    """
    delays: list[float] = []
    pauses = 0
    for attention, place in paths:
        spikes = (_spikes(attention) + 0.5) * FRAME_S
        begins = _pauses(place.voiced)
        pauses += len(begins)
        between = (spikes[None, :] - begins[:, None]).ravel()
        delays += between[(between > _EARLIEST_S) & (between < _LATEST_S)].tolist()
    if pauses < LEAST_PAUSES:
        return SPIKE_S
    values = np.sort(delays)
    grid = np.arange(_EARLIEST_S, _LATEST_S, 0.01)
    agreeing = np.searchsorted(values, grid + _NEAR_S) - np.searchsorted(values, grid - _NEAR_S)
    likeliest = float(grid[agreeing == agreeing.max()].mean())
    return float(np.median(values[abs(values - likeliest) <= _NEAR_S]))


def _spikes(attention: np.ndarray) -> np.ndarray:
    """The frame of each word's greatest attention, within a frame of the path."""
    around = rising_path(attention)[:, None] + np.arange(-1, 2)
    around = around.clip(0, attention.shape[1] - 1)
    highest = np.take_along_axis(attention, around, 1).argmax(1)
    frames: np.ndarray = np.take_along_axis(around, highest[:, None], 1)[:, 0]
    return frames


def _attention(alignment: Alignment) -> np.ndarray:
    """Attention of the words, float32 [heads, words, frames]."""
    return alignment.attention[:, [word.row for word in spelled_words(alignment)]]


def _pauses(voiced: np.ndarray) -> np.ndarray:
    """Where the pauses inside speech begin, in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], voiced.astype(np.int8), [0])))).reshape(-1, 2)
    silent = edges[1:, 0] - edges[:-1, 1]
    return edges[:-1, 1][silent >= _PAUSE_S / STEP_S] * STEP_S
