import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import TimedWord
from gemma_cli.text.transcript import FORMATS, Json, Segment, Srt, Tsv, Txt, Vtt, document, format_named

TEXT = st.text(st.characters(codec=None, exclude_categories=())) | st.sampled_from(
    ["a\n\nb", "-->", "--->", "1\n00:00:00,000 --> 00:00:01,000\nx", "<b>&amp;</b>", "\r\n", "\t", "", "NOTE x", "\x85"]
)
SECONDS = st.floats(0, 400_000)
SEGMENTS = st.lists(st.tuples(SECONDS, SECONDS, TEXT), max_size=6).map(
    lambda rows: [Segment(i, min(a, b), max(a, b), text) for i, (a, b, text) in enumerate(rows)]
)
TALK = [Segment(0, 0.0, 2.5, "Hello there."), Segment(1, 2.5, 3661.0421, " 1 < 2 --> so ")]


def test_txt():
    assert document(TALK, Txt) == "Hello there.\n1 < 2 --> so\n"


def test_srt():
    assert document(TALK, Srt) == (
        "1\n00:00:00,000 --> 00:00:02,500\nHello there.\n\n2\n00:00:02,500 --> 01:01:01,042\n1 < 2 → so\n\n"
    )


def test_vtt():
    assert document(TALK, Vtt) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nHello there.\n\n00:00:02.500 --> 01:01:01.042\n1 &lt; 2 --&gt; so\n\n"
    )


def test_tsv():
    assert document(TALK, Tsv) == "start\tend\ttext\n0\t2500\tHello there.\n2500\t3661042\t1 < 2 --> so\n"


def test_json():
    unknown = {"words": None, "avg_logprob": None, "speaker": None, "language": None}
    assert json.loads(document(TALK, Json)) == {
        "text": "Hello there. 1 < 2 --> so",
        "segments": [
            {"id": 0, "start": 0.0, "end": 2.5, "text": "Hello there.", **unknown},
            {"id": 1, "start": 2.5, "end": 3661.0421, "text": " 1 < 2 --> so ", **unknown},
        ],
    }


CUE = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3})")


def cues(written):
    """What a parser sees: blocks between blank lines, each with one line of times."""
    return [block.split("\n") for block in written.split("\n\n") if block not in ("", "WEBVTT")]


@given(SEGMENTS)
@pytest.mark.parametrize("write", [Srt, Vtt])
def test_no_text_can_break_a_cue(write, segments):
    written = document(segments, write)
    found = cues(written)
    said = [segment for segment in segments if document([segment], Txt)]
    assert len(found) == len(said)
    for number, (block, segment) in enumerate(zip(found, said, strict=True), 1):
        if write is Srt:
            assert block.pop(0) == str(number)
        times, *lines = block
        text = "\n".join(lines)
        begun = [int(part) for part in CUE.fullmatch(times).groups()]
        assert abs((begun[0] * 3600 + begun[1] * 60 + begun[2]) * 1000 + begun[3] - segment.start * 1000) <= 0.5 + 1e-6
        assert begun[:4] <= begun[4:]
        assert all(line.strip() for line in lines)
        assert lines
        assert "-->" not in text
    assert written.count("-->") == len(said)


@given(SEGMENTS)
def test_a_table_has_three_columns(segments):
    rows = [line.split("\t") for line in document(segments, Tsv).removesuffix("\n").split("\n")]
    assert all(len(row) == 3 for row in rows)
    assert all(int(start) <= int(end) for start, end, _ in rows[1:])


@given(SEGMENTS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_be_stored(name, segments):
    written = document(segments, FORMATS[name])
    written.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", written)
    assert len(document(segments, Txt).splitlines()) == document(segments, Txt).count("\n")


@given(SEGMENTS)
def test_json_keeps_what_was_said(segments):
    told = json.loads(document(segments, Json))["segments"]
    assert [Segment(**row) for row in told] == segments


def test_segments_are_written_as_they_come():
    writer = Srt()
    assert writer.begin() == ""
    assert writer.segment(TALK[0]).startswith("1\n")


def test_an_unknown_format_is_named():
    with pytest.raises(UsageError, match="'docx': choose one of txt, srt, vtt, ass, lrc, tsv, json"):
        format_named("docx")


def test_word_times_are_written_as_each_format_has_them():
    words = (TimedWord("1", 0.0, 0.4, 1.0), TimedWord("<", 0.5, 0.9, 0.9), TimedWord("{2}", 61.25, 62.0, 0.3))
    talk = [Segment(0, 0.0, 62.0, "1 <\n{2}", words)]
    assert "\n1 <00:00:00.500>&lt;\n<00:01:01.250>{2}\n\n" in document(talk, FORMATS["vtt"])
    assert document(talk, FORMATS["lrc"]) == "[00:00.00]<00:00.00>1 <00:00.50>< <01:01.25>{2}\n"
    line = "Dialogue: 0,0:00:00.00,0:01:02.00,Default,,0,0,0,,{\\k50}1 {\\k6075}<\\N{\\k75}(2)\n"
    assert document(talk, FORMATS["ass"]).endswith(line)
    assert json.loads(document(talk, Json))["segments"][0]["words"][2]["start"] == 61.25


def test_the_speaker_is_named_as_each_format_has_it():
    talk = [Segment(0, 0.0, 1.0, "Hello <you>.", speaker="Anna & Ben\n")]
    assert document(talk, Txt) == "Anna & Ben: Hello <you>.\n"
    assert "\nAnna & Ben: Hello <you>.\n\n" in document(talk, Srt)
    assert "\n<v Anna &amp; Ben>Hello &lt;you&gt;.\n\n" in document(talk, Vtt)
    assert document(talk, FORMATS["ass"]).endswith(",Default,Anna & Ben,0,0,0,,Hello <you>.\n")
    assert document(talk, FORMATS["lrc"]) == "[00:00.00]Anna & Ben: Hello <you>.\n"
    assert document(talk, Tsv).endswith("0\t1000\tAnna & Ben: Hello <you>.\n")
    assert json.loads(document(talk, Json))["segments"][0]["speaker"] == "Anna & Ben\n"
