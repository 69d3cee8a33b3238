"""Files heard together: in order, each with its own words, and none in another's way."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from itertools import islice

import pytest

from gemma_cli.common import opening
from gemma_cli.core.engine import Answered
from gemma_cli.core.messages import Request
from gemma_cli.speech import prefetch
from gemma_cli.store.journal import Journal
from tests.speech.words import WordEngine, pause, record, say

TOGETHER = 4


class TogetherEngine(WordEngine):
    """Takes as many requests as there are, up to TOGETHER, and has the last one's reply first."""

    def stream_many(self, requests: Iterable[Request]) -> Generator[Answered, None, None]:
        asked = enumerate(requests)
        while taken := list(islice(asked, TOGETHER)):
            for index, request in reversed(taken):
                for event in self.stream(request):
                    yield index, event


@pytest.fixture
def engine(engine, monkeypatch) -> TogetherEngine:
    together = TogetherEngine()
    monkeypatch.setattr(opening, "open_engine", lambda spec: together)
    return together


def test_files_come_in_order_whatever_is_done_first(gemma, tmp_path):
    for number in range(10):
        pieces = [part for word in range(number % 3) for part in (say([10 * number + word]), pause(1.0))]
        record(tmp_path / f"{number}.wav", *pieces, pause(0.2))
    outcome = gemma("transcribe", *sorted(tmp_path.glob("*.wav")), "--json")
    assert outcome.code == 0
    said = [json.loads(line)["text"] for line in outcome.out.splitlines()]
    assert said == [" ".join(f"w{10 * number + word}" for word in range(number % 3)) for number in range(10)]


def test_a_bad_file_is_told_in_its_place_and_stops_nothing(gemma, tmp_path):
    for number in (0, 2, 3):
        record(tmp_path / f"{number}.wav", say([number]))
    (tmp_path / "1.wav").write_bytes(b"RIFF, it says")
    outcome = gemma("transcribe", *sorted(tmp_path.glob("*.wav")))
    assert outcome.code == 1
    assert [line for line in outcome.out.splitlines() if line.startswith("w")] == ["w0", "w2", "w3"]
    assert "1 of 4 files failed" in outcome.err
    assert outcome.err.count("1.wav") == 1


def test_a_reply_that_loops_is_asked_for_again(gemma, engine, tmp_path):
    def reply(request: Request, samples) -> str:
        return "again " * 40 if request.sampling.temperature == 0 and samples[2000] > 0.06 else "fine"

    engine.reply = reply
    for number in range(6):
        record(tmp_path / f"{number}.wav", say([100 if number in (1, 5) else 0]))
    outcome = gemma("transcribe", *sorted(tmp_path.glob("*.wav")), "--json")
    assert outcome.code == 0
    assert [json.loads(line)["text"] for line in outcome.out.splitlines()] == ["fine"] * 6
    assert [request.sampling.temperature > 0 for request in engine.requests].count(True) == 2


def test_silent_files_are_not_all_opened_at_once_and_load_nothing(gemma, engine, tmp_path, monkeypatch):
    monkeypatch.setattr(prefetch, "MOST_OPEN", 3)
    for number in range(12):
        record(tmp_path / f"{number:02}.wav", pause(0.5))
    record(tmp_path / "99.wav", say([7]))
    opened: list[int] = []
    source = prefetch._OpenRecording

    class Counted(source):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            opened.append(1)

        def close(self, *error) -> None:
            opened.append(-1)
            super().close(*error)

    monkeypatch.setattr(prefetch, "_OpenRecording", Counted)
    outcome = gemma("transcribe", *sorted(tmp_path.glob("*.wav")))
    assert outcome.code == 0
    assert "w7" in outcome.out
    assert max(sum(opened[:end]) for end in range(len(opened))) <= 4
    assert sum(opened) == 0
    silent = gemma("transcribe", tmp_path / "00.wav", "--json")
    assert silent.code == 0


def test_what_is_done_is_kept_though_what_comes_before_it_is_not(gemma, engine, tmp_path, monkeypatch):
    """Interrupted after three replies out of order, the same three are not asked for again."""
    long = record(tmp_path / "long.wav", *(part for word in range(9) for part in (say([word] * 4), pause(3.0))))
    kept: list[str] = []
    add = Journal.add

    def adding(self, digest, turn) -> None:
        add(self, digest, turn)
        kept.append(turn.text)
        if len(kept) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", adding)
        outcome = gemma("transcribe", long)
    assert outcome.code == 130
    assert "interrupted; to continue, run the same command again" in outcome.err
    assert kept == [f"w{word} w{word} w{word} w{word}" for word in (3, 2, 1)]
    engine.requests.clear()
    whole = gemma("transcribe", long)
    assert "3 segments are done" in whole.err
    assert whole.out.split() == [f"w{word}" for word in range(9) for _ in range(4)]
    assert len(engine.requests) == 6
