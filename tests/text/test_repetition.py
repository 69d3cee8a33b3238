import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.text.repetition import loop, without_loops


@pytest.mark.parametrize(
    "spoken",
    [
        "",
        "three hundred and forty seven",
        "no no no no no, I said no",
        "very, very, very, very good",
        "0 0 0 0 0 0 1",
        "we shall fight on the beaches, we shall fight on the landing grounds, we shall fight in the fields",
        "row, row, row your boat gently down the stream. row, row, row your boat gently down the stream.",
        "是的是的是的",
        "haha hahaha",
    ],
)
def test_what_people_say_is_no_loop(spoken):
    assert loop(spoken) is None
    assert without_loops(spoken) == spoken


@pytest.mark.parametrize(
    ("looped", "left"),
    [
        ("so " + "the " * 40, "so the "),
        ("Thank you. " * 12, "Thank you. "),
        ("he said that it was " * 8 + "late", "he said that it was late"),
        ("a b c d e f g h. " * 5, "a b c d e f g h. "),
        ("h" + "a" * 200, "ha"),
        ("哈" * 30, "哈"),
        ("Yes. yes YES, yes yes yes yes yes yes yes - and then we left", "Yes. - and then we left"),
    ],
)
def test_a_loop_is_said_once_and_what_follows_stays(looped, left):
    assert loop(looped)
    assert without_loops(looped).split() == left.split()


PHRASE = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=24)


@given(st.lists(st.sampled_from("uvwxyz"), unique=True), PHRASE, st.integers(9, 20))
def test_any_phrase_said_nine_times_is_found(before, phrase, times):
    text = " ".join(before + phrase * times)
    shorter = without_loops(text)
    assert loop(text)
    assert loop(shorter) is None
    assert shorter.startswith(" ".join(before))
    assert len(shorter.split()) <= len(before) + 8 * len(phrase)
