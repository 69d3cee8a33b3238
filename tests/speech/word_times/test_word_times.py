"""Word times of pocket, against those that espeak-ng reports for 24 held-out sentences in four languages.

`python -m tests.benchmark.word_times --fixture` made the recording.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.core.engine import EngineSpec, stream_many
from gemma_cli.core.events import Alignment, Event, TimedWord, Turn, collect
from gemma_cli.core.messages import SAMPLE_RATE, Drafting, Request
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.media.segmenter import Piece, pieces
from gemma_cli.media.voice_activity import VoiceDetector
from gemma_cli.speech import instructions
from gemma_cli.speech.pipeline import Answer, SegmentSpan, Task, Utterances, answered, place_of, request_of
from gemma_cli.speech.word_times.align import boundaries
from gemma_cli.speech.word_times.voiced import STEP_S
from gemma_cli.speech.word_times.words import SoundPlace, path_mass, timed_words
from gemma_cli.text.language_of_text import LIKELY, recognised
from training.data.grammar import LANGUAGES

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Spoken:
    """A sentence of the recording, as it is written; words: with their starts, None where espeak-ng reports none."""

    text: str
    words: list[tuple[str, float | None]]


@dataclass(frozen=True)
class Heard:
    """The replies to all sentences, with and without word times, and one of each for other numbers of drafts."""

    task: Task
    engine: LocalEngine
    pieces: list[Piece]
    turns: list[Turn]


def spoken() -> list[Spoken]:
    rows = json.loads((HERE / "timed_speech.json").read_text())
    return [Spoken(row["text"], [(word, start) for word, start, _ in row["words"]]) for row in rows]


@pytest.fixture(scope="module")
def heard() -> Heard:
    engine = open_engine(EngineSpec(model="pocket", device="cpu"))
    assert isinstance(engine, LocalEngine)
    samples, rate = soundfile.read(HERE / "timed_speech.ogg", dtype="float32")
    assert rate == SAMPLE_RATE
    found = list(pieces(iter([samples]), VoiceDetector(), "timed_speech.ogg"))
    task = Task(lambda: engine, instructions.transcription(None), Drafting(), word_times=True)
    turns = batched(engine, [request_of(task, piece) for piece in found])
    return Heard(task, engine, found, turns)


def batched(engine: LocalEngine, requests: list[Request]) -> list[Turn]:
    events: dict[int, list[Event]] = {}
    for index, event in stream_many(engine, requests):
        assert not isinstance(event, Exception)
        events.setdefault(index, []).append(event)
    return [collect(events[index]) for index in range(len(requests))]


def test_words_start_when_they_are_said(heard: Heard) -> None:
    """Closer than sharing the segment by characters, which the cues of long segments did before."""
    mine: list[float] = []
    shared: list[float] = []
    for piece, turn, sentence in zip(heard.pieces, heard.turns, spoken(), strict=True):
        words = timed_words(turn, SoundPlace.of(piece))
        if turn.text.strip() != sentence.text:
            continue
        assert words is not None
        lengths = np.array([len(word) + 1 for word, _ in sentence.words])
        begins = piece.start + (piece.end - piece.start) * np.append(0, lengths.cumsum()[:-1]) / lengths.sum()
        for word, begin, (text, start) in zip(words, begins, sentence.words, strict=True):
            assert word.text == text
            if start is not None:
                mine.append(abs(word.start - start))
                shared.append(abs(begin - start))
    assert len(mine) > 80
    assert np.mean(mine) < 0.065
    assert np.mean(mine) < 0.7 * np.mean(shared)


@pytest.mark.parametrize("drafts", [0, 1, 4, 8])
def test_the_text_stays_and_attention_depends_on_no_draft(heard: Heard, drafts: int) -> None:
    """Rejected drafts leave nothing in the recorded queries, and batches record the same bits."""
    for piece, together in list(zip(heard.pieces, heard.turns, strict=True))[::4]:
        request = replace(request_of(heard.task, piece), drafting=Drafting(drafts))
        turn = collect(heard.engine.stream(request))
        plain = collect(heard.engine.stream(replace(request, word_times=False)))
        assert turn.text == plain.text == together.text
        assert plain.alignment is None
        assert turn.alignment is not None
        assert together.alignment is not None
        assert turn.alignment == together.alignment
        np.testing.assert_array_equal(turn.alignment.attention, together.alignment.attention)


def test_a_prompt_that_is_known_gives_times_too(heard: Heard) -> None:
    """Its last row is not read again, so the first token has no attention of its own."""
    request = request_of(heard.task, heard.pieces[0])
    first, again = (collect(heard.engine.stream(request)) for _ in range(2))
    place = SoundPlace.of(heard.pieces[0])
    one, other = timed_words(first, place), timed_words(again, place)
    assert one is not None
    assert other is not None
    assert [word.text for word in one] == [word.text for word in other]
    assert max(abs(a.start - b.start) for a, b in zip(one, other, strict=True)) < 0.5


def test_a_text_that_was_not_heard_has_no_times(heard: Heard) -> None:
    """The attention of a reply that does not follow the sound lies nowhere: a random one stands for it."""
    turn = heard.turns[0]
    assert turn.alignment is not None
    noise = np.random.default_rng(0).random(turn.alignment.attention.shape, np.float32)
    scattered = replace(turn.alignment, attention=noise / noise.sum(-1, keepdims=True))
    place = SoundPlace.of(heard.pieces[0])
    assert path_mass(turn.alignment.attention.mean(0)) > 0.5
    assert timed_words(replace(turn, alignment=scattered), place) is None
    assert timed_words(replace(turn, text="Something else."), place) is None
    assert timed_words(replace(turn, alignment=None), place) is None


def test_probabilities_are_of_the_words(heard: Heard) -> None:
    for piece, turn in zip(heard.pieces, heard.turns, strict=True):
        words = timed_words(turn, SoundPlace.of(piece))
        assert words is not None
        assert turn.alignment is not None
        assert all(0.0 < word.probability <= 1.0 for word in words)
        together = float(np.exp(sum(turn.alignment.logprobs)))
        assert together == pytest.approx(np.prod([word.probability for word in words]), rel=0.01)


def test_the_language_of_a_segment_is_recognised_or_unknown(heard: Heard) -> None:
    """One sentence of a few words reveals its language nearly always, and another one hardly ever."""
    rows = json.loads((HERE / "timed_speech.json").read_text())
    found = [recognised(turn.text, LIKELY) for turn in heard.turns]
    right = [name == LANGUAGES[row["language"]] for name, row in zip(found, rows, strict=True)]
    assert sum(right) > 20
    assert sum(name is not None for name in found) - sum(right) < 2


def test_an_overlap_is_joined_with_the_times_of_its_words() -> None:
    """Each side keeps the times of the words it keeps, and the seam is where the second one's words begin."""

    def words(text: str, first: float) -> tuple[TimedWord, ...]:
        each = enumerate(text.split())
        return tuple(TimedWord(word, first + number, first + number + 0.8, 1.0) for number, word in each)

    task = Task(lambda: pytest.fail("no engine is needed"), "", Drafting())
    utterances = Utterances(task, "talk.wav")
    left, right = "one two three four five", "four five six seven"
    turns = [Turn(text=left, words=words(left, 0.0)), Turn(text=right, words=words(right, 3.0))]
    places = [SegmentSpan(0.0, 5.0, overlaps=True), SegmentSpan(3.0, 7.0)]
    done = [one for place, turn in zip(places, turns, strict=True) for one in utterances.feed(Answer(place, turn))]
    assert [one.texts[0] for one in done] == ["one two three four", "five six seven"]
    for one in done:
        assert one.words is not None
        assert " ".join(word.text for word in one.words) == one.texts[0]
    assert (done[0].end, done[1].start) == (3.8, 4.0)


