"""Pieces of speech, with a detector that takes every loud frame for a voice, so that the truth is known."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.core.messages import SAMPLE_RATE
from gemma_cli.media.segmenter import FRAME, OVERLAP, pieces

STEP = FRAME / SAMPLE_RATE


def loudness(samples):
    return np.abs(samples).reshape(-1, FRAME).max(axis=1)


def recording(*stretches):
    """(seconds of silence, seconds of speech), ...; every sample of speech is another number."""
    frames = np.concatenate([np.repeat([0.0, 1.0], np.round(np.array(pair) / STEP).astype(int)) for pair in stretches])
    samples = np.repeat(frames, FRAME)
    return (samples * np.linspace(0.6, 1.0, len(samples))).astype(np.float32)


def cut(samples, block=7000, origin=0, seams=()):
    blocks = (samples[start : start + block] for start in range(0, len(samples), block))
    return list(pieces(blocks, loudness, "a.wav", origin, seams=[origin + round(seam * SAMPLE_RATE) for seam in seams]))


def near(piece, start, end):
    return abs(piece.start - start) < 0.1 and abs(piece.end - end) < 0.1


def test_pauses_part_what_is_said_and_gaps_do_not():
    found = cut(recording((1.0, 2.0), (0.3, 1.5), (0.8, 4.0), (2.0, 0.0)))
    assert len(found) == 2
    assert near(found[0], 1.0, 4.8)
    assert near(found[1], 5.6, 9.6)


@pytest.mark.parametrize("origin", [0, 70_000])
def test_a_gap_where_another_recording_begins_is_a_pause(origin):
    samples = recording((1.0, 2.0), (0.3, 1.5), (0.3, 4.0), (2.0, 0.0))
    start = origin / SAMPLE_RATE
    found = cut(samples, origin=origin, seams=[3.15])
    assert [
        near(piece, start + begun, start + ended)
        for piece, begun, ended in zip(found, (1.0, 3.3), (3.0, 9.1), strict=True)
    ]
    assert len(cut(samples, origin=origin, seams=[2.0, 4.0, 8.0])) == 1  # no word is cut where there is no gap
    assert len(cut(samples, origin=origin, seams=[3.15, 4.9])) == 3


def test_the_model_hears_a_little_of_what_is_around():
    samples = recording((1.0, 2.0), (5.0, 1.0), (1.0, 0.0))
    for piece in cut(samples):
        first = round((piece.start - 0.25) / STEP) * FRAME
        assert (piece.audio.samples == samples[first : first + len(piece.audio.samples)]).all()
        assert len(piece.audio.samples) / SAMPLE_RATE == pytest.approx(piece.end - piece.start + 0.5, abs=0.04)


@pytest.mark.parametrize("seconds", [0.001, 0.5, 3.0, 100.0])
def test_silence_has_no_pieces(seconds):
    assert cut(np.zeros(round(seconds * SAMPLE_RATE), np.float32)) == []
    assert cut(np.empty(0, np.float32)) == []


def test_a_click_is_no_speech():
    assert cut(recording((1.0, 0.06), (1.0, 0.0))) == []


def test_speech_to_the_last_sample_ends_there():
    samples = recording((0.0, 1.0))[:-100]
    (piece,) = cut(samples)
    assert (piece.start, piece.end) == (0.0, len(samples) / SAMPLE_RATE)
    assert (piece.audio.samples == samples).all()


def test_a_part_of_a_recording_keeps_its_times():
    (piece,) = cut(recording((1.0, 2.0), (1.0, 0.0)), origin=3600 * SAMPLE_RATE)
    assert near(piece, 3601.0, 3603.0)


def test_where_nobody_pauses_the_longest_gap_is_taken():
    found = cut(recording((0.0, 14.0), (0.2, 6.0), (0.3, 6.0), (0.2, 20.0)))
    assert near(found[0], 0.0, 20.2)
    assert near(found[1], 20.5, 46.7)
    assert not any(piece.overlaps for piece in found)
    assert len(found) == 2


def test_without_a_gap_the_next_piece_begins_before_the_last_one_ends():
    samples = recording((1.0, 70.0), (1.0, 0.0))
    found = cut(samples)
    assert [piece.overlaps for piece in found] == [True, True, False]
    for piece, following in pairwise(found):
        assert piece.end - following.start == pytest.approx(OVERLAP * STEP)
        assert (piece.audio.samples[-OVERLAP * FRAME :] == following.audio.samples[: OVERLAP * FRAME]).all()
    assert near(found[0], 1.0, 29.0)
    assert near(found[-1], found[-1].start, 71.0)


def test_the_size_of_the_blocks_changes_nothing():
    samples = recording((1.0, 40.0), (0.6, 3.0), (9.0, 2.0), (0.2, 31.0))
    assert cut(samples, 100) == cut(samples, len(samples)) == cut(samples, 262_144)


TALK = st.lists(st.tuples(st.floats(0.05, 3.0), st.floats(0.15, 60.0)), max_size=5)


@settings(max_examples=60, deadline=None)
@given(TALK)
def test_all_that_is_said_is_heard_once_and_in_order(stretches):
    samples = recording(*stretches, (1.0, 0.0))
    heard = np.zeros(len(samples), int)
    found = cut(samples)
    for number, piece in enumerate(found):
        length = len(piece.audio.samples)
        assert length <= 30 * SAMPLE_RATE
        loud = piece.audio.samples[piece.audio.samples > 0]
        begins = int(np.searchsorted(np.maximum.accumulate(samples), loud[0]))
        spoken = samples[begins : begins + length]
        heard[begins : begins + len(np.trim_zeros(piece.audio.samples))] += 1
        assert spoken[0] == loud[0]
        follower = found[number + 1] if number + 1 < len(found) else None
        if follower:
            assert follower.start >= piece.end - OVERLAP * STEP - 1e-6
            assert (follower.start < piece.end) == piece.overlaps
    assert (heard[samples > 0] >= 1).all()
    assert heard.max(initial=0) <= 2
    overlapped = sum(piece.overlaps for piece in found) * OVERLAP * FRAME
    assert np.sum(heard[samples > 0] == 2) <= overlapped
