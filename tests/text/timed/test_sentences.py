import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.text.timed.lay_back import lay_back
from gemma_cli.text.timed.marked import Marked
from gemma_cli.text.timed.sentences import Sentence
from tests.text.test_documents import texts
from tests.text.timed.documents import subtitles, times, translated

FILM = """1
00:00:01,000 --> 00:00:02,500
<i>Der große</i>

2
00:00:02,600 --> 00:00:04,000
Hund schläft
unter dem Tisch.

3
00:00:04,100 --> 00:00:05,000
Ja.

4
00:00:05,000 --> 00:00:06,000
Und wenn er aufwacht,

5
00:00:20,000 --> 00:00:21,000
dann bellt er.
"""


def cues(*texts, gap=0.1):
    """A document with a cue for each text, each a second long."""
    parts = []
    for number, text in enumerate(texts):
        start = round(number * (1000 + gap * 1000))
        shown = [f"00:{ms // 60_000:02}:{ms // 1000 % 60:02}.{ms % 1000:03}" for ms in (start, start + 1000)]
        parts.append(f"{' --> '.join(shown)}\n{text}\n")
    return "WEBVTT\n\n" + "\n".join(parts)


def test_a_sentence_over_two_cues_is_one_text_and_is_laid_back_over_both():
    assert texts(subtitles(FILM)) == [
        "Der große Hund schläft unter dem Tisch.",
        "Ja.",
        "Und wenn er aufwacht,",
        "dann bellt er.",
    ]
    english = {"Der große Hund schläft unter dem Tisch.": "The big dog is sleeping under the table."}
    result = translated(FILM, lambda text: english.get(text, text))
    assert result == FILM.replace("Der große", "The big dog").replace(
        "Hund schläft\nunter dem Tisch.", "is sleeping\nunder the table."
    )


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("Er geht", "nach Hause.", True),
        ("Der große", "Hund.", True),
        ("Er geht...", "...nach Hause.", True),
        ("Er geht…", "nach Hause.", True),
        ("Er geht...", "Sie kommt.", False),
        ("Er geht.", "nach Hause", False),
        ("Geht er?»", "nein", False),
        ("Er geht", "- Nein!", False),
        ("- Er geht\n- Ja", "nach Hause", False),
        ("Er geht", "<v Anna>nach Hause", False),
        ("EIN FILM VON MIR", "Guten Morgen.", False),
        ("Er geht", "[Musik]", False),
        ("他去", "回家了。", True),
        ("他去了。", "回家", False),
    ],
)
def test_which_cues_share_a_sentence(first, second, joined):
    assert any(isinstance(passage, Sentence) for passage in subtitles(cues(first, second))) == joined


def test_a_note_or_a_long_silence_parts_a_sentence():
    assert len(texts(subtitles(cues("er geht", "nach Hause", gap=3.0)))) == 2
    document = cues("er geht", "nach Hause").replace("geht\n", "geht\n\nNOTE hier\nund da\n")
    assert len(texts(subtitles(document))) == 2


def test_captions_without_sentences_are_parted_after_a_few():
    found = [passage for passage in subtitles(cues(*(f"und dann {number}" for number in range(10)))) if passage.text]
    assert [len(passage.cues) for passage in found if isinstance(passage, Sentence)] == [4, 4, 2]


@pytest.mark.parametrize(
    ("translation", "originals", "parts"),
    [
        (
            "If he wakes up, he will bark at you.",
            ["Und wenn er aufwacht,", "bellt er."],
            ["If he wakes up,", "he will bark at you."],
        ),
        ("Yes. I am now going home.", ["Ja. Ich gehe", "jetzt nach Hause."], ["Yes. I am", "now going home."]),
        ("No.", ["Nein, das", "geht nicht."], ["No.", "No."]),
        ("Ja wohl", ["a", "b", "c"], ["Ja", "wohl", "wohl"]),
        ("猫在桌子下面睡觉。", ["Die Katze schläft", "unter dem Tisch."], ["猫在桌子下", "面睡觉。"]),
        ("", ["a", "b"], ["", ""]),
    ],
)
def test_a_translation_is_laid_back_where_its_words_belong(translation, originals, parts):
    assert lay_back(translation, originals) == parts


@given(st.text("ab ,.字。", max_size=40), st.lists(st.text("ab .字", min_size=1, max_size=20), min_size=1, max_size=5))
def test_laying_back_loses_nothing_and_leaves_no_cue_empty(translation, originals):
    translation = " ".join(translation.split())
    parts = lay_back(translation, originals)
    assert len(parts) == len(originals)
    assert all(parts) == bool(translation)
    assert "".join("".join(parts).split()).startswith("".join(translation.split()))


def test_no_translation_makes_a_time_or_a_cue():
    hostile = "eins\n\n00:00:09,000 --> 00:00:10,000\n\nzwei"
    assert times(translated(FILM, lambda text: hostile)) == times(FILM)


def test_lines_of_a_cue_stay_as_many():
    (cue,) = [passage for passage in subtitles(cues("Eins zwei drei\nvier fünf.")) if isinstance(passage, Marked)]
    assert cue.translated("one two three four five.") == "one two three\nfour five."
    assert cue.translated("one\ntwo") == "one\ntwo"


def test_times_of_words_do_not_go_to_the_model_and_come_back_in_order():
    document = cues("<v Anna>ich<00:00:00.560><c> gehe</c><00:00:00.800><c.loud> nach</c></v>", "Hause.")
    assert texts(subtitles(document)) == ["ich gehe nach Hause."]
    first = "<v Anna>I <00:00:00.560><c>am</c> <00:00:00.800><c.loud>going</c></v>"
    assert translated(document, lambda text: "I am going home.") == cues(first, "home.")
