import html
import random
import re
from collections import Counter

import pytest

from gemma_cli.text.encodings import decode
from gemma_cli.text.timed.marked import Marked
from tests.soak.files.round_trips import KINDS, trial
from tests.text.timed.documents import passages, times, translated
from tests.text.timed.odd_files import FORMATS, odd_file

TAG = re.compile(r"<[^<>\r\n]*>|\{[^{}\r\n]*\}")


def documents(kind, count=60):
    return [decode(odd_file(kind, random.Random(number)), language="de").text for number in range(count)]


def test_unchanged_words_give_the_same_file():
    outcome = trial(0.02)
    assert outcome.failures == []
    assert outcome.tried == 10 * len(KINDS)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_sources_of_the_passages_are_the_document(kind):
    for document in documents(kind):
        found = passages(document, f".{kind}")
        assert "".join(passage.source for passage in found) == document
        assert kind == "srt" or any(passage.text for passage in found)


def has_breaks_or_tags_within_words(passage):
    words = passage.markup.words(passage.source.strip())
    around = [words.plain[max(0, tag.offset - 1) : tag.offset + 1] for tag in words.tags if tag.offset]
    return words.breaks or any(len(pair.strip()) == 2 for pair in around)


@pytest.mark.parametrize("kind", FORMATS)
def test_words_in_capitals_change_nothing_else(kind):
    """Each word of a line stays between the same tags: apart from white space only letters differ."""

    def comparable(source):
        shown = html.unescape(source) if kind in ("srt", "vtt", "ttml") else source.replace("\\h", "")
        return "".join(shown.casefold().split())

    tried = 0
    for document in documents(kind):
        for passage in passages(document, f".{kind}"):
            if isinstance(passage, Marked) and not has_breaks_or_tags_within_words(passage):
                tried += 1
                assert comparable(passage.translated(passage.text.upper())) == comparable(passage.source)
    assert tried > 50


@pytest.mark.parametrize("kind", FORMATS)
def test_no_translation_loses_a_tag_or_changes_a_time(kind):
    dice = random.Random(kind)
    replies = (
        "",
        "x",
        "a b c d e f g h i j k",
        "<i>1\n\n00:00:01,000 --> 00:00:02,000\n",
        "{\\i1}[br]|\\N",
        "狗在睡觉",
    )
    for document in documents(kind):
        result = translated(document, lambda text: dice.choice(replies), f".{kind}")
        assert kind not in ("srt", "vtt") or times(result) == times(document)
        tags = [Counter(TAG.findall(one)) for one in (document, result)]
        assert not [tag for tag in tags[0] - tags[1] if "br" not in tag]
