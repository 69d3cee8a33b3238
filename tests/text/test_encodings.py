import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.text.encodings import BadBytes, bad_bytes, decode, kind_of_binary, known_encoding, may_be_text

GERMAN = "Der Hund schläft unter dem Tisch.\nWie heißt die Katze?\n"
SENTENCES = {
    "cp1252": ("de", GERMAN),
    "cp1250": ("pl", "Zażółć gęślą jaźń. Gdzie jest mój pies?\n"),
    "cp1251": ("ru", "Собака спит под столом. Кошка спит.\n"),
    "cp1253": ("el", "Ο σκύλος κοιμάται κάτω από το τραπέζι.\n"),
    "cp1254": ("tr", "Köpek masanın altında uyuyor. Çocuğun adı İlker.\n"),
    "cp932": ("ja", "犬はテーブルの下で寝ています。\n"),
    "cp949": ("ko", "개가 탁자 밑에서 자고 있다.\n"),
}


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE])
def test_a_byte_order_mark_tells_the_encoding_and_is_written_again(mark):
    names = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    content = mark + GERMAN.encode(names.get(mark, "utf-32-le"))
    found = decode(content)
    assert (found.text, found.detected) == (GERMAN, False)
    assert found.encode(found.text) == content


@pytest.mark.parametrize("encoding", SENTENCES)
@pytest.mark.parametrize("repeated", [1, 20])
def test_other_encodings_are_detected_with_the_language_known(encoding, repeated):
    language, text = SENTENCES[encoding]
    found = decode((text * repeated).encode(encoding), language=language)
    assert (found.text, found.detected) == (text * repeated, True)


def test_utf_16_without_a_mark_is_detected():
    found = decode(("Count from 1 to 5.\n" * 5).encode("utf-16-le"))
    assert (found.text.splitlines()[0], found.detected) == ("Count from 1 to 5.", True)


def test_a_named_encoding_is_taken_as_it_is():
    assert decode(b"\xe4", "cp1251").text == "д"
    assert decode(codecs.BOM_UTF16_LE + "ä".encode("utf-16-le"), "utf-16").text == "ä"
    assert decode(b"\xe4", "utf-8") is None
    assert known_encoding("shift_jis")
    assert not known_encoding("klingon")
    assert not known_encoding("base64")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "sound"),
        (b"PK\x03\x04\x14\0", "office"),
        (b"\0\0\x01\xba\x44\0", "VobSub"),
    ],
)
def test_what_is_no_text_is_named(content, kind):
    assert decode(content) is None
    assert kind in kind_of_binary(content)[0]
    assert not may_be_text(content)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("schläft\n".encode() + b"T\xfcr", BadBytes(10, 2, 0xFC, 1)),
        ("犬はテーブル".encode()[:-1], BadBytes(15, 1, 0xE3, 2)),
        (b"Spell \xed\xa0\xbd cat.", BadBytes(6, 1, 0xED, 3)),
        ((GERMAN * 100).encode() + b"\xff" * 9, BadBytes(len((GERMAN * 100).encode()), 201, 0xFF, 9)),
    ],
    ids=["cp1252", "cut", "surrogate", "many"],
)
def test_utf_8_with_a_few_bad_bytes_is_not_taken_for_another_encoding(content, found):
    assert bad_bytes(content) == found
    assert decode(content) is None
    assert decode(content, "cp1252" if found.count == 1 else "latin-1") is not None


@pytest.mark.parametrize("encoding", SENTENCES)
def test_text_in_another_encoding_is_not_bad_utf_8(encoding):
    assert bad_bytes(SENTENCES[encoding][1].encode(encoding)) is None


@pytest.mark.parametrize("words", ["Hund", "schläft"])
@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0" encoding="iso-8859-1"?><a>{}</a>',
        "<!doctype html>\n<html><meta charset='ISO-8859-1'><p>{}",
        '# K\nmsgid ""\nmsgstr ""\n"Language: de\\n"\n"Content-Type: text/plain; charset=ISO-8859-1\\n"\n# {}\n',
    ],
    ids=["xml", "html", "po"],
)
def test_a_text_that_names_its_encoding_is_in_that(text, words):
    content = text.format(words).encode("latin-1")
    found = decode(content)
    assert (found.text, found.encode("ö"), found.detected) == (text.format(words), b"\xf6", False)
    assert decode(text.format("schläft").encode()).encoding == "utf-8"


@pytest.mark.parametrize(
    "text", ["use <meta charset=latin-1>", '<?xml encoding="klingon"?>', '<?xml encoding="utf-16"?>']
)
def test_what_does_not_name_an_encoding_is_utf_8(text):
    assert decode(text.encode()).encoding == "utf-8"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_text_that_is_written_as_it_came_or_none(content):
    found = decode(content)
    assert found is None or found.encode(found.text) == content
