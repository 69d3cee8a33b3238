import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.text.encodings import decode, kind_of_binary, known_encoding, may_be_text

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


@given(st.binary(max_size=200))
def test_any_bytes_are_a_text_that_is_written_as_it_came_or_none(content):
    found = decode(content)
    assert found is None or found.encode(found.text) == content
