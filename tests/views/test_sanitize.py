import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.views.sanitize import safe, safe_json, safe_line

ANY = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates too
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}

PAYLOADS = [
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]52;c;ZXZpbA==\x1b\\",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example\x1b\\ok\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[H",
    "\x1b[6n",
    "\x1bc",
    "\x1bP+q544e\x1b\\",
    "\x1b_Gi=1\x1b\\",
    "\x9b31m",
    "\x9d0;t\x9c",
    "good\rbad",
    "a\x08b",
    "\x00\x07\x0b\x0c\x7f",
    "‮gnp.exe",
    "⁦x⁩",
    "\U000e0041\U000e007f",
    "\ufeff​⁠",
    "\ud800",
]


EVERYTHING = "".join(map(chr, range(0x110000)))
FORBIDDEN = (
    {c for c in EVERYTHING if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}}
    | {c for c in EVERYTHING if unicodedata.bidirectional(c) in BIDI}
    | set("\u061c\u200b\u200e\u200f\u2060\ufeff")
    | set(map(chr, range(0xE0000, 0xE0080)))
) - set("\t\n")


def is_harmless(text: str) -> bool:
    return FORBIDDEN.isdisjoint(text)


@given(ANY)
def test_nothing_that_drives_a_terminal_is_left(text):
    assert is_harmless(safe(text))
    safe(text).encode()


def test_every_character_there_is():
    cleaned = safe(EVERYTHING)
    assert is_harmless(cleaned)
    assert set(cleaned) >= {"\t", "\n", "\u200c", "\u200d", "\ufe0f", "é", "語", "🎉"}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_known_attacks(payload):
    assert is_harmless(safe(payload))
    assert is_harmless(safe_line(payload))
    assert "\n" not in safe_line(payload)


@given(ANY, st.data())
def test_the_filter_does_not_care_where_a_stream_is_cut(text, data):
    cut = data.draw(st.integers(0, len(text)))
    assert safe(text[:cut]) + safe(text[cut:]) == safe(text)


@given(ANY)
def test_cleaning_twice_changes_nothing(text):
    assert safe(safe(text)) == safe(text)


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"])))
def test_ordinary_text_is_untouched(text):
    assert safe(text) == safe_line(text) == text


def test_controls_are_shown_in_caret_notation():
    assert safe("\x1b[31m\x7f\x9b1\x80") == "^[[31m^?M-^[1M-^@"
    assert safe_line("a\nb\tc\rd") == "a^Jb^Ic^Md"


def test_separators_of_lines_and_paragraphs_end_lines_only_where_there_are_lines():
    assert safe("a\u2028b\u2029c") == "a\nb\nc"
    assert safe_line("a\u2028b\u2029c") == "a b c"


def test_crlf_becomes_lf():
    assert safe("a\r\nb") == "a\nb"


@given(st.recursive(ANY, lambda inner: st.lists(inner) | st.dictionaries(ANY, inner), max_leaves=5))
def test_json_means_the_same_and_drives_nothing(value):
    document = safe_json(json.dumps(value, ensure_ascii=False))
    assert is_harmless(document)
    assert json.loads(document) == without_lone_surrogates(value)


def without_lone_surrogates(value):
    match value:
        case str():
            return re.sub("[\ud800-\udfff]", "\ufffd", value)
        case list():
            return [without_lone_surrogates(item) for item in value]
        case dict():
            return {without_lone_surrogates(key): without_lone_surrogates(item) for key, item in value.items()}
