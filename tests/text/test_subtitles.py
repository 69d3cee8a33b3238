from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.core.events import TimedWord
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


def timed(text: str, starts: list[float], length: float = 0.3) -> Segment:
    words = tuple(TimedWord(word, start, start + length, 1.0) for word, start in zip(text.split(), starts, strict=True))
    return Segment(0, words[0].start, words[-1].end, text, words)


def test_sentences_become_cues_of_their_own_times():
    segment = timed("It rains. The cat sleeps. Yes.", [0.0, 0.4, 5.0, 5.4, 5.8, 9.0])
    cues = [(cue.start, round(cue.end, 9), cue.text) for cue in lay_out([segment], Layout())]
    assert cues == [(0.0, 0.7, "It rains."), (5.0, 6.1, "The cat sleeps."), (9.0, 9.3, "Yes.")]


def test_a_long_sentence_is_cut_at_a_clause_before_anywhere_else():
    segment = timed("one two three, four five six", [0, 1, 2, 3, 4, 5])
    assert [cue.text for cue in lay_out([segment], Layout(longest=4.0))] == ["one two three,", "four five six"]


def test_a_long_sentence_without_clauses_is_cut_in_a_pause():
    segment = timed("one two three four five six", [0, 0.4, 0.8, 1.2, 2.5, 2.9])
    assert [cue.text for cue in lay_out([segment], Layout(longest=2.0))] == ["one two three four", "five six"]


def test_words_can_be_counted():
    segment = timed("It rains. The cat sleeps.", [0.0, 0.4, 1.0, 1.4, 1.8])
    assert [cue.text for cue in lay_out([segment], Layout(words=2))] == ["It rains.", "The cat", "sleeps."]
    assert [cue.start for cue in lay_out([segment], Layout(words=1))] == [0.0, 0.4, 1.0, 1.4, 1.8]


def test_a_cue_stays_as_long_as_it_takes_to_read_if_nobody_speaks():
    segment = timed("Incomprehensibilities. Yes.", [0.0, 5.0])
    first, second = lay_out([segment], Layout(speed=10.0))
    assert (round(first.end, 9), second.start, second.end) == (2.2, 5.0, 5.3)
    first, _ = lay_out([timed("Incomprehensibilities. Yes.", [0.0, 1.0])], Layout(speed=10.0))
    assert first.end == 1.0


def test_words_that_are_not_those_of_the_text_are_of_no_use():
    segment = timed("one two three", [0.0, 1.0, 2.0])
    other = Segment(0, 0.0, 2.3, "another text", segment.words)
    (cue,) = lay_out([other], Layout())
    assert (cue.start, cue.end, cue.text) == (0.0, 2.3, "another text")


@given(
    st.lists(st.tuples(st.sampled_from(["a", "Haus", "lang,", "Ende.", "Donaudampfschiff!", "東", "nein?"]),
                       st.floats(0.05, 3.0)), min_size=1, max_size=30),
    st.builds(Layout, width=st.none() | st.integers(8, 42), lines=st.none() | st.integers(1, 3),
              speed=st.none() | st.floats(5, 25), shortest=st.none() | st.floats(0.0, 3.0),
              longest=st.none() | st.floats(0.5, 7.0), words=st.none() | st.integers(1, 5)),
)  # fmt: skip
def test_timed_cues_keep_every_word_and_their_limits(said, layout):
    text = " ".join(word for word, _ in said)
    starts = [sum(gap for _, gap in said[:number]) for number in range(len(said))]
    words = tuple(
        TimedWord(word, start, start + gap * 0.9, 1.0) for (word, gap), start in zip(said, starts, strict=True)
    )
    cues = list(lay_out([Segment(0, starts[0], words[-1].end, text, words)], layout))
    assert "".join("".join(cue.text.split()) for cue in cues) == text.replace(" ", "")
    assert [word for cue in cues for word in cue.words] == list(words)
    assert all(cue.start == cue.words[0].start for cue in cues)
    assert all(cue.end >= cue.words[-1].end for cue in cues)
    assert all(one.end <= other.start + 1e-9 for one, other in pairwise(cues))
    for cue in cues:
        if layout.words:
            assert len(cue.words) <= layout.words
        elif len(cue.words) > 1:
            assert not layout.longest or cue.words[-1].end - cue.start <= layout.longest
            assert not (layout.lines and layout.width) or cue.text.count("\n") < layout.lines
