import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.text.timed.marked import Marked, marked
from gemma_cli.text.timed.markup import SUBRIP, SUBSTATION, WEBVTT, XML


def placed(source, translation, markup=SUBRIP):
    return marked(source, markup).translated(translation)


@pytest.mark.parametrize(
    ("source", "translation", "result"),
    [
        ("Die Katze <i>schläft</i>", "The cat sleeps", "The cat <i>sleeps</i>"),
        ("<i>Die Katze</i> schläft.", "The cat sleeps.", "<i>The cat</i> sleeps."),
        ("Der <b>Hund</b> ist da", "Dog here", "<b>Dog</b> here"),
        ("<b>Nein</b>! Er sah <i>Titanic</i>.", "No! He saw Titanic.", "<b>No</b>! He saw <i>Titanic</i>."),
        ("<i><b>Ja</b> doch</i>", "Yes", "<i><b>Yes</b></i>"),
        ("{\\an8}Er {\\i1}schläft{\\i0} nun", "He sleeps now", "{\\an8}He {\\i1}sleeps{\\i0} now"),
        ("Er <i>schläft", "He sleeps", "He <i>sleeps"),
        ("<i>eins</b> zwei</i>", "one two", "<i>one</b> two</i>"),
        ("K<i>atz</i>e schläft", "cat sleeps", "<i>cat</i> sleeps"),
        ("<i>Ja</i>", "", "<i></i>"),
        ("<i>狗在</i>睡觉", "我的狗在这里睡觉", "<i>我的狗在</i>这里睡觉"),
    ],
)
def test_tags_go_to_the_words_they_belong_to(source, translation, result):
    assert placed(source, translation) == result


@pytest.mark.parametrize(
    ("markup", "source", "text", "translation", "result"),
    [
        (WEBVTT, "Hund &amp; Katze&nbsp;da", "Hund & Katze da", "dog & cat < 3", "dog &amp; cat &lt; 3"),
        (WEBVTT, "Tom & Anna", "Tom & Anna", "Anna --> Tom", "Anna --&gt; Tom"),
        (XML, "Q&#38;A f&#xfc;r", "Q&A für", "<p>Q&A", "&lt;p&gt;Q&amp;A"),
        (SUBRIP, "Tom & Anna", "Tom & Anna", "Anna & Tom", "Anna & Tom"),
        (SUBRIP, "Tom &amp; Anna", "Tom & Anna", "Anna & Tom", "Anna &amp; Tom"),
        (SUBRIP, "a &kein; b", "a &kein; b", "<i>b --> a", "‹i>b → a"),
        (SUBSTATION, "a\\hb\\Nc", "a b c", "{x} y z", "(x) y\\Nz"),
    ],
)
def test_entities_and_escapes_are_decoded_and_written_again(markup, source, text, translation, result):
    passage = marked(source, markup)
    assert passage.text == text
    assert passage.translated(translation) == result


def test_a_tag_within_a_word_is_reported():
    passage = marked("K<i>atz</i>e schläft", SUBRIP)
    assert passage.misplaced("cat sleeps") == ["<i>", "</i>"]
    assert passage.misplaced("Katze schläft") == []


def test_a_drawing_is_no_text():
    assert marked("{\\p1}m 0 0 l 10 0 10 10{\\p0}", SUBSTATION).text is None
    assert marked("{\\p1}m 0 0 l 10 0{\\p0}Hund", SUBSTATION).text == "Hund"


def test_marks_of_direction_do_not_go_to_the_model():
    passage = marked("\u202bHund schläft.\u202c", WEBVTT)
    assert (passage.text, passage.translated("Dog sleeps.")) == ("Hund schläft.", "\u202bDog sleeps.\u202c")


WORDS = st.lists(st.sampled_from(["a", "b.", "c,", "字", "dog"]), min_size=1, max_size=6)


@st.composite
def nested(draw, depth=2):
    """Properly nested source."""
    parts = []
    for word in draw(WORDS):
        name = draw(st.sampled_from(["", "", "i", "b"]))
        inner = draw(nested(depth - 1)) if depth and name else word
        parts.append(f"<{name}>{inner}</{name}>" if name else inner)
    return draw(st.sampled_from([" ", "\n"])).join(parts)


@given(nested(), WORDS)
def test_balanced_markup_stays_balanced_around_any_words(source, translation):
    passage = marked(source, SUBRIP)
    assert isinstance(passage, Marked)
    result = passage.translated(" ".join(translation))
    waiting = []
    for closing, name in re.findall(r"<(/?)([ib])>", result):
        if closing:
            assert waiting.pop() == name
        else:
            waiting.append(name)
    assert waiting == []
    assert re.sub(r"<[^>]*>|\s", "", result) == "".join(translation) or passage.text == " ".join(translation)
    assert sorted(re.findall(r"<[^>]*>", result)) == sorted(re.findall(r"<[^>]*>", source))
    assert not re.search(r"<(\w)>\s*</\1>", result)
