from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.text.subtitles import Layout, lay_out
from gemma_cli.text.transcript import Segment, Srt, document

TALK = Segment(0, 10.0, 14.0, "It was the best of times, it was the worst of times")


def test_without_limits_a_segment_is_one_line():
    (cue,) = lay_out([Segment(0, 1.0, 2.0, " a\nb ")], Layout())
    assert cue == Segment(0, 1.0, 2.0, "a b")


def test_lines_have_a_width():
    (cue,) = lay_out([TALK], Layout(width=26))
    assert cue.text == "It was the best of times,\nit was the worst of times"
    assert document([cue], Srt) == (
        "1\n00:00:10,000 --> 00:00:14,000\nIt was the best of times,\nit was the worst of times\n\n"
    )


def test_cues_have_a_number_of_lines_and_share_the_time():
    first, second = lay_out([TALK], Layout(width=26, lines=1))
    assert (first.id, first.start, first.end, first.text) == (0, 10.0, 12.0, "It was the best of times,")
    assert (second.id, second.start, second.end, second.text) == (1, 12.0, 14.0, "it was the worst of times")


@given(st.text(), st.integers(1, 50), st.integers(1, 3))
def test_no_text_and_no_time_is_lost(text, width, lines):
    segment = Segment(0, 5.0, 9.0, text)
    cues = list(lay_out([segment], Layout(width, lines)))
    assert "".join("".join(cue.text.split()) for cue in cues) == "".join(text.split())
    assert all(len(line) <= width for cue in cues for line in cue.text.split("\n"))
    assert all(cue.text.count("\n") < lines for cue in cues)
    assert all(one.end == other.start for one, other in pairwise(cues))
    if cues:
        assert (cues[0].start, round(cues[-1].end, 9)) == (5.0, 9.0)
