import io
import json

from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.events import Delta, Done, Round, Timings, Usage, collect
from gemma_cli.text.transcript import Segment
from gemma_cli.views import json as json_view

E2B = "google/gemma-4-E2B-it"
INFO = EngineInfo(E2B, f"{E2B}-assistant", "cpu", "float32", 131072, frozenset(), 2.5)
PLAIN = EngineInfo("pocket", None, "cpu", "float32", 1024, frozenset())
EVENTS = [
    Delta("thinking", "so"),
    Round(4, 2),
    Delta("answer", "Hel"),
    Round(4, 4),
    Delta("answer", "lo"),
    Round(0, 0),
    Done("stop", Usage(10, 11, 3), Timings(ttft_s=0.25, decode_s=2.0)),
]


def written(events, info=INFO, draft_tokens=4):
    out = io.StringIO()
    json_view.write(json_view.turn_object(collect(events), info, draft_tokens), out)
    assert out.getvalue().count("\n") == 1
    return json.loads(out.getvalue())


def test_the_object_is_that_of_the_design():
    assert written(EVENTS) == {
        "model": E2B,
        "text": "Hello",
        "thinking": "so",
        "finish_reason": "stop",
        "seed": None,
        "settings": None,
        "usage": {"prompt_tokens": 10, "completion_tokens": 11, "thinking_tokens": 3},
        "timings": {"load_s": 2.5, "ttft_s": 0.25, "decode_s": 2.0, "tokens_per_second": 5.0},
        "speculation": {
            "draft_tokens": 4,
            "target_passes": 3,
            "drafted": 8,
            "accepted": 6,
            "acceptance_rate": 0.75,
            "mean_acceptance_length": 4.0,
            "acceptance_by_position": [1.0, 1.0, 0.5, 0.5],
            "lookup": None,
        },
    }


def test_what_was_copied_is_told():
    events = [Round(4, 2), Round(7, 7, "lookup"), Round(7, 0, "lookup"), Done("stop", Usage(3, 12))]
    told = written(events)["speculation"]
    assert (told["drafted"], told["accepted"]) == (18, 9)
    assert told["lookup"] == {"drafted": 14, "accepted": 7}


def test_what_does_not_apply_is_null():
    told = written([Delta("answer", "x"), Done("length", Usage(3, 1))], PLAIN)
    assert told["thinking"] is None
    assert told["usage"] == {"prompt_tokens": 3, "completion_tokens": 1, "thinking_tokens": None}
    assert told["timings"] == {"load_s": None, "ttft_s": None, "decode_s": None, "tokens_per_second": None}
    assert told["speculation"] is None
    assert written(EVENTS, INFO, draft_tokens=0)["speculation"] is None
    undrafted = written([Round(0, 0), Done("stop", Usage(3, 2))])["speculation"]
    assert undrafted["target_passes"] == 1
    assert undrafted["acceptance_rate"] is undrafted["mean_acceptance_length"] is None
    assert undrafted["acceptance_by_position"] is None


def test_a_turn_cut_off_has_no_figures():
    told = written([Delta("answer", "half")])
    assert told["finish_reason"] == "interrupted"
    assert set(told["usage"].values()) == {None}


def test_control_characters_are_escaped_and_come_back():
    out = io.StringIO()
    json_view.write({"text": "\x1b[2J \x9b \u202e \u2028 é\nü"}, out)
    assert not set(out.getvalue()) & set("\x1b\x9b\u202e\u2028")
    assert "é" in out.getvalue()
    assert json.loads(out.getvalue())["text"] == "\x1b[2J \x9b \u202e \u2028 é\nü"


def test_a_transcript_sums_its_turns():
    turns = [
        collect([Delta("answer", "One."), Round(4, 1), Done("stop", Usage(9, 3), Timings(ttft_s=0.5, decode_s=1.0))]),
        collect([Delta("answer", "Two."), Round(2, 2), Done("length", Usage(9, 5), Timings(ttft_s=0.1, decode_s=1.0))]),
    ]
    segments = [Segment(0, 0.0, 28.5, "One."), Segment(1, 28.5, 40.0, " Two. "), Segment(2, 40.0, 41.0, " ")]
    told = json_view.transcript_object(
        turns, INFO, 4, file="talk.wav", language="en", duration_s=41.0, segments=segments
    )
    assert list(told)[:3] == ["file", "language", "duration_s"]
    assert told["text"] == "One. Two."
    assert told["finish_reason"] == "length"
    assert told["usage"] == {"prompt_tokens": 18, "completion_tokens": 8, "thinking_tokens": None}
    assert told["timings"] == {"load_s": 2.5, "ttft_s": 0.5, "decode_s": 2.0, "tokens_per_second": 3.0}
    assert told["speculation"]["drafted"] == 6
    segment = {"id": 0, "start": 0.0, "end": 28.5, "text": "One.", "words": None}
    segment |= {"avg_logprob": None, "speaker": None, "language": None}
    assert told["segments"][0] == segment


def test_a_file_without_turns_is_told_too():
    told = json_view.transcript_object([], INFO, 4, file="a.wav", language=None, duration_s=None, segments=[])
    assert (told["text"], told["segments"], told["language"], told["timings"]["ttft_s"]) == ("", [], None, None)


def test_each_event_is_written_before_the_next_one_is_made():
    """Into a pipe, where nothing appears that was not flushed."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
    lines = []

    def events():
        for event in EVENTS:
            yield event
            lines.append(raw.getvalue().count(b"\n"))

    json_view.stream(events(), out)
    told = [json_view.event_object(event) is not None for event in EVENTS]
    assert lines == [sum(told[: count + 1]) for count in range(len(EVENTS))]
    assert lines[-1] > 1
