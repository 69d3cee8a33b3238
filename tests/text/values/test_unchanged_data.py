"""Data whose words come back unchanged: the same bytes, with what was empty filled in."""

import html
import random
import re

import pytest

from gemma_cli.text.documents import split
from gemma_cli.text.encodings import decode
from gemma_cli.text.passages import Passage
from tests.text.values.odd_data import FIELDS, FORMATS, odd_data


def _parts(text):
    """Tags, words and marks, in any order: a tag may move over a mark."""
    return sorted(re.findall(r"<[^<>]*>|\w+|[^\s\w]", html.unescape(text)))


def translated(content, suffix, fields=(), translate=str):
    """The bytes that a file becomes, as `gemma translate` puts them together."""
    text = decode(content)
    document = split("a", text.text, suffix, fields)

    def joined(passages: list[Passage]) -> str:
        return "".join(each.source if each.text is None else each.translated(translate(each.text)) for each in passages)

    written = joined(document.passages)
    return text.encode(joined(document.second(written)) if document.data.second else written)


@pytest.mark.parametrize("kind", FORMATS)
def test_words_that_come_back_unchanged_change_nothing_else(kind):
    for number in range(25):
        before, after = odd_data(kind, random.Random(f"{kind}{number}"))
        assert translated(before, f".{kind}", FIELDS.get(kind, ())) == after, number


@pytest.mark.parametrize("kind", FORMATS)
def test_whatever_comes_back_what_is_not_translated_stays(kind):
    for number in range(10):
        before, after = odd_data(kind, random.Random(f"{kind}{number}"))
        fields = FIELDS.get(kind, ())
        once = translated(before, f".{kind}", fields, lambda text: text.replace("Hund", "dog"))
        text = decode(once).text
        assert kind not in ("po", "xlf", "xliff") or split("a", text, f".{kind}").has_words is False
        back, same = (each.replace("dog", "Hund") for each in (text, decode(after).text))
        if kind == "po":  # lines are cut elsewhere
            back, same = (re.sub(r'"\s*"', "", each) for each in (back, same))
        assert _parts(back) == _parts(same), number