def test_no_times_are_kept_where_nobody_asks(heard: Heard) -> None:
    task = replace(heard.task, word_times=False)
    place = place_of(task, heard.pieces[0])
    assert place.sound is None
    assert answered(place, Turn(text="x")).turn.words is None
    assert request_of(task, heard.pieces[0]).word_times is False


@given(st.data())
def test_boundaries_are_in_order_and_inside(data: st.DataObject) -> None:
    """Whatever is voiced, whatever the attention: each word ends after it starts and before the next one starts."""
    steps = data.draw(st.integers(1, 400))
    voiced = np.array(data.draw(st.lists(st.booleans(), min_size=steps, max_size=steps)))
    words = data.draw(st.lists(st.sampled_from(["a", "Elefant.", "12", "é,", "…"]), min_size=1, max_size=12))
    seed = data.draw(st.none() | st.integers(0, 99))
    attention = None
    if seed is not None:
        attention = np.random.default_rng(seed).random((len(words), max(1, steps // 4)), np.float32)
    starts, ends = boundaries(words, voiced, attention)
    assert len(starts) == len(ends) == len(words)
    edges = np.column_stack((starts, ends)).ravel()
    assert (np.diff(edges) >= -1e-9).all()
    if voiced.any():
        spoken = np.flatnonzero(voiced)
        assert starts[0] >= spoken[0] * STEP_S - 1e-9
        assert ends[-1] <= (spoken[-1] + 1) * STEP_S + 1e-9


def test_the_tokens_of_an_alignment_write_the_text(heard: Heard) -> None:
    for turn in heard.turns:
        assert isinstance(turn.alignment, Alignment)
        assert "".join(turn.alignment.pieces) == turn.text
        heads, tokens, frames = turn.alignment.attention.shape
        assert tokens == len(turn.alignment.logprobs) == len(turn.alignment.pieces)
        assert heads > 1
        assert frames > 10
