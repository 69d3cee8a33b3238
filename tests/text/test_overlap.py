import random

from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.text.overlap import join


def joined(left, right, left_share=0.3, right_share=0.3):
    return " ".join(part for part in join(left, right, left_share, right_share) if part)


def test_shared_words_are_said_once():
    assert join("one two three four five six", "four five six seven eight", 0.5, 0.6) == (
        "one two three four five",
        "six seven eight",
    )


def test_half_words_at_the_cut_go():
    left = "we walked along the river until it got da"
    right = "ong the river until it got dark and then we went home"
    assert joined(left, right, 0.6, 0.6) == "we walked along the river until it got dark and then we went home"


def test_case_and_punctuation_do_not_hide_a_word():
    assert joined("And so, my fellow", "So my fellow Americans", 0.8, 0.8) == "And so, my fellow Americans"


def test_scripts_without_spaces_are_joined_by_character():
    assert join("今天天气很好我们去", "气很好我们去公园", 0.7, 0.8) == ("今天天气很好", "我们去公园")


def test_without_shared_words_nothing_is_lost():
    assert join("one two three", "four five six", 0.3, 0.3) == ("one two three", "four five six")
    assert join("", "four", 0.3, 0.3) == ("", "four")
    assert join("one", "", 0.3, 0.3) == ("one", "")


def test_a_word_in_common_by_chance_is_no_seam():
    left, right = "a b c d e the f g h i", "p q r s the t u v w x"
    assert join(left, right, 0.9, 0.9) == (left, right)


def test_what_was_said_before_the_overlap_is_not_looked_at():
    left = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    assert joined(left, "twelve thirteen fourteen one two three", 0.1, 0.5) == left + " one two three"


@given(st.integers(0, 10_000), st.integers(3, 10), st.integers(12, 40), st.integers(0, 30))
def test_no_word_is_lost_or_doubled(seed, shared, before, after):
    """Numbers, of which many are said twice, heard with half a word on both sides of the cut."""
    rng = random.Random(seed)
    said = [str(rng.randrange(40)) for _ in range(before + shared + after)]
    left = [*said[: before + shared], "xx"]
    right = ["yy", *said[before:]]
    assert joined(" ".join(left), " ".join(right), shared / len(left), shared / len(right)).split() == said
